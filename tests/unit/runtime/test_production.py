import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.certificates import Authority

from cordum.runtime import production
from cordum.runtime.settings import (
    Address,
    CommonSettings,
    GatewaySettings,
    NatsSettings,
    RedisSettings,
    SafetyKernelSettings,
    SchedulerSettings,
    SettingsError,
    load,
)
from cordum.runtime.settings.declare import Settings

STRONG_KEY = "k7Jd02mX9qLw4TzRb81vNcYe5HsGa3Uf"


@pytest.fixture
def env(authority: Authority) -> dict[str, str]:
    """An environment every service starts with in production."""
    server_cert, server_key = authority.issue("server")
    client_cert, client_key = authority.issue("client")
    return {
        "CORDUM_ENV": "production",
        "NATS_URL": "tls://nats:4222",
        "NATS_TLS_CA": authority.ca,
        "NATS_TLS_CERT": client_cert,
        "NATS_TLS_KEY": client_key,
        "NATS_TOKEN": "some-token",
        "REDIS_URL": "rediss://redis:6379",
        "REDIS_TLS_CA": authority.ca,
        "SAFETY_KERNEL_TLS_CA": authority.ca,
        "SAFETY_KERNEL_TLS_CERT": server_cert,
        "SAFETY_KERNEL_TLS_KEY": server_key,
        "SAFETY_POLICY_PUBLIC_KEY": "cHVibGlj",
        "GATEWAY_HTTP_TLS_CERT": server_cert,
        "GATEWAY_HTTP_TLS_KEY": server_key,
        "GRPC_TLS_CERT": server_cert,
        "GRPC_TLS_KEY": server_key,
        "CORDUM_API_KEY": STRONG_KEY,
    }


def refused(cls: type[Settings], env: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(cls, env)
    return caught.value.violations


@pytest.mark.parametrize("cls", [GatewaySettings, SchedulerSettings, SafetyKernelSettings])
def test_a_complete_production_environment_is_accepted(cls: type[CommonSettings], env: dict[str, str]) -> None:
    assert load(cls, env).production


@pytest.mark.parametrize(
    ("cls", "without", "named"),
    [
        pytest.param(GatewaySettings, "NATS_URL", "NATS_URL: not set", id="nats"),
        pytest.param(SchedulerSettings, "REDIS_URL", "REDIS_URL: not set", id="redis"),
        pytest.param(GatewaySettings, "NATS_TOKEN", "NATS_USERNAME: not set", id="nats-login"),
        pytest.param(GatewaySettings, "NATS_TLS_CA", "NATS_TLS_CA: not set", id="nats-ca"),
        pytest.param(SchedulerSettings, "REDIS_TLS_CA", "REDIS_TLS_CA: not set", id="redis-ca"),
        pytest.param(
            GatewaySettings,
            "GATEWAY_HTTP_TLS_CERT GATEWAY_HTTP_TLS_KEY",
            "GATEWAY_HTTP_TLS_CERT: not set",
            marks=pytest.mark.seed("S21"),
            id="http-tls",
        ),
        pytest.param(
            GatewaySettings,
            "GRPC_TLS_CERT GRPC_TLS_KEY",
            "GRPC_TLS_CERT: not set",
            marks=pytest.mark.seed("S22"),
            id="grpc-tls",
        ),
        pytest.param(
            SafetyKernelSettings,
            "SAFETY_KERNEL_TLS_CERT SAFETY_KERNEL_TLS_KEY",
            "SAFETY_KERNEL_TLS_CERT: not set",
            marks=pytest.mark.seed("S22"),
            id="kernel-tls",
        ),
        pytest.param(
            GatewaySettings,
            "SAFETY_KERNEL_TLS_CA",
            "SAFETY_KERNEL_TLS_CA: not set",
            marks=pytest.mark.seed("S23"),
            id="gateway-kernel-ca",
        ),
        pytest.param(
            SchedulerSettings,
            "SAFETY_KERNEL_TLS_CA",
            "SAFETY_KERNEL_TLS_CA: not set",
            marks=pytest.mark.seed("S23"),
            id="scheduler-kernel-ca",
        ),
        pytest.param(
            GatewaySettings, "CORDUM_API_KEY", "CORDUM_API_KEY: not set", marks=pytest.mark.seed("S26"), id="api-key"
        ),
        pytest.param(
            SafetyKernelSettings,
            "SAFETY_POLICY_PUBLIC_KEY",
            "SAFETY_POLICY_PUBLIC_KEY: policy signature required",
            marks=pytest.mark.seed("S30"),
            id="policy-key",
        ),
    ],
)
def test_production_refuses_to_start_without(
    cls: type[Settings], without: str, named: str, env: dict[str, str]
) -> None:
    for name in without.split():
        del env[name]
    violations = refused(cls, env)
    assert len(violations) == 1
    assert violations[0].startswith(named)


@pytest.mark.parametrize(
    ("cls", "change", "named"),
    [
        (GatewaySettings, {"NATS_URL": "nats://nats:4222"}, "NATS_URL=nats://nats:4222: not tls://"),
        (GatewaySettings, {"NATS_URL": "tls://a:1,nats://b:1"}, "NATS_URL=tls://a:1,nats://b:1: not tls://"),
        (GatewaySettings, {"NATS_TLS_INSECURE": "1"}, "NATS_TLS_INSECURE=true"),
        (SchedulerSettings, {"REDIS_URL": "redis://redis:6379"}, "REDIS_URL=redis://redis:6379: not rediss://"),
        (SchedulerSettings, {"REDIS_TLS_INSECURE": "yes"}, "REDIS_TLS_INSECURE=true"),
        (GatewaySettings, {"CORDUM_ALLOWED_ORIGINS": "*"}, "CORDUM_ALLOWED_ORIGINS=*"),
        (GatewaySettings, {"CORDUM_DASHBOARD_EMBED_API_KEY": "true"}, "CORDUM_DASHBOARD_EMBED_API_KEY=true"),
        (GatewaySettings, {"GATEWAY_METRICS_ADDR": ":9092"}, "GATEWAY_METRICS_ADDR=:9092: other machines"),
        (SchedulerSettings, {"SCHEDULER_METRICS_ADDR": "0.0.0.0:9090"}, "SCHEDULER_METRICS_ADDR=0.0.0.0:9090: other"),
        (
            SchedulerSettings,
            {"TIMEOUT_CONFIG_PATH": "/no/such.yaml"},
            "TIMEOUT_CONFIG_PATH=/no/such.yaml: cannot be read",
        ),
        (GatewaySettings, {"CORDUM_API_KEY": "short"}, "CORDUM_API_KEY: too short"),
        (GatewaySettings, {"CORDUM_API_KEY": "changeme-" + STRONG_KEY}, 'CORDUM_API_KEY: contains "changeme"'),
        (GatewaySettings, {"CORDUM_API_KEYS": f"acme:{STRONG_KEY},acme:weak"}, "CORDUM_API_KEYS: key 2: too short"),
        (GatewaySettings, {"REDIS_PASSWORD": "aaaaaaaaaaaaaaa1"}, "REDIS_PASSWORD: too few different"),
    ],
)
def test_production_refuses(cls: type[Settings], change: dict[str, str], named: str, env: dict[str, str]) -> None:
    violations = refused(cls, env | change)
    assert len(violations) == 1
    assert violations[0].startswith(named)


def test_everything_missing_is_told_at_once() -> None:
    violations = refused(GatewaySettings, {"CORDUM_PRODUCTION": "true"})
    named = {line.partition(":")[0] for line in violations}
    assert named == {
        "NATS_URL",
        "NATS_USERNAME",
        "REDIS_URL",
        "REDIS_TLS_CA",
        "SAFETY_KERNEL_TLS_CA",
        "GATEWAY_HTTP_TLS_CERT",
        "GRPC_TLS_CERT",
        "CORDUM_API_KEY",
    }


def test_what_production_refuses_can_be_allowed_where_the_spec_says_so(env: dict[str, str]) -> None:
    del env["NATS_TOKEN"], env["NATS_TLS_CA"]
    env |= {
        "NATS_URL": "nats://nats:4222",
        "CORDUM_NATS_ALLOW_PLAINTEXT": "true",
        "CORDUM_NATS_ALLOW_NOAUTH": "true",
        "CORDUM_API_KEY": "weak",
        "CORDUM_SKIP_SECRET_VALIDATION": "true",
    }
    assert load(GatewaySettings, env).production


def test_keys_given_as_digests_are_not_judged(env: dict[str, str]) -> None:
    del env["CORDUM_API_KEY"]
    assert load(GatewaySettings, env | {"CORDUM_API_KEYS": "acme:sha256:" + "0" * 64}).production


@pytest.mark.seed("S63", "S64", "S254", "S259")
@pytest.mark.parametrize(("cls", "name"), [(GatewaySettings, "GATEWAY"), (SchedulerSettings, "SCHEDULER")])
def test_in_production_metrics_are_on_loopback_unless_made_public(
    cls: type[GatewaySettings] | type[SchedulerSettings], name: str, env: dict[str, str]
) -> None:
    assert load(cls, env).metrics_addr.host == "127.0.0.1"
    assert load(cls, env | {f"{name}_METRICS_PUBLIC": "1"}).metrics_addr.host == ""
    public = load(cls, env | {f"{name}_METRICS_PUBLIC": "1", f"{name}_METRICS_ADDR": ":7000"})
    assert public.metrics_addr == Address("", 7000)
    loopback = load(cls, env | {f"{name}_METRICS_ADDR": "127.0.0.1:7000"})
    assert loopback.metrics_addr == Address("127.0.0.1", 7000)
    assert load(cls, {}).metrics_addr.host == ""


@pytest.mark.seed("S23")
def test_tls_to_the_kernel_can_be_demanded_outside_production() -> None:
    violations = refused(GatewaySettings, {"SAFETY_KERNEL_TLS_REQUIRED": "true"})
    assert violations == ["SAFETY_KERNEL_TLS_CA: not set; SAFETY_KERNEL_TLS_REQUIRED asks for it"]


def test_a_signed_policy_can_be_demanded_outside_production() -> None:
    (line,) = refused(SafetyKernelSettings, {"SAFETY_POLICY_SIGNATURE_REQUIRED": "true"})
    assert line.startswith("SAFETY_POLICY_PUBLIC_KEY: policy signature required")
    assert not load(SafetyKernelSettings, {}).demands_signature


@pytest.mark.seed("S255", "S261")
@pytest.mark.parametrize(
    ("cls", "cert", "key"),
    [
        (GatewaySettings, "GATEWAY_HTTP_TLS_CERT", "GATEWAY_HTTP_TLS_KEY"),
        (GatewaySettings, "GRPC_TLS_CERT", "GRPC_TLS_KEY"),
        (SafetyKernelSettings, "SAFETY_KERNEL_TLS_CERT", "SAFETY_KERNEL_TLS_KEY"),
        (NatsSettings, "NATS_TLS_CERT", "NATS_TLS_KEY"),
        (RedisSettings, "REDIS_TLS_CERT", "REDIS_TLS_KEY"),
        (SchedulerSettings, "SAFETY_KERNEL_TLS_CLIENT_CERT", "SAFETY_KERNEL_TLS_CLIENT_KEY"),
    ],
)
def test_half_a_pair_and_a_pair_that_does_not_match_are_refused_in_any_mode(
    cls: type[Settings], cert: str, key: str, authority: Authority
) -> None:
    cert_file, key_file = authority.issue("one")
    _, other_key = authority.issue("two")
    assert refused(cls, {cert: cert_file}) == [f"{key}: not set, but {cert} is; set both or none"]
    assert refused(cls, {key: key_file}) == [f"{cert}: not set, but {key} is; set both or none"]
    (line,) = refused(cls, {cert: cert_file, key: other_key})
    assert line.startswith(f"{cert}={cert_file}: {other_key}: not the key of the certificate")
    assert load(cls, {cert: cert_file, key: key_file})


def test_a_client_certificate_of_another_ca_is_refused_in_production(
    env: dict[str, str], another_authority: Callable[[], Authority]
) -> None:
    other = another_authority()
    (line,) = refused(NatsSettings, env | {"NATS_TLS_CA": other.ca})
    assert line.startswith(f"NATS_TLS_CA={other.ca}: ")
    assert "not issued by the CA" in line


def test_a_ca_without_certificates_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "ca.crt"
    empty.write_text("nothing")
    for cls, name in ((NatsSettings, "NATS_TLS_CA"), (GatewaySettings, "SAFETY_KERNEL_TLS_CA")):
        (line,) = refused(cls, {name: str(empty)})
        assert line == f"{name}={empty}: {empty}: no certificate (PEM) in it"


@pytest.mark.parametrize(
    ("cls", "change"),
    [
        (GatewaySettings, {"CORDUM_JWT_REQUIRED": "true"}),
        (GatewaySettings, {"CORDUM_LICENSE_REQUIRED": "1"}),
    ],
)
def test_a_protection_that_is_not_built_cannot_be_asked_for(cls: type[Settings], change: dict[str, str]) -> None:
    (line,) = refused(cls, change)
    assert "not available in this version" in line


@pytest.mark.seed("S248")
@pytest.mark.parametrize(
    ("text", "production", "expected"),
    [
        ("", False, ssl.TLSVersion.TLSv1_2),
        ("", True, ssl.TLSVersion.TLSv1_3),
        ("1.2", True, ssl.TLSVersion.TLSv1_2),
        ("1.3", False, ssl.TLSVersion.TLSv1_3),
        ("tls1.2", True, ssl.TLSVersion.TLSv1_2),
        ("TLSv1.3", False, ssl.TLSVersion.TLSv1_3),
        ("tls13", False, ssl.TLSVersion.TLSv1_3),
    ],
)
def test_the_oldest_tls_version(text: str, production: bool, expected: ssl.TLSVersion) -> None:
    env = {"CORDUM_TLS_MIN_VERSION": text, "CORDUM_PRODUCTION": str(production)}
    assert load(CommonSettings, env).tls_minimum is expected


def test_reflection_is_off_unless_asked_for_and_in_production_unless_forced(env: dict[str, str]) -> None:
    on = {"CORDUM_GRPC_REFLECTION": "1"}
    for cls in (GatewaySettings, SafetyKernelSettings):
        assert not load(cls, {}).serves_reflection
        assert load(cls, on).serves_reflection
        ignored = load(cls, env | on)
        assert not ignored.serves_reflection
        assert any("CORDUM_GRPC_REFLECTION is ignored" in notice for notice in production.notices(ignored))
        assert load(cls, env | on | {"CORDUM_GRPC_REFLECTION_FORCE": "1"}).serves_reflection


@pytest.mark.seed("S251")
def test_the_principal_header_never_counts_in_production(env: dict[str, str]) -> None:
    assert load(GatewaySettings, {}).trusts_header_principal
    assert not load(GatewaySettings, {"CORDUM_ALLOW_HEADER_PRINCIPAL": "false"}).trusts_header_principal
    assert not load(GatewaySettings, env | {"CORDUM_ALLOW_HEADER_PRINCIPAL": "true"}).trusts_header_principal


def test_what_has_no_effect_is_said() -> None:
    settings = load(SchedulerSettings, {"CORDUM_SDK_HANDSHAKE": "warn"})
    assert len(production.notices(settings)) == 1
    assert production.notices(load(SchedulerSettings, {})) == []
