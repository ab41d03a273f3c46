"""Who signed the policy: ECDSA P-256 or Ed25519, over the exact bytes of the file (spec-safety section 6)."""

import base64
import binascii
import hashlib
from enum import StrEnum
from typing import ClassVar

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from cordum.core.errors import CordumError

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

MAX_SIGNATURE_BYTES = 16 * 1024


class SignatureFault(StrEnum):
    """Why a policy was not trusted; the word of the log line."""

    UNSIGNED = "unsigned"
    MALFORMED = "malformed"
    NO_TRUST_STORE = "no_trust_store"
    INVALID = "invalid_signature"


class SignatureError(CordumError):
    """The policy's signature does not hold."""

    code: ClassVar[str] = "policy_signature_rejected"

    def __init__(self, fault: SignatureFault, message: str) -> None:
        self.fault = fault
        super().__init__(message)


class _Envelope(msgspec.Struct):
    """The JSON form of a signature."""

    algorithm: str
    value: str
    key_id: str = ""
    hash: str = ""
    signed_bytes: int | None = None


def read_public_key(text: str) -> PublicKey:
    """A key as PEM (also with `\\n` written out), or base64 or hex: of DER, of Ed25519's 32 bytes, of a P-256 point.

    Raises SignatureError (no_trust_store) for anything else.
    """
    text = text.strip()
    if "-----BEGIN" in text:
        try:
            return _ours(serialization.load_pem_public_key(text.replace("\\n", "\n").encode()))
        except ValueError as error:
            raise _bad_key("the PEM text cannot be read") from error
    for data in _decoded(text.removeprefix("ed25519:").encode()):
        if len(data) == 32:
            return ed25519.Ed25519PublicKey.from_public_bytes(data)
        try:
            if len(data) in (33, 65):
                return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), data)
            return _ours(serialization.load_der_public_key(data))
        except ValueError:
            continue
    raise _bad_key("it is neither PEM nor base64 nor hex of a public key")


def verify(key: PublicKey, data: bytes, signature: bytes) -> None:
    """Checks a signature in any of its forms: raw, base64, hex, or a JSON object with its algorithm and hash.

    Raises SignatureError when it is missing, cannot be read, or does not belong to these bytes and this key.
    """
    signature = _bounded(signature)
    envelope = _envelope(signature.strip())
    if envelope is not None:
        _check_envelope(envelope, key, data)
        candidates = _decoded(envelope.value.encode())
    else:
        # A raw signature may start or end with a byte that looks like white space, so the exact bytes count first.
        candidates = [signature, *_decoded(signature.strip())]
    if not candidates:
        raise SignatureError(SignatureFault.MALFORMED, "the policy's signature is neither raw nor base64, hex or JSON")
    # Trying every reading is safe: only a true signature of these bytes passes any of them.
    if not any(_holds(key, data, candidate) for candidate in candidates):
        raise SignatureError(
            SignatureFault.INVALID, "the policy's signature does not match its bytes and the public key"
        )


def _bounded(signature: bytes) -> bytes:
    if not signature.strip():
        raise SignatureError(SignatureFault.UNSIGNED, "the policy is not signed")
    if len(signature) > MAX_SIGNATURE_BYTES:
        raise SignatureError(SignatureFault.MALFORMED, f"the policy's signature has {len(signature)} bytes")
    return signature


def _envelope(text: bytes) -> _Envelope | None:
    if not text.startswith(b"{"):
        return None
    try:
        return msgspec.json.decode(text, type=_Envelope)
    except msgspec.MsgspecError as error:
        raise SignatureError(SignatureFault.MALFORMED, f"the policy's signature object: {error}") from error


def _check_envelope(envelope: _Envelope, key: PublicKey, data: bytes) -> None:
    ours = (
        {"ed25519"}
        if isinstance(key, ed25519.Ed25519PublicKey)
        else {"ecdsa", "ecdsa-p256", "ecdsa-p256-sha256", "es256"}
    )
    if envelope.algorithm.lower() not in ours:
        raise SignatureError(
            SignatureFault.INVALID,
            f'the policy is signed with "{envelope.algorithm}", the public key is for {min(ours)}',
        )
    if envelope.signed_bytes is not None and envelope.signed_bytes != len(data):
        raise SignatureError(
            SignatureFault.INVALID, f"the signature is for {envelope.signed_bytes} bytes, the policy has {len(data)}"
        )
    if envelope.hash and envelope.hash.lower().removeprefix("sha256:") != hashlib.sha256(data).hexdigest():
        raise SignatureError(SignatureFault.INVALID, "the signature is for a policy with another hash")


def _holds(key: PublicKey, data: bytes, signature: bytes) -> bool:
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, data)
        else:
            key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _ours(key: object) -> PublicKey:
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise _bad_key("only ECDSA P-256 and Ed25519 keys are supported")


def _bad_key(why: str) -> SignatureError:
    return SignatureError(SignatureFault.NO_TRUST_STORE, f"SAFETY_POLICY_PUBLIC_KEY cannot be used: {why}")


def _decoded(text: bytes) -> list[bytes]:
    """What the text stands for as hex and as base64 (either alphabet, padded or not)."""
    found: list[bytes] = []
    compact = b"".join(text.split())
    try:
        found.append(bytes.fromhex(compact.decode("ascii")))
    except (ValueError, UnicodeDecodeError):
        pass
    padded = compact.rstrip(b"=")
    padded += b"=" * (-len(padded) % 4)
    try:
        found.append(base64.b64decode(padded.replace(b"-", b"+").replace(b"_", b"/"), validate=True))
    except (binascii.Error, ValueError):
        pass
    return found
