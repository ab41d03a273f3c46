"""Signatures on policies: keys, the written forms of a signature, whom to trust, and the signed manifest's bytes.

ECDSA over P-256 with SHA-256 and Ed25519 alike (spec-safety section 6). What is signed is always the exact bytes.
"""

from cordum.core.signing.envelope import SignatureObject, encode, read_signature
from cordum.core.signing.errors import BadKeyError, SignatureError, SignatureFault
from cordum.core.signing.keys import (
    Algorithm,
    PrivateKey,
    PublicKey,
    algorithm_of,
    fingerprint,
    from_seed_text,
    generate,
    private_text,
    public_key_of,
    public_text,
    read_private_key,
    read_public_key,
)
from cordum.core.signing.sign import sign
from cordum.core.signing.strictness import Strictness, parse_strictness
from cordum.core.signing.trust import TrustStore, key_id_of
from cordum.core.signing.verify import MAX_SIGNATURE_BYTES, verify

__all__ = [
    "MAX_SIGNATURE_BYTES",
    "Algorithm",
    "BadKeyError",
    "PrivateKey",
    "PublicKey",
    "SignatureError",
    "SignatureFault",
    "SignatureObject",
    "Strictness",
    "TrustStore",
    "algorithm_of",
    "encode",
    "fingerprint",
    "from_seed_text",
    "generate",
    "key_id_of",
    "parse_strictness",
    "private_text",
    "public_key_of",
    "public_text",
    "read_private_key",
    "read_public_key",
    "read_signature",
    "sign",
    "verify",
]
