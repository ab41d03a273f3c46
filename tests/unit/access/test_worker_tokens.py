"""Workers' tokens and credentials: forms, hashes, keys."""

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st

from cordum.core.access import worker_tokens
from cordum.core.access.worker_credential import BadProofKeyError, ProofKey, read_proof_key, read_proof_keys
from cordum.core.access.worker_tokens import BadTokenHashError, hash_token, is_session, is_token, matches, token_of

TOKEN = token_of(bytes(range(32)))
SALT = b"0123456789abcdef"


def test_a_token_matches_its_hash_and_no_other() -> None:
    phc = hash_token(TOKEN, SALT)

    assert phc.startswith("$argon2id$v=19$m=65536,t=3,p=1$")
    assert matches(TOKEN, phc)
    assert not matches(token_of(bytes(32)), phc)
    assert TOKEN not in phc


@pytest.mark.parametrize(
    "phc",
    [
        "",
        "plain",
        "$2b$12$abcdefghijklmnopqrstuv",
        "$argon2id$v=19$m=4194304,t=3,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNoaGFzaA",
        "$argon2id$v=19$m=65536,t=4000,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNoaGFzaA",
        "$argon2id$v=19$m=65536,t=3,p=200$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNoaGFzaA",
        "$argon2d$v=19$m=65536,t=3,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNoaGFzaA",
    ],
)
def test_a_hash_that_is_none_or_asks_for_too_much_is_refused(phc: str) -> None:
    with pytest.raises(BadTokenHashError):
        matches(TOKEN, phc)


@given(st.binary(min_size=32, max_size=32))
def test_every_token_we_issue_is_known_as_one(secret: bytes) -> None:
    token = token_of(secret)
    assert is_token(token) and not is_session(token)


@given(st.text(max_size=80))
def test_other_texts_are_hardly_ever_tokens(text: str) -> None:
    assert is_token(text) == (len(text) == 64 and set(text) <= set("0123456789abcdef"))


def test_session_tokens_are_told_from_workers_tokens() -> None:
    assert is_session("aGVhZA.Y2xhaW1z.c2ln")
    assert not is_session("a.b") and not is_session("a..b") and not is_session("a.b.c.d") and not is_session(TOKEN)


def test_a_digest_depends_on_its_key() -> None:
    one, other = (worker_tokens.digest_of(TOKEN, key) for key in (b"a" * 32, b"b" * 32))
    assert one != other and len(one) == 32


def pem(key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> str:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def test_a_proof_key_is_kept_with_its_fingerprint() -> None:
    public = ec.generate_private_key(ec.SECP256R1()).public_key()

    key = read_proof_key("laptop", f"  \n{pem(public)}\n")

    assert key == ProofKey(id="laptop", public_key=pem(public), alg="ES256", fingerprint=key.fingerprint)
    assert read_proof_key("other", pem(public)).fingerprint == key.fingerprint


def test_what_is_no_public_key_on_p256_is_refused() -> None:
    private = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    good = pem(ec.generate_private_key(ec.SECP256R1()).public_key())
    for key_id, text in (
        ("k", ""),
        ("k", "x" * 5000),
        ("k", private.decode()),
        ("k", pem(ec.generate_private_key(ec.SECP384R1()).public_key())),
        ("k", pem(ed25519.Ed25519PrivateKey.generate().public_key())),
        ("", good),
        ("two words", good),
        ("x" * 129, good),
    ):
        with pytest.raises(BadProofKeyError):
            read_proof_key(key_id, text)
    with pytest.raises(BadProofKeyError):
        read_proof_keys([("k", good), ("k", good)])
    with pytest.raises(BadProofKeyError):
        read_proof_keys([(f"k{number}", good) for number in range(9)])
