"""API keys: every form they are configured in, and who they turn out to be."""

import hashlib
import json

import pytest

from cordum.core.access.caller import same_person
from cordum.core.access.keys import BadKeysError, Keyring, digest_of, parse_keys, parse_single
from cordum.core.access.permissions import Role
from cordum.core.ids import TenantId

DEFAULT = TenantId("default")
HEX = hashlib.sha256(b"hidden").hexdigest()


def ring(text: str) -> Keyring:
    return Keyring(parse_keys(text, DEFAULT))


@pytest.mark.seed("S245")
@pytest.mark.parametrize(
    ("text", "key", "tenant", "role", "principal"),
    [
        ("plain", "plain", "default", Role.ADMIN, ""),
        (" one , two ,, ", "two", "default", Role.ADMIN, ""),
        ("acme:key", "key", "acme", Role.ADMIN, ""),
        ("acme:key:viewer", "key", "acme", Role.VIEWER, ""),
        ("acme:'key':OPERATOR:bob", "key", "acme", Role.OPERATOR, "bob"),
        (f"acme:sha256:{HEX}:user:svc", "hidden", "acme", Role.USER, "svc"),
        (f"sha256:{HEX}", "hidden", "default", Role.ADMIN, ""),
        ('[{"key": "a", "tenant": "t", "role": "user", "principal_id": "p"}]', "a", "t", Role.USER, "p"),
        ('{"a": {"role": "viewer"}, "b": {}}', "a", "default", Role.VIEWER, ""),
        ('{"keys": [{"key": "a", "role": "admin"}]}', "a", "default", Role.ADMIN, ""),
    ],
)
def test_every_form_names_a_caller(text: str, key: str, tenant: str, role: Role, principal: str) -> None:
    caller = ring(text).find(key, 0.0)
    assert caller is not None
    assert (caller.tenant, caller.role, caller.principal) == (tenant, role, principal)
    assert caller.fingerprint == digest_of(key)


@pytest.mark.parametrize(
    "text",
    [
        "a:b:c:d:e",
        "acme:",
        "acme::admin",
        "t:key:emperor",
        "bad tenant!:key",
        "sha256:abc",
        "{",
        "[1]",
        '[{"key": ""}]',
        '[{"key": "a", "rights": "all"}]',
        '[{"key": "a", "expires_at": "tomorrow"}]',
        '[{"key": "a", "expires_at": "2027-01-01T00:00:00"}]',
        '[{"key": "a", "role": "admin"}, {"key": "a", "role": "viewer"}]',
        '{"a": {"key": "b"}}',
    ],
)
def test_what_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(BadKeysError):
        ring(text)


def test_a_fault_never_shows_the_key() -> None:
    for text in ("secret-value-1:secret-value-2:nobody", '{"secret-value-1": {"expires_at": 5}}', '["secret-value-2"]'):
        with pytest.raises(BadKeysError) as caught:
            ring(text)
        assert "secret-value" not in caught.value.message


def test_a_digest_is_not_itself_a_key() -> None:
    keys = ring(f"sha256:{HEX}")
    assert keys.find("hidden", 0.0) is not None
    assert keys.find(HEX, 0.0) is None
    assert keys.find(f"sha256:{HEX}", 0.0) is None


def test_a_key_ends_when_it_says() -> None:
    keys = ring(json.dumps([{"key": "a", "expires_at": "2027-01-01T00:00:00Z"}]))
    end = 1_798_761_600.0
    assert keys.find("a", end - 1) is not None
    assert keys.find("a", end) is None


def test_the_later_source_knows_better() -> None:
    keys = Keyring(parse_single("a", DEFAULT), parse_keys("acme:a:viewer", DEFAULT))
    caller = keys.find("a", 0.0)
    assert caller is not None and caller.role is Role.VIEWER


def test_keys_without_a_role_are_counted() -> None:
    assert Keyring(parse_single("a", DEFAULT), parse_keys("b,t:c:user", DEFAULT)).without_role == 1


def test_nothing_configured_is_no_key() -> None:
    keys = Keyring(parse_single("  ", DEFAULT), parse_keys("", DEFAULT))
    assert len(keys) == 0
    assert keys.find("", 0.0) is None


def test_who_counts_as_the_same_person() -> None:
    alice, bob = (ring(f"t:{name}-key:admin:{name}").find(f"{name}-key", 0.0) for name in ("alice", "bob"))
    assert alice is not None and bob is not None
    assert same_person(alice.identity, alice.identity)
    assert not same_person(alice.identity, bob.identity)
    assert same_person(f"apikey:{'0' * 16}|principal:alice", alice.identity)
    key = alice.identity.partition("|")[0]
    assert not same_person(f"{key}|principal:somebody", alice.identity), "a key that was given to somebody else"
    assert same_person(f"{key}|claimed:somebody", alice.identity)
    assert same_person(key, alice.identity)
    assert same_person("apikey:0123|claimed:alice", alice.identity)
    assert not same_person("", alice.identity)
    assert not same_person("apikey:|principal:", alice.identity)
