"""Second phase: a worker answers its challenge and gets a session (spec-scheduler 11.4)."""

import hmac

import msgspec
from cap.pb.cordum.agent.v1.buspacket_pb2 import BusPacket

from cordum.core.access.worker_credential import WorkerCredential
from cordum.core.sessions import Claims, TokenFault, TokenType, mint, verify
from cordum.runtime.clock import Clock
from cordum.runtime.ids import Ids
from cordum.runtime.session_keys import HandshakeKeys
from cordum.services.scheduler.trust.handshake_packets import Asked, Refused, agent_of, answer, digest, proven
from cordum.services.scheduler.trust.rejections import Rejection
from cordum.store import Store


class Accepted(msgspec.Struct, frozen=True):
    """A handshake that succeeded.

    Attributes:
        packet: the answer with the session's token, unsigned yet.
        claims: what the token says.
    """

    packet: BusPacket
    claims: Claims


class Authenticator:
    """Checks answers and issues sessions of `life` whole seconds."""

    def __init__(self, store: Store, keys: HandshakeKeys, life: int, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._keys = keys
        self._life = life
        self._clock = clock
        self._ids = ids

    async def authenticate(self, asked: Asked, credential: WorkerCredential | None) -> Accepted | Refused:
        """Issues the session, in place of the worker's former one.

        Raises:
            StoreError: it is not known whether it was issued; the worker begins anew.
        """
        challenge = asked.packet.worker_handshake_authenticate.challenge
        now = self._clock.now()
        if challenge.expires_at.ToMicroseconds() / 1_000_000 <= now:
            return Refused(Rejection.CHALLENGE_EXPIRED, "the challenge's time is up")
        if (refused := proven(asked, credential)) is not None:
            return refused
        assert credential is not None
        if challenge.tenant_id != credential.tenant_id or challenge.agent_id != agent_of(credential):
            return Refused(Rejection.AUTHENTICATION_FAILED, "the challenge is about another tenant or agent")
        # Only now: whoever cannot sign must not be able to use up the challenges of those who can.
        given = await self._store.sessions.take_challenge(challenge.challenge_id)
        if given is None:
            return Refused(Rejection.REPLAY_DETECTED, "no challenge of this id waits for an answer")
        if not hmac.compare_digest(given, digest(challenge)):
            return Refused(Rejection.AUTHENTICATION_FAILED, "the challenge is not as it was given")
        renewed = self._renewed(asked, credential, now)
        if isinstance(renewed, Refused):
            return renewed
        return await self._issue(asked, credential, renewed)

    def _renewed(self, asked: Asked, credential: WorkerCredential, now: float) -> str | Refused:
        """The jti of the session to be renewed, "" where none is."""
        if not asked.renews:
            return ""
        claims = verify(asked.packet.auth_token, TokenType.SESSION, self._keys.trusted, now)
        if isinstance(claims, TokenFault):
            return Refused(Rejection.SESSION_INVALID, claims.value)
        if claims.sub != credential.worker_id or claims.tenant != credential.tenant_id:
            return Refused(Rejection.SESSION_INVALID, "another worker's session")
        return claims.jti

    async def _issue(self, asked: Asked, credential: WorkerCredential, renews: str) -> Accepted | Refused:
        challenge = asked.packet.worker_handshake_authenticate.challenge
        now = self._clock.now()
        iat = int(now)
        claims = Claims(
            sub=credential.worker_id,
            tenant=credential.tenant_id,
            jti=self._ids.token(16),
            iat=iat,
            exp=iat + self._life,
            sdk_ver=challenge.sdk_version,
        )
        token = mint(self._keys.signer, TokenType.SESSION, claims)
        if not await self._store.sessions.issue(claims, renews):
            return Refused(Rejection.SESSION_INVALID, "the session is not the worker's any more")
        packet = answer(challenge.trace_id, now)
        packet.auth_token = token
        result = packet.worker_handshake_result
        result.challenge.CopyFrom(challenge)
        result.accepted = True
        result.token_expires_at.FromSeconds(claims.exp)
        result.issued_at.FromMicroseconds(int(now * 1_000_000))
        return Accepted(packet, claims)
