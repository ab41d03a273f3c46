"""First phase: a worker asks for a challenge, and gets one that only it can answer (spec-scheduler 11.4)."""

import secrets
from typing import Final

from cap.pb.cordum.agent.v1 import handshake_pb2
from cap.pb.cordum.agent.v1.buspacket_pb2 import BusPacket

from cordum.core.access.worker_credential import WorkerCredential
from cordum.runtime.clock import Clock
from cordum.runtime.ids import Ids
from cordum.runtime.session_keys import HandshakeKeys
from cordum.services.scheduler.trust.handshake_packets import (
    NONCE_BYTES,
    Asked,
    Refused,
    agent_of,
    answer,
    digest,
    proven,
)
from cordum.services.scheduler.trust.rejections import Rejection
from cordum.store import Store

LIFE: Final = 60.0
"""Seconds a challenge may be answered; CAP's most, for the worker compares it with its own clock."""

_REPEATED: Final = (
    "request_id",
    "trace_id",
    "worker_id",
    "proof_key_id",
    "proof_algorithm",
    "audience",
    "purpose",
    "client_nonce",
    "protocol_version",
    "sdk_version",
)


class Challenger:
    """Gives challenges."""

    def __init__(self, store: Store, keys: HandshakeKeys, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock
        self._ids = ids

    async def challenge(self, asked: Asked, credential: WorkerCredential | None) -> BusPacket | Refused:
        """The challenge, kept so that any scheduler may check its answer; unsigned yet.

        Raises:
            StoreError: it could not be kept.
        """
        if (refused := proven(asked, credential)) is not None:
            return refused
        assert credential is not None
        request = asked.packet.worker_handshake_challenge_request
        # Only now: whoever cannot sign must not be able to use up the nonces of those who can.
        if not await self._store.sessions.claim_nonce(credential.tenant_id, request.client_nonce):
            return Refused(Rejection.REPLAY_DETECTED, "this nonce was used before")
        now = self._clock.now()
        packet = answer(request.trace_id, now)
        challenge = packet.worker_handshake_challenge
        _fill(challenge, request, credential, now)
        challenge.challenge_id = self._ids.new()
        challenge.server_key_id = self._keys.trust.key_id
        if not await self._store.sessions.put_challenge(challenge.challenge_id, digest(challenge)):
            return Refused(Rejection.INTERNAL_ERROR, "there is a challenge of this id")
        return packet


def _fill(
    challenge: "handshake_pb2.WorkerHandshakeChallenge",
    request: "handshake_pb2.WorkerHandshakeChallengeRequest",
    credential: WorkerCredential,
    now: float,
) -> None:
    for name in _REPEATED:
        setattr(challenge, name, getattr(request, name))
    challenge.agent_id = agent_of(credential)
    challenge.tenant_id = credential.tenant_id
    challenge.server_nonce = secrets.token_bytes(NONCE_BYTES)
    challenge.issued_at.FromMicroseconds(int(now * 1_000_000))
    challenge.expires_at.FromMicroseconds(int((now + LIFE) * 1_000_000))
