"""Settings of the store."""

from cordum.runtime.settings.common import CommonSettings
from cordum.runtime.settings.declare import variable
from cordum.runtime.settings.values import Addresses, Count, FilePath, Flag, Seconds, Secret

DEFAULT_URL = "redis://localhost:6379"


class RedisSettings(CommonSettings):
    """How to reach Redis: one server, Sentinel or Cluster; and how long things are kept (spec-scheduler section 5)."""

    redis_url: str = variable(
        "REDIS_URL",
        default=DEFAULT_URL,
        shown=f"`{DEFAULT_URL}`; none in production",
        text="Redis server; rediss:// for TLS; of Sentinel and Cluster it only gives scheme, user and database",
    )
    redis_password: Secret | None = variable(
        "REDIS_PASSWORD", default=None, text="Password; beats the one in REDIS_URL"
    )
    redis_cluster_addresses: Addresses = variable(
        "REDIS_CLUSTER_ADDRESSES", default=(), text="Seed nodes of a Redis Cluster, host:port, comma separated"
    )
    redis_sentinel_addresses: Addresses = variable(
        "REDIS_SENTINEL_ADDRESSES", default=(), text="Sentinels, host:port, comma separated"
    )
    redis_sentinel_master: str = variable(
        "REDIS_SENTINEL_MASTER", default="mymaster", text="Name the Sentinels know the primary by"
    )
    redis_sentinel_password: Secret | None = variable(
        "REDIS_SENTINEL_PASSWORD", default=None, text="Password of the Sentinels themselves"
    )
    redis_tls_ca: FilePath = variable("REDIS_TLS_CA", default="", text="CA that signed the servers' certificates")
    redis_tls_cert: FilePath = variable("REDIS_TLS_CERT", default="", text="Client certificate")
    redis_tls_key: FilePath = variable("REDIS_TLS_KEY", default="", text="Key of REDIS_TLS_CERT")
    redis_tls_server_name: str = variable(
        "REDIS_TLS_SERVER_NAME", default="", text="Name to expect in the server's certificate", shown="the host dialled"
    )
    redis_tls_insecure: Flag = variable(
        "REDIS_TLS_INSECURE", default=False, text="Take any server certificate; refused in production"
    )
    redis_pool_size: Count = variable(
        "REDIS_POOL_SIZE", default=20, least=1, most=1000, text="Most connections to one server"
    )
    redis_dial_timeout: Seconds = variable(
        "REDIS_DIAL_TIMEOUT", default=5.0, least=0.05, most=60, text="How long connecting may take"
    )
    redis_read_timeout: Seconds = variable(
        "REDIS_READ_TIMEOUT", default=3.0, least=0.05, most=60, text="How long an answer may take"
    )
    redis_wait_replicas: Count = variable(
        "REDIS_WAIT_REPLICAS",
        default=0,
        least=0,
        most=10,
        text="How many replicas must have a write before it counts as done; 0 waits for none",
    )
    redis_wait_timeout: Seconds = variable(
        "REDIS_WAIT_TIMEOUT",
        default=0.2,
        least=0.01,
        most=1,
        text="After this long without their word a write counts all the same",
    )
    job_meta_ttl: Seconds = variable(
        "JOB_META_TTL",
        "JOB_META_TTL_SECONDS",
        default=168 * 3600.0,
        least=60,
        shown="168h",
        text="How long a job's record is kept after its last change",
    )
    approval_ttl: Seconds = variable(
        "CORDUM_APPROVAL_TTL",
        default=72 * 3600.0,
        least=0,
        shown="72h",
        text="How long a job waits for approval when its rule does not say; 0 = as long as its record is kept",
    )
    redis_data_ttl: Seconds = variable(
        "REDIS_DATA_TTL",
        "REDIS_DATA_TTL_SECONDS",
        default=24 * 3600.0,
        least=60,
        shown="24h",
        text="How long inputs and results are kept",
    )
    idempotency_ttl: Seconds = variable(
        "CORDUM_IDEMPOTENCY_TTL",
        default=2160 * 3600.0,
        least=60,
        shown="2160h",
        text="How long an idempotency key is remembered",
    )
    dlq_entry_ttl_days: Count = variable(
        "CORDUM_DLQ_ENTRY_TTL_DAYS", default=30, least=1, most=3650, text="Days a dead letter is kept"
    )
    dlq_max_size: Count = variable(
        "SCHEDULER_DLQ_MAX_SIZE", default=10_000, least=1, most=1_000_000, text="Most dead letters; the oldest go first"
    )
    decision_log_ttl: Seconds = variable(
        "CORDUM_DECISION_LOG_TTL_SECONDS",
        "CORDUM_DECISION_LOG_TTL",
        default=720 * 3600.0,
        least=60,
        shown="720h",
        text="How long the decision log keeps a decision",
    )
    audit_retention_hours: Count = variable(
        "CORDUM_AUDIT_RETENTION_HOURS", default=168, least=1, most=876_000, text="Hours an audit event is kept"
    )
    audit_max_entries: Count = variable(
        "CORDUM_AUDIT_MAX_ENTRIES",
        default=1_000_000,
        least=1_000,
        most=100_000_000,
        text="Most audit events of one tenant, about; the oldest go first",
    )
    audit_hmac_key: Secret | None = variable(
        "CORDUM_AUDIT_HMAC_KEY", default=None, text="Signs audit events, so that nobody without it can write a history"
    )
    audit_hmac_previous_key: Secret | None = variable(
        "CORDUM_AUDIT_HMAC_PREVIOUS_KEY", default=None, text="The key before that one, for checking older events"
    )
    audit_spool_path: str = variable(
        "CORDUM_AUDIT_SPOOL_PATH",
        default="",
        text="File for audit events Redis cannot take now, one per process; none: they wait in memory",
    )

    @property
    def audit_keys(self) -> tuple[bytes, ...]:
        """The keys of the audit chain, the one in use first."""
        keys = (self.audit_hmac_key, self.audit_hmac_previous_key)
        return tuple(key.get_secret_value().encode() for key in keys if key is not None)
