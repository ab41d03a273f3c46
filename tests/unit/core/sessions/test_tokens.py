"""Session tokens: what is written is read, and nothing else is."""

import base64
import json

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cordum.core.ids import TenantId
from cordum.core.sessions import (
    MAX_TOKEN_LENGTH,
    SKEW,
    Claims,
    SessionError,
    SessionKeys,
    Signer,
    TokenFault,
    TokenType,
    is_session_shaped,
    mint,
    verify,
)

NOW = 1_800_000_000
CLAIMS = Claims(sub="worker-1", tenant=TenantId("acme"), jti="0f" * 16, iat=NOW, exp=NOW + 3600, sdk_ver="cap/2.17")
SIGNER = Signer(Ed25519PrivateKey.generate(), "Release-1")
KEYS = SessionKeys.of({}, SIGNER)
TOKEN = mint(SIGNER, TokenType.SESSION, CLAIMS)


def parts(token: str) -> list[dict[str, object]]:
    return [json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2]]


def signed(header: object, claims: object) -> str:
    """A token of whatever is given, properly signed."""

    def text(value: object) -> str:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    head = f"{text(header)}.{text(claims)}"
    return f"{head}.{text(SIGNER.sign(head.encode()))}"


def test_a_token_says_what_the_specification_names() -> None:
    header, claims = parts(TOKEN)
    assert header == {"alg": "ed25519", "kid": "release_1", "typ": "cordum-session"}
    assert claims == {
        "sub": "worker-1",
        "tenant": "acme",
        "sdk_ver": "cap/2.17",
        "jti": "0f" * 16,
        "iat": "2027-01-15T08:00:00Z",
        "exp": "2027-01-15T09:00:00Z",
    }
    assert verify(TOKEN, TokenType.SESSION, KEYS, NOW) == CLAIMS


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (NOW - SKEW, CLAIMS),
        (NOW - SKEW - 1, TokenFault.NOT_YET_VALID),
        (NOW + 3600 + SKEW - 1, CLAIMS),
        (NOW + 3600 + SKEW, TokenFault.EXPIRED),
    ],
)
def test_its_time_counts_give_or_take_a_minute(now: int, expected: Claims | TokenFault) -> None:
    assert verify(TOKEN, TokenType.SESSION, KEYS, now) == expected


def test_one_kind_never_passes_for_the_other() -> None:
    assert verify(TOKEN, TokenType.SERVICE, KEYS, NOW) is TokenFault.WRONG_TYPE


def test_only_trusted_keys_count_by_id_or_fingerprint() -> None:
    other = Signer(Ed25519PrivateKey.generate(), "release-2")
    unnamed = Signer(Ed25519PrivateKey.generate())
    trusted = SessionKeys.of({"RELEASE_2": other.public_key, "x": unnamed.public_key})
    assert verify(TOKEN, TokenType.SESSION, trusted, NOW) is TokenFault.UNKNOWN_KEY
    for signer in (other, unnamed):
        assert verify(mint(signer, TokenType.SESSION, CLAIMS), TokenType.SESSION, trusted, NOW) == CLAIMS
    usurper = Signer(Ed25519PrivateKey.generate(), "release-1")
    assert verify(mint(usurper, TokenType.SESSION, CLAIMS), TokenType.SESSION, KEYS, NOW) is TokenFault.BAD_SIGNATURE


HEADER, BODY = parts(TOKEN)


@pytest.mark.parametrize(
    ("header", "claims", "fault"),
    [
        (HEADER | {"alg": "none"}, BODY, TokenFault.MALFORMED),
        (HEADER | {"crit": "x"}, BODY, TokenFault.MALFORMED),
        (HEADER | {"kid": 1}, BODY, TokenFault.MALFORMED),
        (b"\xff", BODY, TokenFault.MALFORMED),
        (HEADER, BODY | {"admin": True}, TokenFault.MALFORMED),
        (HEADER, {**BODY, "sub": ""}, TokenFault.MALFORMED),
        (HEADER, {**BODY, "sub": "a b"}, TokenFault.MALFORMED),
        (HEADER, {**BODY, "tenant": "x" * 257}, TokenFault.MALFORMED),
        (HEADER, {**BODY, "jti": "0F" * 16}, TokenFault.MALFORMED),
        (HEADER, {**BODY, "iat": NOW}, TokenFault.MALFORMED),
        (HEADER, {**BODY, "exp": "2027-01-15T09:00:00+00:00"}, TokenFault.MALFORMED),
        (HEADER, {**BODY, "exp": "2027-02-30T09:00:00Z"}, TokenFault.MALFORMED),
        (HEADER, {**BODY, "exp": "2027-01-15T07:00:00Z"}, TokenFault.MALFORMED),
        (HEADER, {**BODY, "exp": "2027-02-15T08:00:00Z"}, TokenFault.MALFORMED),
        (HEADER, b"[]", TokenFault.MALFORMED),
    ],
)
def test_what_mint_would_not_write_is_refused_even_when_signed(
    header: object, claims: object, fault: TokenFault
) -> None:
    assert verify(signed(header, claims), TokenType.SESSION, KEYS, NOW) is fault


@pytest.mark.parametrize(
    "text",
    ["", "a", "a.b", "a.b.c.d", "..", ".a.b", "a.b.c", TOKEN + "=", TOKEN + "\n", "é." + TOKEN, "x" * 5000, TOKEN[:-1]],
)
def test_other_texts_are_no_tokens(text: str) -> None:
    assert verify(text, TokenType.SESSION, KEYS, NOW) is TokenFault.MALFORMED


def test_a_credential_has_not_the_shape_of_a_session() -> None:
    assert is_session_shaped(TOKEN)
    assert not is_session_shaped("ab" * 32)
    assert not is_session_shaped(f"a.b.{'c' * MAX_TOKEN_LENGTH}")


@pytest.mark.parametrize(
    "change",
    [{"sub": ""}, {"tenant": "a b"}, {"jti": "xyz"}, {"exp": NOW}, {"exp": NOW + 90_000}, {"sdk_ver": "x" * 257}],
)
def test_what_verify_would_refuse_is_not_written(change: dict[str, object]) -> None:
    with pytest.raises(SessionError):
        mint(SIGNER, TokenType.SESSION, msgspec.structs.replace(CLAIMS, **change))
