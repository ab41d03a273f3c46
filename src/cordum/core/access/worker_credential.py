"""What a worker proves its name with, and what it may do under it (spec-scheduler 11.3)."""

import re
from collections.abc import Sequence
from typing import Final

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cordum.core.errors import CordumError
from cordum.core.ids import PoolName, TenantId, Topic, WorkerId

MAX_PROOF_KEYS: Final = 8
"""Of one worker: the one in use, the one to come, and room for mistakes."""

PROOF_ALGORITHM: Final = "ES256"
_LONGEST_KEY: Final = 2_048
_KEY_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


class BadProofKeyError(CordumError):
    """This is not a public key on the curve P-256."""

    code = "bad_proof_key"


class ProofKey(msgspec.Struct, frozen=True, kw_only=True):
    """A public key with which a worker proves who it is in the trust handshake (spec-scheduler 11.4).

    Attributes:
        id: the worker's `proof_key_id`.
        public_key: PEM (SubjectPublicKeyInfo), on P-256.
        fingerprint: SHA-256 of the key's DER, hex; what lists show.
    """

    id: str
    public_key: str
    alg: str = PROOF_ALGORITHM
    fingerprint: str = ""


class WorkerCredential(msgspec.Struct, frozen=True, kw_only=True):
    """One worker's credential.

    Attributes:
        tenant_id: whose administrator issued it.
        credential_hash: PHC text of the token (argon2id); never leaves the store and the scheduler.
        allowed_pools, allowed_topics: where it may work; empty means anywhere.
        created_at: when the token now in force was issued, RFC 3339; revoked_at: "" while it holds.
    """

    worker_id: WorkerId
    tenant_id: TenantId
    credential_hash: str
    allowed_pools: tuple[PoolName, ...] = ()
    allowed_topics: tuple[Topic, ...] = ()
    pack_id: str = ""
    agent_id: str = ""
    proof_keys: tuple[ProofKey, ...] = ()
    created_by: str = ""
    created_at: str = ""
    revoked_at: str = ""

    @property
    def is_revoked(self) -> bool:
        return bool(self.revoked_at)

    def allows_pool(self, pool: PoolName) -> bool:
        return not self.allowed_pools or pool in self.allowed_pools

    def proof_key(self, key_id: str) -> ProofKey | None:
        """The proof key of that id."""
        return next((key for key in self.proof_keys if key.id == key_id), None)


def read_proof_key(key_id: str, pem: str) -> ProofKey:
    """A proof key from its PEM text.

    Raises:
        BadProofKeyError: not such a key, or a private one, or not a name for one.
    """
    if not _KEY_ID.fullmatch(key_id):
        raise BadProofKeyError("the id of a proof key is 1 to 128 letters, digits, '.', '_', ':' and '-'")
    if len(pem) > _LONGEST_KEY or "PRIVATE" in pem:
        raise BadProofKeyError(f"proof key {key_id}: give the public key as PEM, never the private one")
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadProofKeyError(f"proof key {key_id}: not a public key in PEM") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise BadProofKeyError(f"proof key {key_id}: not on the curve P-256")
    as_info = serialization.PublicFormat.SubjectPublicKeyInfo
    digest = hashes.Hash(hashes.SHA256())
    digest.update(key.public_bytes(serialization.Encoding.DER, as_info))
    return ProofKey(
        id=key_id,
        public_key=key.public_bytes(serialization.Encoding.PEM, as_info).decode(),
        fingerprint=digest.finalize().hex(),
    )


def read_proof_keys(given: Sequence[tuple[str, str]]) -> tuple[ProofKey, ...]:
    """Several, each (id, PEM). Raises BadProofKeyError, also for two of one id and for too many."""
    if len(given) > MAX_PROOF_KEYS:
        raise BadProofKeyError(f"a worker has {MAX_PROOF_KEYS} proof keys at most")
    if len({key_id for key_id, _ in given}) < len(given):
        raise BadProofKeyError("two proof keys have the same id")
    return tuple(read_proof_key(key_id, pem) for key_id, pem in given)
