"""Settings of the API gateway."""

import ipaddress
import re
from typing import Annotated, Final

from pydantic import BeforeValidator

from cordum.runtime.settings.declare import variable
from cordum.runtime.settings.grpc import GrpcServerSettings
from cordum.runtime.settings.kernel import KernelClientSettings
from cordum.runtime.settings.nats import NatsSettings
from cordum.runtime.settings.output import InputFailSettings
from cordum.runtime.settings.policy_signing import PolicySigningSettings
from cordum.runtime.settings.protections import GatewayProtections
from cordum.runtime.settings.redis import RedisSettings
from cordum.runtime.settings.schemas import SchemaSettings
from cordum.runtime.settings.sessions import SessionSettings
from cordum.runtime.settings.values import Address, Count, FilePath, Flag, ListenAddress, Seconds, Secret

_ORIGIN: Final = re.compile(r"https?://[^/\s?#@,]+", re.IGNORECASE)
_MEBIBYTE: Final = 1024 * 1024

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _origins(value: object) -> object:
    if not isinstance(value, str):
        return value
    origins = tuple(part.strip().rstrip("/") for part in value.split(",") if part.strip())
    for origin in origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise ValueError('not a list of origins; write for example "https://dashboard.example.com" or "*"')
    return origins


def _networks(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return tuple(ipaddress.ip_network(part.strip(), strict=False) for part in value.split(",") if part.strip())
    except ValueError:
        raise ValueError('not a list of addresses or networks; write for example "10.0.0.0/8, 192.0.2.7"') from None


class GatewaySettings(
    NatsSettings,
    RedisSettings,
    KernelClientSettings,
    GrpcServerSettings,
    InputFailSettings,
    PolicySigningSettings,
    SessionSettings,
    SchemaSettings,
    GatewayProtections,
):
    """The API gateway (spec-gateway section 1)."""

    service = "cordum-api-gateway"

    http_addr: ListenAddress = variable("GATEWAY_HTTP_ADDR", default=Address("", 8081), text="HTTP listen address")
    grpc_addr: ListenAddress = variable("GATEWAY_GRPC_ADDR", default=Address("", 50051), text="gRPC listen address")
    metrics_addr: ListenAddress = variable(
        "GATEWAY_METRICS_ADDR",
        default=Address("", 9092),
        shown="`:9092`; in production `127.0.0.1:9092`",
        text="Metrics listen address",
    )
    metrics_public: Flag = variable(
        "GATEWAY_METRICS_PUBLIC", default=False, text="Let metrics be reached from other machines in production"
    )
    http_tls_cert: FilePath = variable(
        "GATEWAY_HTTP_TLS_CERT", default="", text="HTTP certificate; reloaded when changed; required in production"
    )
    http_tls_key: FilePath = variable("GATEWAY_HTTP_TLS_KEY", default="", text="Key of GATEWAY_HTTP_TLS_CERT")
    grpc_tls_cert: FilePath = variable(
        "GRPC_TLS_CERT", default="", text="gRPC certificate; reloaded when changed; required in production"
    )
    grpc_tls_key: FilePath = variable("GRPC_TLS_KEY", default="", text="Key of GRPC_TLS_CERT")
    http_read_timeout: Seconds = variable(
        "GATEWAY_HTTP_READ_TIMEOUT", default=15.0, least=0.1, most=3600, text="How long a request may take to arrive"
    )
    http_write_timeout: Seconds = variable(
        "GATEWAY_HTTP_WRITE_TIMEOUT",
        default=30.0,
        least=0.1,
        most=3600,
        text="How long an answer may take, streams and ?wait= apart",
    )
    http_idle_timeout: Seconds = variable(
        "GATEWAY_HTTP_IDLE_TIMEOUT",
        default=120.0,
        least=0.1,
        most=3600,
        text="How long an unused connection stays open",
    )
    max_json_body_bytes: Count = variable(
        "GATEWAY_MAX_JSON_BODY_BYTES", default=2 * _MEBIBYTE, least=1, most=64 * _MEBIBYTE, text="Largest JSON body"
    )
    max_job_payload_bytes: Count = variable(
        "GATEWAY_MAX_JOB_PAYLOAD_BYTES",
        default=2 * _MEBIBYTE,
        least=1,
        most=64 * _MEBIBYTE,
        text="Largest body of a job",
    )
    accept_undecided: Flag = variable(
        "GATEWAY_ACCEPT_UNDECIDED",
        default=True,
        text="Take jobs in while the safety kernel gives no answer; they wait for its decision. false: 503",
    )
    policy_evaluate_redact: Flag = variable(
        "CORDUM_POLICY_EVALUATE_REDACT",
        default=False,
        text="Answers about policy hide which rule decided and why",
    )
    api_key: Secret | None = variable("CORDUM_API_KEY", default=None, text="One API key, role admin, tenant TENANT_ID")
    api_keys: Secret | None = variable(
        "CORDUM_API_KEYS",
        default=None,
        text="API keys, comma separated: `key`, `tenant:key`, `tenant:key:role`, `tenant:key:role:principal`; or JSON",
    )
    api_keys_path: FilePath = variable(
        "CORDUM_API_KEYS_PATH", default="", text="File with API keys, as in CORDUM_API_KEYS; read again when changed"
    )
    allow_header_principal: Flag = variable(
        "CORDUM_ALLOW_HEADER_PRINCIPAL",
        default=True,
        shown="true; in production always false",
        text="Let X-Principal-Id name the principal where the API key names none",
    )
    skip_secret_validation: Flag = variable(
        "CORDUM_SKIP_SECRET_VALIDATION", default=False, text="Accept weak API keys and passwords in production"
    )
    dashboard_embed_api_key: Flag = variable(
        "CORDUM_DASHBOARD_EMBED_API_KEY", default=False, text="Refused in production: it would hand the key to browsers"
    )
    allowed_origins: Annotated[tuple[str, ...], BeforeValidator(_origins)] = variable(
        "CORDUM_ALLOWED_ORIGINS",
        "CORDUM_CORS_ALLOW_ORIGINS",
        "CORS_ALLOW_ORIGINS",
        default=(),
        shown="this machine and the gateway's own host name",
        text="Origins browsers may call from, comma separated; * for any, not in production",
    )
    hsts_max_age: Count = variable(
        "CORDUM_HSTS_MAX_AGE", default=63_072_000, least=0, text="Strict-Transport-Security in production, seconds"
    )
    trusted_proxies: Annotated[tuple[Network, ...], BeforeValidator(_networks)] = variable(
        "CORDUM_TRUSTED_PROXIES", default=(), text="Networks whose X-Forwarded-For is believed, comma separated"
    )
    ws_client_buffer_size: Count = variable(
        "CORDUM_WS_CLIENT_BUFFER_SIZE",
        default=256,
        least=1,
        most=10_000,
        text="Events that may wait for one client of the event stream; beyond them it is disconnected",
    )
    ws_ping_interval: Seconds = variable(
        "GATEWAY_WS_PING_INTERVAL", default=30.0, least=0.1, most=3600, text="How often a WebSocket client is pinged"
    )
    ws_pong_timeout: Seconds = variable(
        "GATEWAY_WS_PONG_TIMEOUT",
        default=10.0,
        least=0.1,
        most=3600,
        text="How long a WebSocket client has to answer a ping",
    )
    api_rate_limit_rps: Count = variable(
        "API_RATE_LIMIT_RPS", default=100, least=1, most=10_000_000, text="Requests per second of a tenant"
    )
    api_rate_limit_burst: Count = variable(
        "API_RATE_LIMIT_BURST", default=200, least=1, most=10_000_000, text="Requests a tenant may send at once"
    )
    api_public_rate_limit_rps: Count = variable(
        "API_PUBLIC_RATE_LIMIT_RPS",
        default=10,
        least=1,
        most=10_000_000,
        text="Requests per second of an address without credentials",
    )
    api_public_rate_limit_burst: Count = variable(
        "API_PUBLIC_RATE_LIMIT_BURST",
        default=20,
        least=1,
        most=10_000_000,
        text="Requests an address without credentials may send at once",
    )

    @property
    def trusts_header_principal(self) -> bool:
        """Whether X-Principal-Id counts; never in production (spec-auth C17)."""
        return self.allow_header_principal and not self.production
