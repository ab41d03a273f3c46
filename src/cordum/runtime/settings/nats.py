"""Settings of the message bus."""

from cordum.runtime.settings.common import CommonSettings
from cordum.runtime.settings.declare import variable
from cordum.runtime.settings.values import Count, FilePath, Flag, Seconds, Secret

DEFAULT_URL = "nats://localhost:4222"
UNLIMITED = -1


class NatsSettings(CommonSettings):
    """How to reach NATS, and what the streams keep (spec-scheduler section 2)."""

    nats_url: str = variable(
        "NATS_URL",
        default=DEFAULT_URL,
        shown=f"`{DEFAULT_URL}`; none in production",
        text="NATS servers, comma separated; tls:// for TLS",
    )
    nats_username: str = variable("NATS_USERNAME", default="", text="User, with NATS_PASSWORD")
    nats_password: Secret | None = variable("NATS_PASSWORD", default=None, text="Password of NATS_USERNAME")
    nats_token: Secret | None = variable("NATS_TOKEN", default=None, text="Token, where no user is given")
    nats_nkey: Secret | None = variable(
        "NATS_NKEY", default=None, text="NKey seed (SU...), where neither user nor token is given"
    )
    nats_tls_ca: FilePath = variable("NATS_TLS_CA", default="", text="CA that signed the servers' certificates")
    nats_tls_cert: FilePath = variable("NATS_TLS_CERT", default="", text="Client certificate")
    nats_tls_key: FilePath = variable("NATS_TLS_KEY", default="", text="Key of NATS_TLS_CERT")
    nats_tls_server_name: str = variable(
        "NATS_TLS_SERVER_NAME",
        default="",
        text="Name to expect in the server's certificate",
        shown="the host of NATS_URL",
    )
    nats_tls_insecure: Flag = variable(
        "NATS_TLS_INSECURE", default=False, text="Take any server certificate; refused in production"
    )
    nats_allow_plaintext: Flag = variable(
        "CORDUM_NATS_ALLOW_PLAINTEXT", default=False, text="Allow NATS without TLS in production"
    )
    nats_allow_noauth: Flag = variable(
        "CORDUM_NATS_ALLOW_NOAUTH", default=False, text="Allow NATS without credentials in production"
    )
    nats_ping_interval: Seconds = variable(
        "NATS_PING_INTERVAL", default=30.0, least=1, most=600, text="How often an idle connection is tried"
    )
    nats_js_ack_wait: Seconds = variable(
        "NATS_JS_ACK_WAIT",
        default=60.0,
        least=2,
        most=3600,
        text="After this long without a word from its handler a message is delivered again",
    )
    nats_max_ack_pending: Count = variable(
        "NATS_MAX_ACK_PENDING", default=2048, least=1, most=50_000, text="Unacknowledged messages per consumer"
    )
    nats_js_max_age: Seconds = variable(
        "NATS_JS_MAX_AGE", default=168 * 3600.0, least=60, shown="168h", text="How long the streams keep a message"
    )
    nats_js_replicas: Count = variable(
        "NATS_JS_REPLICAS", default=1, least=1, most=5, text="Replicas of the streams; 3 in production"
    )
    nats_js_max_bytes: Count = variable(
        "NATS_JS_MAX_BYTES", default=UNLIMITED, least=-1, text="Largest size of each stream, bytes; -1 for no limit"
    )
