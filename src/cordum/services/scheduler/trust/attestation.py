"""`WORKER_ATTESTATION`: a worker proves its name with the token of its credential (spec-scheduler 11.3).

A token is checked against its hash once, by `Verifier`; from then on a keyed digest of it is compared.

A worker announces its topics once, when it starts, before its first heartbeat, and the SDK puts no token into the
announcement. Under `enforce` an announcement therefore counts for nothing by itself: it waits for that worker's next
heartbeat with a good token.
"""

import hmac
import secrets
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from cap.pb.cordum.agent.v1.buspacket_pb2 import BusPacket

from cordum.core.access.worker_credential import WorkerCredential
from cordum.core.access.worker_tokens import digest_of, is_session, is_token
from cordum.core.ids import PoolName, Topic, WorkerId
from cordum.core.routing.workers import UNNAMED_POOL
from cordum.runtime.clock import Clock
from cordum.runtime.settings import Rigour
from cordum.services.scheduler.trust.credentials import CredentialCache
from cordum.services.scheduler.trust.refusals import Refusal, Refusals
from cordum.services.scheduler.trust.verifying import Verdict, Verifier

Retake = Callable[[BusPacket], None]

VERIFIED: Final = "verified"
"""The standing of a worker whose token is good; otherwise it is the reason why not."""

MAX_STANDINGS: Final = 10_000
NOWHERE: Final[frozenset[Topic]] = frozenset()


class _Proof(msgspec.Struct, frozen=True):
    """What makes a worker believed.

    Attributes:
        digest: of the good token; None for a worker another scheduler believed before this one started.
        credential_hash: the credential it was good for.
    """

    digest: bytes | None
    credential_hash: str


class Attestation:
    """Checks heartbeats and announcements; see `WorkerGate` for what the answers mean."""

    def __init__(self, rigour: Rigour, credentials: CredentialCache, verifier: Verifier, clock: Clock) -> None:
        self.rigour = rigour
        self._credentials = credentials
        self._verifier = verifier
        self._refusals = Refusals(rigour, clock)
        self._key = secrets.token_bytes(32)
        self._proofs: dict[WorkerId, _Proof] = {}
        self._standings: dict[WorkerId, str] = {}
        self._waiting: dict[WorkerId, BusPacket] = {}
        self._announced: dict[WorkerId, BusPacket] = {}
        self._retake_heartbeat: Retake = _nobody
        self._retake_announcement: Retake = _nobody
        verifier.on_verdict(self._judged)
        credentials.on_change(self._reconsider)

    def on_retake(self, heartbeat: Retake, announcement: Retake) -> None:
        self._retake_heartbeat, self._retake_announcement = heartbeat, announcement

    @property
    def enforced(self) -> bool:
        return self.rigour is Rigour.ENFORCE

    @property
    def standings(self) -> Mapping[WorkerId, str]:
        """What became of each worker's last heartbeat: `verified`, or why it is not. Empty while nothing is checked."""
        return self._standings

    def allowed_topics(self, worker_id: WorkerId) -> frozenset[Topic] | None:
        """The only topics a worker may have; None: any. None at all for one whose token no longer holds."""
        if not self.enforced:
            return None
        credential = self._holding(worker_id)
        if credential is None:
            return NOWHERE
        return frozenset(credential.allowed_topics) if credential.allowed_topics else None

    def believes(self, worker_id: WorkerId, pool: PoolName) -> bool:
        """Whether the worker's last token is still good for working in that pool; always, unless enforced."""
        if not self.enforced:
            return True
        credential = self._holding(worker_id)
        return credential is not None and credential.allows_pool(pool)

    def is_revoked(self, worker_id: WorkerId) -> bool:
        """Whether the worker, enforced, has no business here any more: its credential is revoked, or there is none."""
        return self.enforced and self._active(worker_id) is None

    def restore(self, worker_id: WorkerId, pool: PoolName) -> bool:
        """Whether to believe a worker that another scheduler believed; its next heartbeat is checked as ever."""
        if not self.enforced:
            return True
        credential = self._active(worker_id)
        if credential is None or not credential.allows_pool(pool):
            return False
        self._proofs[worker_id] = _Proof(None, credential.credential_hash)
        self._standings[worker_id] = VERIFIED
        return True

    def heartbeat(self, packet: BusPacket) -> bool:
        if self.rigour is Rigour.OFF:
            return True
        worker_id = WorkerId(packet.heartbeat.worker_id)
        if packet.sender_id != worker_id:
            return self._refuse(worker_id, Refusal.SENDER_ID_MISMATCH, "heartbeat")
        if not self._credentials.available:
            return self._refuse(worker_id, Refusal.CREDENTIAL_CACHE_UNAVAILABLE, "heartbeat")
        token = packet.heartbeat.auth_token.strip() or _envelope_token(packet)
        credential = self._active(worker_id)
        if not token:
            return self._refuse(worker_id, Refusal.AUTH_TOKEN_MISSING, "heartbeat")
        if credential is None or not is_token(token):
            return self._refuse(worker_id, Refusal.CREDENTIAL_INVALID, "heartbeat")
        if not self._is_proven(worker_id, credential, token):
            return self._ask(worker_id, credential, token, packet)
        pool = PoolName(packet.heartbeat.pool) or UNNAMED_POOL
        if not credential.allows_pool(pool):
            return self._refuse(worker_id, Refusal.POOL_NOT_ALLOWED, "heartbeat", pool=pool)
        self._stand(worker_id, VERIFIED)
        announced = self._announced.pop(worker_id, None)
        if announced is not None:
            self._retake_announcement(announced)
        return True

    def handshake(self, packet: BusPacket) -> bool:
        if not self.enforced:
            # Under warn the worker is named when its heartbeat comes.
            return True
        worker_id = WorkerId(packet.handshake.component_id)
        if packet.sender_id != worker_id:
            return self._refuse(worker_id, Refusal.SENDER_ID_MISMATCH, "handshake")
        if not self._credentials.available:
            return self._refuse(worker_id, Refusal.CREDENTIAL_CACHE_UNAVAILABLE, "handshake")
        credential = self._active(worker_id)
        if credential is None:
            return self._refuse(worker_id, Refusal.CREDENTIAL_INVALID, "handshake")
        if token := _envelope_token(packet):
            if is_token(token) and self._is_proven(worker_id, credential, token):
                return True
            if not is_token(token) or self._has_token(worker_id, credential):
                return self._refuse(worker_id, Refusal.CREDENTIAL_INVALID, "handshake")
        self.announce(packet)
        return False

    def announce(self, packet: BusPacket) -> None:
        """Keeps an announcement until its worker's next good heartbeat."""
        worker_id = WorkerId(packet.handshake.component_id)
        if self._active(worker_id) is not None:
            self._announced[worker_id] = packet

    def _active(self, worker_id: WorkerId) -> WorkerCredential | None:
        credential = self._credentials.find(worker_id)
        return None if credential is None or credential.is_revoked else credential

    def _holding(self, worker_id: WorkerId) -> WorkerCredential | None:
        """The credential for which the worker has shown the token, if that is still the one in force."""
        proof, credential = self._proofs.get(worker_id), self._active(worker_id)
        if proof is None or credential is None or proof.credential_hash != credential.credential_hash:
            return None
        return credential

    def _has_token(self, worker_id: WorkerId, credential: WorkerCredential) -> bool:
        proof = self._proofs.get(worker_id)
        return proof is not None and proof.digest is not None and proof.credential_hash == credential.credential_hash

    def _is_proven(self, worker_id: WorkerId, credential: WorkerCredential, token: str) -> bool:
        proof = self._proofs.get(worker_id)
        if proof is None or proof.digest is None or proof.credential_hash != credential.credential_hash:
            return False
        return hmac.compare_digest(proof.digest, digest_of(token, self._key))

    def _ask(self, worker_id: WorkerId, credential: WorkerCredential, token: str, packet: BusPacket) -> bool:
        """A token not seen before: known to be bad, or to be checked, which takes a while."""
        known = self._verifier.ask(worker_id, token, credential.credential_hash, digest_of(token, self._key))
        if known is Verdict.BAD:
            return self._refuse(worker_id, Refusal.CREDENTIAL_INVALID, "heartbeat")
        if known is Verdict.UNREADABLE:
            return self._refuse(worker_id, Refusal.CREDENTIAL_VERIFY_ERROR, "heartbeat")
        if known is Verdict.CHECKING:
            self._waiting[worker_id] = packet
        return not self.enforced

    def _judged(self, worker_id: WorkerId, digest: bytes, credential_hash: str, verdict: Verdict) -> None:
        """A token has been checked: the heartbeat that brought it counts now."""
        if verdict is Verdict.GOOD:
            self._proofs[worker_id] = _Proof(digest, credential_hash)
        packet = self._waiting.pop(worker_id, None)
        if packet is not None:
            # Good or bad, the gate knows the token now and says so.
            self._retake_heartbeat(packet)

    def _reconsider(self) -> None:
        """Credentials have changed: what was proven for one that is gone is proven no more."""
        for worker_id in [known for known in self._proofs if self._holding(known) is None]:
            del self._proofs[worker_id]
            self._standings[worker_id] = Refusal.CREDENTIAL_INVALID.value
        for worker_id in [known for known in self._announced if self._active(known) is None]:
            del self._announced[worker_id]
        for worker_id in [known for known in self._waiting if self._active(known) is None]:
            del self._waiting[worker_id]

    def _refuse(self, worker_id: WorkerId, why: Refusal, what: str, pool: str = "") -> bool:
        """Says it, and whether the packet is taken all the same."""
        if what == "heartbeat" and why is not Refusal.SENDER_ID_MISMATCH:
            self._stand(worker_id, why.value)
        self._refusals.tell(worker_id, why, what, pool)
        return not self.enforced

    def _stand(self, worker_id: WorkerId, standing: str) -> None:
        if worker_id in self._standings or len(self._standings) < MAX_STANDINGS:
            self._standings[worker_id] = standing


def _envelope_token(packet: BusPacket) -> str:
    """The envelope's token, unless it is a session's, which is another thing."""
    token = packet.auth_token.strip()
    return "" if is_session(token) else token


def _nobody(packet: BusPacket) -> None:
    """Before somebody is there to take it, nothing is."""
