"""Settings of the scheduler."""

from cordum.runtime.settings.declare import variable
from cordum.runtime.settings.kernel import KernelClientSettings
from cordum.runtime.settings.nats import NatsSettings
from cordum.runtime.settings.output import InputFailSettings, OutputPolicySettings
from cordum.runtime.settings.protections import Rigour, Strictness
from cordum.runtime.settings.redis import RedisSettings
from cordum.runtime.settings.schemas import SchemaSettings
from cordum.runtime.settings.sessions import HandshakeSettings
from cordum.runtime.settings.values import Address, Flag, ListenAddress, Seconds


class SchedulerSettings(
    NatsSettings,
    RedisSettings,
    KernelClientSettings,
    InputFailSettings,
    OutputPolicySettings,
    HandshakeSettings,
    SchemaSettings,
):
    """The scheduler (spec-scheduler sections 1, 7, 11 and 12)."""

    service = "cordum-scheduler"

    metrics_addr: ListenAddress = variable(
        "SCHEDULER_METRICS_ADDR",
        default=Address("", 9090),
        shown="`:9090`; in production `127.0.0.1:9090`",
        text="Metrics and health listen address",
    )
    metrics_public: Flag = variable(
        "SCHEDULER_METRICS_PUBLIC", default=False, text="Let metrics be reached from other machines in production"
    )
    pool_config_path: str = variable(
        "POOL_CONFIG_PATH", default="config/pools.yaml", text="Which topic goes to which pool"
    )
    timeout_config_path: str = variable(
        "TIMEOUT_CONFIG_PATH",
        default="config/timeouts.yaml",
        text="Timeouts and tries; set explicitly it must be readable in production",
    )
    config_reload_interval: Seconds = variable(
        "SCHEDULER_CONFIG_RELOAD_INTERVAL",
        default=30.0,
        least=0.1,
        most=3600,
        text="How often stored config is read again",
    )
    worker_ttl: Seconds = variable(
        "SCHEDULER_WORKER_TTL", default=30.0, least=0.5, most=3600, text="A worker silent for this long is gone"
    )
    worker_snapshot_interval: Seconds = variable(
        "WORKER_SNAPSHOT_INTERVAL", default=5.0, least=0.1, most=600, text="How often the list of workers is stored"
    )
    worker_attestation: Strictness = variable(
        "WORKER_ATTESTATION",
        default=Rigour.OFF,
        text="Whether heartbeats must carry the token of the worker's credential: warn only says so, enforce refuses",
    )
    worker_readiness_required: Flag = variable(
        "WORKER_READINESS_REQUIRED", default=False, text="Give jobs only to workers that announced the topic as ready"
    )
    worker_readiness_ttl: Seconds = variable(
        "WORKER_READINESS_TTL", default=60.0, least=1, most=86_400, text="How long such an announcement holds"
    )
