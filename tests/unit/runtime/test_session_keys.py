"""Keys of sessions from settings and files, what is refused at the start, and the control plane's own tokens."""

from pathlib import Path

import pytest

from cordum.core.sessions import Claims, SessionKeys, Signer, TokenType, verify
from cordum.core.signing import Algorithm, PrivateKey, generate, private_text, public_key_of, public_text
from cordum.runtime import production
from cordum.runtime.clock import ManualClock
from cordum.runtime.ids import RandomIds
from cordum.runtime.service_tokens import LIFE, ServiceTokens
from cordum.runtime.session_keys import read_handshake_keys, read_signer
from cordum.runtime.settings import GatewaySettings, SchedulerSettings, SettingsError, load
from cordum.runtime.settings.declare import Settings

ED25519, P256 = generate(Algorithm.ED25519), generate(Algorithm.ECDSA_P256)
ENFORCE = {"CORDUM_SDK_HANDSHAKE": "enforce"}
SIGNING = {"CORDUM_POLICY_SIGNING_KEY": private_text(ED25519), "CORDUM_POLICY_SIGNING_KEY_ID": "release-1"}
TRUST = {"CORDUM_SCHEDULER_TRUST_KEY": private_text(P256)}


def refused(cls: type[Settings], env: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(cls, env)
    return caught.value.violations


def public(key: PrivateKey) -> str:
    return public_text(public_key_of(key))


@pytest.mark.parametrize(
    ("cls", "env", "beginning"),
    [
        (SchedulerSettings, ENFORCE | TRUST, "CORDUM_POLICY_SIGNING_KEY: no Ed25519 key"),
        (SchedulerSettings, ENFORCE | SIGNING, "CORDUM_SCHEDULER_TRUST_KEY: not set"),
        (
            SchedulerSettings,
            ENFORCE | TRUST | {"CORDUM_POLICY_SIGNING_KEY": private_text(P256)},
            "CORDUM_POLICY_SIGNING_KEY: no Ed25519 key",
        ),
        (
            SchedulerSettings,
            ENFORCE | SIGNING | {"CORDUM_SCHEDULER_TRUST_KEY": private_text(ED25519)},
            "CORDUM_SCHEDULER_TRUST_KEY: not an ECDSA P-256 key",
        ),
        (SchedulerSettings, TRUST | {"CORDUM_SCHEDULER_TRUST_KEY_ID": "two words"}, "CORDUM_SCHEDULER_TRUST_KEY_ID: "),
        (SchedulerSettings, {"CORDUM_SCHEDULER_TRUST_KEY": "rubbish"}, "CORDUM_SCHEDULER_TRUST_KEY: "),
        (SchedulerSettings, {"CORDUM_POLICY_SIGNING_KEY": "rubbish"}, "CORDUM_POLICY_SIGNING_KEY: "),
        (SchedulerSettings, {"CORDUM_POLICY_SIGNING_KEY_PATH": "/nowhere"}, "CORDUM_POLICY_SIGNING_KEY_PATH=/nowhere"),
        (
            SchedulerSettings,
            {"CORDUM_SCHEDULER_TRUST_KEY_PATH": "/nowhere"},
            "CORDUM_SCHEDULER_TRUST_KEY_PATH=/nowhere",
        ),
        (SchedulerSettings, {"CORDUM_POLICY_PUBLIC_KEY_X": "rubbish"}, "CORDUM_POLICY_PUBLIC_KEY_X: "),
        (
            SchedulerSettings,
            SIGNING | {"CORDUM_POLICY_PUBLIC_KEY_RELEASE_1": public(generate(Algorithm.ED25519))},
            "CORDUM_POLICY_PUBLIC_KEY_RELEASE_1: not the public half",
        ),
        (SchedulerSettings, {"CORDUM_SDK_HANDSHAKE": "sometimes"}, "CORDUM_SDK_HANDSHAKE=sometimes: not one of off"),
        (GatewaySettings, ENFORCE, "CORDUM_POLICY_SIGNING_KEY: no Ed25519 key"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(cls: type[Settings], env: dict[str, str], beginning: str) -> None:
    (line,) = refused(cls, env)
    assert line.startswith(beginning)


def test_keys_are_read_from_files_and_others_are_trusted_besides(tmp_path: Path) -> None:
    signing, trust = tmp_path / "signing.key", tmp_path / "trust.key"
    signing.write_text(private_text(ED25519))
    trust.write_text(private_text(P256))
    other = generate(Algorithm.ED25519)
    settings = load(
        SchedulerSettings,
        ENFORCE
        | {
            "CORDUM_POLICY_SIGNING_KEY_PATH": str(signing),
            "CORDUM_SCHEDULER_TRUST_KEY_PATH": str(trust),
            "CORDUM_SCHEDULER_TRUST_KEY_ID": "sched-2",
            "CORDUM_POLICY_PUBLIC_KEY_NEXT": public(other),
            "CORDUM_POLICY_PUBLIC_KEY_OLD": public(P256),
        },
    )
    keys = read_handshake_keys(settings)
    assert keys is not None and keys.trust.key_id == "sched-2"
    assert keys.trusted.find("next") == public_key_of(other)
    assert keys.trusted.find(keys.signer.kid) == public_key_of(ED25519)
    assert keys.trusted.find("old") is None


def test_warning_without_keys_is_said_to_have_no_effect() -> None:
    settings = load(SchedulerSettings, {"CORDUM_SDK_HANDSHAKE": "warn"})
    assert read_handshake_keys(settings) is None
    assert any(notice.startswith("CORDUM_SDK_HANDSHAKE=warn has no effect") for notice in production.notices(settings))
    with_keys = load(SchedulerSettings, {"CORDUM_SDK_HANDSHAKE": "warn"} | SIGNING | TRUST)
    assert not any("CORDUM_SDK_HANDSHAKE" in notice for notice in production.notices(with_keys))


def test_a_service_token_is_used_for_a_while_and_made_anew_in_time() -> None:
    clock = ManualClock()
    signer = read_signer(load(GatewaySettings, SIGNING))
    assert isinstance(signer, Signer)
    tokens, keys = ServiceTokens(signer, clock, RandomIds()), SessionKeys.of({}, signer)
    seen: list[str] = []
    for _ in range(6):
        token = tokens.token("api-gateway")
        claims = verify(token, TokenType.SERVICE, keys, clock.now())
        assert isinstance(claims, Claims)
        assert (claims.sub, claims.tenant, claims.exp - claims.iat) == ("api-gateway", "_system", LIFE)
        assert claims.exp - clock.now() > LIFE / 2
        seen.append(token)
        clock.advance(60)
    assert len(set(seen)) == 3
    clock.advance(-600)
    assert isinstance(verify(tokens.token("api-gateway"), TokenType.SERVICE, keys, clock.now()), Claims)


def test_without_a_key_there_is_no_token() -> None:
    assert read_signer(load(GatewaySettings, {})) is None
    assert read_signer(load(GatewaySettings, {"CORDUM_POLICY_SIGNING_KEY": private_text(P256)})) is None
    assert ServiceTokens(None, ManualClock(), RandomIds()).token("api-gateway") == ""
