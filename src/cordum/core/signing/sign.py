"""Signing bytes."""

import base64
import hashlib

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from cordum.core.signing.envelope import SignatureObject
from cordum.core.signing.keys import PrivateKey, algorithm_of


def sign(data: bytes, key: PrivateKey, key_id: str = "") -> SignatureObject:
    """A signature over exactly these bytes, with their length and SHA-256.

    Args:
        key_id: the id under which verifiers know the key (`CORDUM_POLICY_PUBLIC_KEY_<ID>`); "" leaves it to them.
    """
    value = key.sign(data) if isinstance(key, ed25519.Ed25519PrivateKey) else key.sign(data, ec.ECDSA(hashes.SHA256()))
    return SignatureObject(
        algorithm=algorithm_of(key).value,
        value=base64.b64encode(value).decode(),
        key_id=key_id,
        hash=hashlib.sha256(data).hexdigest(),
        signed_bytes=len(data),
    )
