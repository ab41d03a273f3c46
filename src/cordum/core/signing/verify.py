"""Whether a signature belongs to these bytes and this key."""

import hashlib
import hmac

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from cordum.core.signing.envelope import SignatureObject, read_signature
from cordum.core.signing.errors import SignatureError, SignatureFault
from cordum.core.signing.keys import Algorithm, PublicKey, algorithm_of
from cordum.core.signing.texts import decodings

MAX_SIGNATURE_BYTES = 16 * 1024

_NAMES = {
    Algorithm.ED25519: frozenset({"ed25519", "eddsa"}),
    Algorithm.ECDSA_P256: frozenset({"ecdsa", "ecdsa-p256", "ecdsa-p256-sha256", "es256"}),
}


def verify(key: PublicKey, data: bytes, signature: object) -> None:
    """Checks a signature in any of its forms: raw, base64, hex, or a JSON object with its algorithm and hash.

    Raises SignatureError when it is missing, cannot be read, or does not belong to these bytes and this key.
    """
    found = bounded(signature)
    if isinstance(found, SignatureObject):
        _check_object(found, key, data)
        candidates = decodings(found.value.encode())
    else:
        # A raw signature may start or end with a byte that looks like white space, so the exact bytes count first.
        candidates = [found, *decodings(found.strip())]
    if not candidates:
        raise SignatureError(SignatureFault.MALFORMED, "the policy's signature is neither raw nor base64, hex or JSON")
    # Trying every reading is safe: only a true signature of these bytes passes any of them.
    if not any(_holds(key, data, candidate) for candidate in candidates):
        raise SignatureError(
            SignatureFault.INVALID, "the policy's signature does not match its bytes and the public key"
        )


def bounded(signature: object) -> SignatureObject | bytes:
    """The signature as `read_signature` reads it, unless it is far too long for one."""
    if isinstance(signature, str | bytes) and len(signature) > MAX_SIGNATURE_BYTES:
        raise SignatureError(SignatureFault.MALFORMED, f"the policy's signature has {len(signature)} bytes")
    found = read_signature(signature)
    if isinstance(found, SignatureObject) and len(found.value) > MAX_SIGNATURE_BYTES:
        raise SignatureError(SignatureFault.MALFORMED, f"the policy's signature has {len(found.value)} characters")
    return found


def _check_object(found: SignatureObject, key: PublicKey, data: bytes) -> None:
    ours = algorithm_of(key)
    if found.algorithm.lower() not in _NAMES[ours]:
        raise SignatureError(
            SignatureFault.INVALID,
            f'the policy is signed with "{found.algorithm[:40]}", the public key is for {ours.value}',
        )
    if found.signed_bytes is not None and found.signed_bytes != len(data):
        raise SignatureError(
            SignatureFault.INVALID, f"the signature is for {found.signed_bytes} bytes, the policy has {len(data)}"
        )
    digest = hashlib.sha256(data).hexdigest()
    if found.hash and not hmac.compare_digest(found.hash.lower().removeprefix("sha256:").encode(), digest.encode()):
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
