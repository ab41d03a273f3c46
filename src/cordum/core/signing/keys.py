"""Keys in every form an operator may hold one: PEM, base64 or hex (spec-safety section 6)."""

import hashlib
from enum import StrEnum

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from cordum.core.signing.errors import BadKeyError
from cordum.core.signing.texts import decodings

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

MAX_KEY_TEXT = 16 * 1024
_ED25519_BYTES = 32
_ED25519_PAIR_BYTES = 64
"""Some tools write an Ed25519 private key as its seed followed by its public key."""
_ED25519_PREFIX = "ed25519:"
_UNSUPPORTED = "only ECDSA P-256 and Ed25519 keys are supported"


class Algorithm(StrEnum):
    """How is signed; the `algorithm` of a signature object."""

    ED25519 = "ed25519"
    ECDSA_P256 = "ecdsa-p256-sha256"


def generate(algorithm: Algorithm) -> PrivateKey:
    """A fresh private key."""
    if algorithm is Algorithm.ED25519:
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1())


def from_seed_text(text: str) -> PrivateKey:
    """The Ed25519 key whose seed is the text's SHA-256: for development only, as guessable as the text is."""
    return ed25519.Ed25519PrivateKey.from_private_bytes(hashlib.sha256(text.encode()).digest())


def algorithm_of(key: PublicKey | PrivateKey) -> Algorithm:
    """The one algorithm a key is for."""
    is_ed25519 = isinstance(key, ed25519.Ed25519PublicKey | ed25519.Ed25519PrivateKey)
    return Algorithm.ED25519 if is_ed25519 else Algorithm.ECDSA_P256


def public_key_of(key: PrivateKey) -> PublicKey:
    """The public half."""
    return key.public_key()


def read_public_key(text: str) -> PublicKey:
    """A key as PEM (also with `\\n` written out), or base64 or hex: of DER, of Ed25519's 32 bytes, of a P-256 point.

    Raises BadKeyError for anything else.
    """
    text = _bounded(text)
    if "-----BEGIN" in text:
        try:
            return _public(serialization.load_pem_public_key(text.replace("\\n", "\n").encode()))
        except (ValueError, UnsupportedAlgorithm) as error:
            raise BadKeyError("the PEM text cannot be read") from error
    for data in decodings(text.removeprefix(_ED25519_PREFIX).encode()):
        if len(data) == _ED25519_BYTES:
            return ed25519.Ed25519PublicKey.from_public_bytes(data)
        try:
            if len(data) in (33, 65):
                return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), data)
            return _public(serialization.load_der_public_key(data))
        except (ValueError, UnsupportedAlgorithm):
            continue
    raise BadKeyError("it is neither PEM nor base64 nor hex of a public key")


def read_private_key(text: str) -> PrivateKey:
    """A key as PEM (also with `\\n` written out), or base64 or hex: of DER, of Ed25519's 32-byte seed or 64-byte pair.

    Raises BadKeyError for anything else, a key behind a password included.
    """
    text = _bounded(text)
    if "-----BEGIN" in text:
        try:
            return _private(serialization.load_pem_private_key(text.replace("\\n", "\n").encode(), None))
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise BadKeyError("the PEM text cannot be read as a private key without a password") from error
    for data in decodings(text.removeprefix(_ED25519_PREFIX).encode()):
        if len(data) in (_ED25519_BYTES, _ED25519_PAIR_BYTES):
            key = ed25519.Ed25519PrivateKey.from_private_bytes(data[:_ED25519_BYTES])
            if data[_ED25519_BYTES:] not in (b"", key.public_key().public_bytes_raw()):
                raise BadKeyError("its two halves do not belong together")
            return key
        try:
            return _private(serialization.load_der_private_key(data, None))
        except (ValueError, TypeError, UnsupportedAlgorithm):
            continue
    raise BadKeyError("it is neither PEM nor base64 nor hex of a private key")


def public_text(key: PublicKey) -> str:
    """The key as PEM."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def private_text(key: PrivateKey) -> str:
    """The key as PEM (PKCS#8), without a password. Keep it where nobody else can read it."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def fingerprint(key: PublicKey) -> str:
    """The first 16 hex digits of the key's SHA-256: for people, to tell two keys apart."""
    encoded = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(encoded).hexdigest()[:16]


def _bounded(text: str) -> str:
    if len(text) > MAX_KEY_TEXT:
        raise BadKeyError(f"it has more than {MAX_KEY_TEXT} characters")
    return text.strip()


def _public(key: object) -> PublicKey:
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise BadKeyError(_UNSUPPORTED)


def _private(key: object) -> PrivateKey:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise BadKeyError(_UNSUPPORTED)
