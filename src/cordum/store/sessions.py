"""Workers' sessions and the handshakes that lead to them (spec-scheduler 5 and 11.4).

`session:worker:<id>` says which token is a worker's session; a token it does not name holds for nothing, so deleting
it is what revokes. `session:revoked:*` says the same once more, by token, for tools that know only that.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from cordum.core.ids import TenantId, WorkerId
from cordum.core.sessions import SKEW, Claims
from cordum.runtime.clock import Clock
from cordum.store import keys, scripts
from cordum.store.batch import Batcher
from cordum.store.link import Command, Reply

NONCE_TTL: Final = 120  # seconds
CHALLENGE_TTL: Final = 120  # seconds

RENEWAL_GRACE: Final = 60
"""Seconds a renewed token goes on to hold: what was sent with it is still on its way, and the answer with the new one
may have been lost, so that the worker renews again with the old one."""

_CHUNK: Final = 500


class StoredSession(msgspec.Struct, frozen=True, kw_only=True):
    """Which token is a worker's session.

    Attributes:
        exp_unix: Unix seconds.
        prior_jti, prior_until: the token it renewed, and until when (Unix seconds) that one still holds.
    """

    jti: str
    exp_unix: int
    tenant: TenantId
    prior_jti: str = ""
    prior_until: float = 0

    def holds(self, jti: str, now: float) -> bool:
        """Whether this token is in force at `now`, Unix seconds."""
        return jti == self.jti or (jti == self.prior_jti and now < self.prior_until)


_DECODER: Final = msgspec.json.Decoder(StoredSession)


class Sessions:
    """All of them. Every method raises StoreUnavailableError when Redis does not answer in time."""

    def __init__(self, batcher: Batcher, clock: Clock) -> None:
        self._batcher = batcher
        self._clock = clock

    async def claim_nonce(self, tenant: TenantId, nonce: bytes) -> bool:
        """Uses up a nonce; False: it was used within the last two minutes."""
        command: Command = ("SET", keys.handshake_nonce(tenant, nonce.hex()), 1, "NX", "EX", NONCE_TTL)
        return (await self._batcher.submit([command]))[0] == "OK"

    async def put_challenge(self, challenge_id: str, digest: str) -> bool:
        """Keeps what a challenge said, for whichever scheduler gets the answer; False: there is one of that name."""
        command: Command = ("SET", keys.handshake_challenge(challenge_id), digest, "NX", "EX", CHALLENGE_TTL)
        return (await self._batcher.submit([command]))[0] == "OK"

    async def take_challenge(self, challenge_id: str) -> str | None:
        """What the challenge said; nobody gets it twice. None: there is none, or it was answered already."""
        reply = (await self._batcher.submit([("GETDEL", keys.handshake_challenge(challenge_id))]))[0]
        return reply if isinstance(reply, str) else None

    async def issue(self, claims: Claims, renews: str = "") -> bool:
        """Makes a token its worker's session.

        Args:
            claims: the token's.
            renews: jti of the session in whose place it comes, which holds for RENEWAL_GRACE seconds more; "" ends
                whatever session the worker had, at once.

        Returns:
            False when that session is not the worker's any more: it was revoked, or another one was issued.
        """
        now = self._clock.now()
        call: Command = (
            *("EVALSHA", scripts.ISSUE_SESSION.sha, 1, keys.worker_session(claims.sub)),
            *(claims.jti, claims.exp, claims.tenant, _ttl(claims.exp, now)),
            *(f"{now:.3f}", renews, RENEWAL_GRACE),
        )
        reply = (await self._batcher.submit([call]))[0]
        answer = reply if isinstance(reply, list) else []
        if not answer or answer[0] != "issued":
            return False
        ended = [str(jti) for jti in answer[1:]]
        await self._mark_revoked(claims.tenant, ended, claims.exp, now)
        return True

    async def revoke(self, worker_id: WorkerId) -> bool:
        """Ends a worker's session, and the one it renewed. False: it has none."""
        held = _session((await self._batcher.submit([("GET", keys.worker_session(worker_id))]))[0])
        if held is not None:
            ended = [jti for jti in (held.jti, held.prior_jti) if jti]
            await self._mark_revoked(held.tenant, ended, held.exp_unix, self._clock.now())
        # Whatever is there by now: a renewal that came in between must not survive this.
        return (await self._batcher.submit([("DEL", keys.worker_session(worker_id))]))[0] == 1

    async def get(self, worker_id: WorkerId) -> StoredSession | None:
        """The worker's session; None: it has none."""
        return (await self.get_many([worker_id]))[0]

    async def get_many(self, worker_ids: Sequence[WorkerId]) -> list[StoredSession | None]:
        """The sessions of these workers, in their order."""
        found: list[StoredSession | None] = []
        for start in range(0, len(worker_ids), _CHUNK):
            chunk = worker_ids[start : start + _CHUNK]
            replies = await self._batcher.submit([("GET", keys.worker_session(worker_id)) for worker_id in chunk])
            found.extend(map(_session, replies))
        return found

    async def is_revoked(self, tenant: TenantId, jti: str) -> bool:
        """Whether a token was ended before its time."""
        return (await self._batcher.submit([("EXISTS", keys.revoked_session(tenant, jti))]))[0] == 1

    async def _mark_revoked(self, tenant: TenantId, jtis: Iterable[str], exp: int, now: float) -> None:
        commands: list[Command] = [("SET", keys.revoked_session(tenant, jti), 1, "EX", _ttl(exp, now)) for jti in jtis]
        if commands:
            await self._batcher.submit(commands)


def _ttl(exp: int, now: float) -> int:
    return max(1, int(exp - now) + SKEW)


def _session(reply: Reply) -> StoredSession | None:
    """One that cannot be read is none: its worker shakes hands again."""
    if not isinstance(reply, str):
        return None
    try:
        return _DECODER.decode(reply)
    except (msgspec.MsgspecError, UnicodeError):
        return None
