import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from cordum.runtime.settings import (
    Address,
    CommonSettings,
    GatewaySettings,
    LogFormat,
    LogLevel,
    NatsSettings,
    RedisSettings,
    SafetyKernelSettings,
    SchedulerSettings,
    SettingsError,
    load,
    load_or_exit,
)
from cordum.runtime.settings.declare import Settings
from cordum.runtime.settings.values import parse_flag, parse_seconds

SERVICES: list[type[Settings]] = [GatewaySettings, SchedulerSettings, SafetyKernelSettings]


def refused(cls: type[Settings], **env: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(cls, env)
    return caught.value.violations


@pytest.mark.parametrize("cls", SERVICES)
def test_an_empty_environment_gives_the_defaults(cls: type[Settings]) -> None:
    assert load(cls, {}) == cls()


@pytest.mark.seed("S252", "S253", "S254", "S259", "S260")
def test_the_defaults_are_those_of_the_guide() -> None:
    gateway = load(GatewaySettings, {})
    assert str(gateway.http_addr) == ":8081"
    assert str(gateway.grpc_addr) == ":50051"
    assert str(gateway.metrics_addr) == ":9092"
    assert (gateway.api_rate_limit_rps, gateway.api_rate_limit_burst) == (100, 200)
    assert (gateway.api_public_rate_limit_rps, gateway.api_public_rate_limit_burst) == (10, 20)
    assert str(load(SchedulerSettings, {}).metrics_addr) == ":9090"
    assert str(load(SafetyKernelSettings, {}).admin_addr) == ":9095"
    assert gateway.hsts_max_age == 63_072_000
    assert gateway.nats_url == "nats://localhost:4222"
    assert gateway.redis_url == "redis://localhost:6379"
    assert gateway.job_meta_ttl == 168 * 3600
    assert gateway.redis_data_ttl == 24 * 3600


@pytest.mark.seed("S252", "S253", "S254", "S256", "S259")
def test_addresses_follow_their_variables() -> None:
    gateway = load(GatewaySettings, {"GATEWAY_HTTP_ADDR": "127.0.0.1:0", "SAFETY_KERNEL_ADDR": "kernel:50051"})
    assert gateway.http_addr == Address("127.0.0.1", 0)
    assert gateway.safety_kernel_addr == Address("kernel", 50051)
    assert load(SafetyKernelSettings, {"SAFETY_KERNEL_ADDR": ":50051"}).addr == Address("", 50051)


@pytest.mark.parametrize("cls", SERVICES)
def test_empty_and_blank_variables_count_as_unset(cls: type[Settings]) -> None:
    env = {"CORDUM_LOG_LEVEL": "", "NATS_JS_REPLICAS": "  ", "CORDUM_API_KEY": "", "SAFETY_KERNEL_ADDR": ""}
    assert load(cls, env) == cls()


def test_the_first_alias_that_is_not_empty_counts() -> None:
    env = {"CORDUM_ALLOWED_ORIGINS": "", "CORDUM_CORS_ALLOW_ORIGINS": "https://b.example", "CORS_ALLOW_ORIGINS": "*"}
    assert load(GatewaySettings, env).allowed_origins == ("https://b.example",)
    assert load(RedisSettings, {"JOB_META_TTL": "2h", "JOB_META_TTL_SECONDS": "60"}).job_meta_ttl == 7200
    assert load(RedisSettings, {"JOB_META_TTL_SECONDS": "90"}).job_meta_ttl == 90


@pytest.mark.seed("S25", "S244")
@pytest.mark.parametrize(
    ("env", "production"),
    [
        ({}, False),
        ({"CORDUM_ENV": "development"}, False),
        ({"CORDUM_ENV": "production"}, True),
        ({"CORDUM_ENV": " Production "}, True),
        ({"CORDUM_ENV": "PROD"}, True),
        ({"CORDUM_PRODUCTION": "true"}, True),
        ({"CORDUM_PRODUCTION": " YES "}, True),
        ({"CORDUM_PRODUCTION": "1"}, True),
        ({"CORDUM_PRODUCTION": "false"}, False),
        ({"CORDUM_ENV": "dev", "CORDUM_PRODUCTION": "on"}, True),
        ({"CORDUM_ENV": "production", "CORDUM_PRODUCTION": "false"}, True),
    ],
)
def test_production_mode(env: dict[str, str], production: bool) -> None:
    assert load(CommonSettings, env).production is production


@pytest.mark.parametrize(
    ("cls", "env", "line"),
    [
        (
            SchedulerSettings,
            {"WORKER_ATTESTATION": "enforse"},
            "WORKER_ATTESTATION=enforse: not one of off, warn, enforce",
        ),
        (
            SchedulerSettings,
            {"SCHEMA_ENFORCEMENT": "strict"},
            "SCHEMA_ENFORCEMENT=strict: not one of off, warn, enforce",
        ),
        (CommonSettings, {"CORDUM_LOG_LEVEL": "loud"}, "CORDUM_LOG_LEVEL=loud: not one of debug, info, warn, error"),
        (CommonSettings, {"CORDUM_LOG_FORMAT": "xml"}, "CORDUM_LOG_FORMAT=xml: not one of json, text"),
        (CommonSettings, {"CORDUM_TLS_MIN_VERSION": "1.1"}, "CORDUM_TLS_MIN_VERSION=1.1: not one of 1.2, 1.3"),
        (
            CommonSettings,
            {"CORDUM_ENV": "prodution"},
            "CORDUM_ENV=prodution: not one of production, prod, staging, development, dev, test, local, ci",
        ),
        (
            CommonSettings,
            {"CORDUM_PRODUCTION": "maybe"},
            "CORDUM_PRODUCTION=maybe: not one of 1, true, yes, on, 0, false, no, off",
        ),
        (NatsSettings, {"NATS_JS_REPLICAS": "three"}, "NATS_JS_REPLICAS=three: not a whole number"),
        (NatsSettings, {"NATS_JS_REPLICAS": "2.5"}, "NATS_JS_REPLICAS=2.5: not a whole number"),
        (NatsSettings, {"NATS_JS_REPLICAS": "0"}, "NATS_JS_REPLICAS=0: must be at least 1"),
        (NatsSettings, {"NATS_JS_REPLICAS": "6"}, "NATS_JS_REPLICAS=6: must be at most 5"),
        (NatsSettings, {"NATS_JS_MAX_AGE": "7 days"}, "NATS_JS_MAX_AGE=7 days: not a duration;"),
        (RedisSettings, {"REDIS_READ_TIMEOUT": "-3s"}, "REDIS_READ_TIMEOUT=-3s: not a duration;"),
        (RedisSettings, {"JOB_META_TTL_SECONDS": "x"}, "JOB_META_TTL_SECONDS=x: not a duration;"),
        (RedisSettings, {"JOB_META_TTL": "1s"}, "JOB_META_TTL=1s: must be at least 60"),
        (RedisSettings, {"REDIS_CLUSTER_ADDRESSES": "a:1,b"}, "REDIS_CLUSTER_ADDRESSES=a:1,b: not an address;"),
        (RedisSettings, {"REDIS_URL": "localhost:6379"}, "REDIS_URL=localhost:6379: not an address; write redis://"),
        (NatsSettings, {"NATS_URL": "http://x:1"}, "NATS_URL=http://x:1: not an address; write nats://host:port"),
        (NatsSettings, {"NATS_URL": "nats://x:99999"}, "NATS_URL=nats://x:99999: not an address"),
        (GatewaySettings, {"GATEWAY_HTTP_ADDR": "8081"}, "GATEWAY_HTTP_ADDR=8081: not an address;"),
        (GatewaySettings, {"GATEWAY_HTTP_ADDR": ":65536"}, "GATEWAY_HTTP_ADDR=:65536: not an address;"),
        (GatewaySettings, {"GATEWAY_HTTP_ADDR": "[::g]:1"}, "GATEWAY_HTTP_ADDR=[::g]:1: not an address;"),
        (GatewaySettings, {"GATEWAY_HTTP_ADDR": "a b:1"}, "GATEWAY_HTTP_ADDR=a b:1: not an address;"),
        (GatewaySettings, {"SAFETY_KERNEL_ADDR": ":50051"}, "SAFETY_KERNEL_ADDR=:50051: not an address to connect to;"),
        (
            GatewaySettings,
            {"CORDUM_ALLOWED_ORIGINS": "example.com"},
            "CORDUM_ALLOWED_ORIGINS=example.com: not a list of",
        ),
        (GatewaySettings, {"CORDUM_TRUSTED_PROXIES": "10.0.0.0/33"}, "CORDUM_TRUSTED_PROXIES=10.0.0.0/33: not a list"),
        (GatewaySettings, {"TENANT_ID": "a b"}, "TENANT_ID=a b: not a tenant"),
        (GatewaySettings, {"CORDUM_INSTANCE_ID": "a/b"}, "CORDUM_INSTANCE_ID=a/b: not a name"),
        (GatewaySettings, {"NATS_USERNAME": "u"}, "NATS_PASSWORD: not set, but NATS_USERNAME is; set both or none"),
        (
            RedisSettings,
            {"REDIS_CLUSTER_ADDRESSES": "a:1", "REDIS_SENTINEL_ADDRESSES": "b:2"},
            "REDIS_SENTINEL_ADDRESSES: set together with REDIS_CLUSTER_ADDRESSES; it is one or the other",
        ),
    ],
)
@pytest.mark.seed("S244", "S248", "S265")
def test_a_bad_value_is_refused_in_one_line_that_says_what_is_allowed(
    cls: type[Settings], env: dict[str, str], line: str
) -> None:
    violations = refused(cls, **env)
    assert len(violations) == 1
    assert violations[0].startswith(line)
    assert "\n" not in violations[0]


def test_all_faults_are_told_at_once() -> None:
    violations = refused(SchedulerSettings, WORKER_ATTESTATION="x", REDIS_POOL_SIZE="y", NATS_TLS_CERT="/no/such/file")
    assert [line.split("=")[0].split(":")[0] for line in violations] == [
        "NATS_TLS_CERT",
        "NATS_TLS_KEY",
        "REDIS_POOL_SIZE",
        "WORKER_ATTESTATION",
    ]


def test_a_bad_value_does_not_also_count_as_missing() -> None:
    violations = refused(GatewaySettings, CORDUM_PRODUCTION="true", SAFETY_KERNEL_ADDR="x", CORDUM_API_KEYS="[")
    assert sum(line.startswith("CORDUM_API_KEY") for line in violations) == 1
    assert sum(line.startswith("SAFETY_KERNEL_ADDR") for line in violations) == 1


@pytest.mark.seed("S85")
def test_secrets_are_neither_in_messages_nor_in_representations() -> None:
    canary = "canary-6f1d"
    env = {
        "CORDUM_API_KEY": canary,
        "CORDUM_API_KEYS": f"[{canary}",
        "REDIS_URL": f"http://user:{canary}@redis",
        "NATS_URL": f"nats://user:{canary}@nats:bad",
        "REDIS_PASSWORD": canary,
        "NATS_TOKEN": canary,
    }
    violations = refused(GatewaySettings, **env)
    assert len(violations) == 3
    assert canary not in "\n".join(violations)
    settings = load(GatewaySettings, {"CORDUM_API_KEY": canary, "REDIS_PASSWORD": canary})
    assert canary not in repr(settings)
    assert canary not in str(settings)
    assert settings.api_key == SecretStr(canary)


def test_a_long_or_unprintable_value_is_shown_short_and_clean() -> None:
    (line,) = refused(CommonSettings, CORDUM_LOG_LEVEL="x\n\x1b[31m" + "y" * 500)
    assert "\n" not in line
    assert "\x1b" not in line
    assert len(line) < 200


def test_settings_cannot_be_changed_afterwards() -> None:
    settings = load(CommonSettings, {})
    with pytest.raises(ValueError, match="frozen"):
        settings.tenant_id = "other"  # type: ignore[misc]


def test_log_settings() -> None:
    settings = load(CommonSettings, {"CORDUM_LOG_LEVEL": "WARNING", "CORDUM_LOG_FORMAT": "Text"})
    assert (settings.log_level, settings.log_format) == (LogLevel.WARN, LogFormat.TEXT)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("5m", 300),
        ("168h", 604_800),
        ("500ms", 0.5),
        ("1h30m", 5400),
        ("7d", 604_800),
        ("45", 45),
        ("0.5", 0.5),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "5x", "-1s", "1s 2s", "1e3", "nan", "inf", "٣s", "1" * 50 + "s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_seconds(text)


@given(st.text(max_size=60))
def test_whatever_is_written_is_read_or_refused_as_a_bad_value(text: str) -> None:
    for parse in (parse_seconds, parse_flag, Address.parse):
        with contextlib.suppress(ValueError):
            parse(text)


@given(st.integers(0, 65_535), st.sampled_from(["", "localhost", "127.0.0.1", "::1", "kernel.cordum.svc"]))
def test_an_address_written_out_reads_back(port: int, host: str) -> None:
    address = Address(host, port)
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("", False),
        ("0.0.0.0", False),
        ("h", False),
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert Address(host, 1).is_loopback is loopback


def test_a_bad_setting_ends_the_process_with_code_2_and_a_line_each_and_no_traceback() -> None:
    code = "from cordum.runtime.settings import *; load_or_exit(SchedulerSettings)"
    env = {"WORKER_ATTESTATION": "enforse", "REDIS_POOL_SIZE": "many"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "cordum-scheduler: REDIS_POOL_SIZE=many: not a whole number",
        "cordum-scheduler: WORKER_ATTESTATION=enforse: not one of off, warn, enforce",
    ]


def test_the_environment_of_the_process_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANT_ID", "acme")
    assert load_or_exit(CommonSettings).tenant_id == "acme"


@pytest.mark.seed("S261")
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.crt")
    (line,) = refused(NatsSettings, NATS_TLS_CA=missing)
    assert line == f"NATS_TLS_CA={missing}: cannot be read: No such file or directory"
