"""Which sessions hold, kept in memory: a heartbeat or a result costs no round trip (spec-scheduler 11.4).

A session is read from the store when its token is first seen. From then on it is read again every REFRESH seconds, and
at once when `sys.config.changed` comes; so a revocation that is announced counts within milliseconds, and one whose
announcement is lost within REFRESH seconds. While Redis is away what was read last holds, up to the token's own end.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from cordum.core.errors import CordumError
from cordum.core.ids import WorkerId
from cordum.core.sessions import SKEW, Claims, SessionKeys, TokenFault, TokenType, verify
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.store import Store
from cordum.store.sessions import StoredSession

log = get_logger(__name__)

REFRESH: Final = 10.0
"""Seconds after which a revocation counts at the latest, even when nobody has announced it."""

MAX_TOKENS: Final = 20_000
"""Tokens whose signature is remembered as good; each costs its worker one verification again when it is pushed out."""

MAX_WORKERS: Final = 20_000
MAX_WAITING: Final = 8
"""Packets of one worker that wait for its session to be read."""


class _Seen(msgspec.Struct, frozen=True):
    """A token whose signature is good.

    Attributes:
        number: counts the readings of the store there had been before it was seen.
    """

    claims: Claims
    number: int


class _Read(msgspec.Struct, frozen=True):
    """What the store said of a worker; `number` counts the readings."""

    session: StoredSession | None
    number: int


class SessionBook:
    """Answers about tokens without waiting; `learn` reads what is not known."""

    def __init__(self, store: Store, keys: SessionKeys, clock: Clock) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock
        self._tokens: dict[str, _Seen] = {}
        self._workers: dict[WorkerId, _Read] = {}
        self._number = 0
        self._asked = asyncio.Event()
        self._learning: dict[WorkerId, asyncio.Task[None]] = {}
        self._waiting: dict[WorkerId, list[Callable[[], None]]] = {}

    def claims(self, token: str, kind: TokenType) -> Claims | TokenFault:
        """What a token says, if it is signed by a trusted key and its time is now; not whether it was revoked."""
        now = self._clock.now()
        seen = self._tokens.get(f"{kind.value} {token}")
        if seen is not None:
            return seen.claims if seen.claims.exp > now - SKEW else TokenFault.EXPIRED
        claims = verify(token, kind, self._keys, now)
        if isinstance(claims, Claims):
            if len(self._tokens) >= MAX_TOKENS:
                self._tokens.pop(next(iter(self._tokens)))
            self._tokens[f"{kind.value} {token}"] = _Seen(claims, self._number)
        return claims

    def holds(self, token: str, claims: Claims) -> bool | None:
        """Whether a worker's token is its session; None: not known, `learn` finds out.

        Args:
            token: one that `claims` has accepted just now.
        """
        worker_id = WorkerId(claims.sub)
        read = self._workers.get(worker_id)
        if read is not None and read.session is not None and read.session.holds(claims.jti, self._clock.now()):
            return read.session.tenant == claims.tenant
        seen = self._tokens.get(f"{TokenType.SESSION.value} {token}")
        if read is None or (seen is not None and seen.number >= read.number):
            # It may have been issued after we looked.
            return None
        return False

    def changed(self, worker_id: WorkerId) -> None:
        """Another session was issued to this worker: what is known of it is out of date."""
        self._workers.pop(worker_id, None)

    def refresh_soon(self) -> None:
        """Something says that sessions may have been revoked; many such words make one reading."""
        self._asked.set()

    async def learn(self, worker_id: WorkerId) -> None:
        """Reads a worker's session; those who ask at once share one reading.

        Raises:
            StoreError: Redis does not answer.
        """
        await asyncio.shield(self._reading(worker_id))

    def learn_then(self, worker_id: WorkerId, then: Callable[[], None]) -> None:
        """Reads a worker's session in the background, then calls back; a failure is logged and nobody is called."""
        waiting = self._waiting.setdefault(worker_id, [])
        if len(waiting) < MAX_WAITING:
            waiting.append(then)
        self._reading(worker_id)

    def _reading(self, worker_id: WorkerId) -> asyncio.Task[None]:
        task = self._learning.get(worker_id)
        if task is None:
            task = asyncio.create_task(self._learn(worker_id), name=f"session of {worker_id}")
            self._learning[worker_id] = task
            task.add_done_callback(lambda done: self._learnt(worker_id, done))
        return task

    def _learnt(self, worker_id: WorkerId, task: asyncio.Task[None]) -> None:
        self._learning.pop(worker_id, None)
        waiting = self._waiting.pop(worker_id, [])
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.warning("a session was not read", event="session_not_read", worker_id=worker_id, error=str(error))
        if task.cancelled() or error is not None:
            return
        for then in waiting:
            then()

    async def _learn(self, worker_id: WorkerId) -> None:
        self._number += 1
        number = self._number
        session = await self._store.sessions.get(worker_id)
        self._put(worker_id, session, number)

    def _put(self, worker_id: WorkerId, session: StoredSession | None, number: int) -> None:
        read = self._workers.get(worker_id)
        if read is not None and read.number > number:
            return
        if read is None and len(self._workers) >= MAX_WORKERS:
            self._workers.pop(next(iter(self._workers)))
        self._workers[worker_id] = _Read(session, number)

    async def refresh(self) -> None:
        """Reads all sessions again that are known, and forgets those whose time is up.

        Raises:
            StoreError: Redis does not answer; what is known stays.
        """
        oldest = self._clock.now() - SKEW
        for key in [key for key, seen in self._tokens.items() if seen.claims.exp <= oldest]:
            del self._tokens[key]
        used = {seen.claims.sub for seen in self._tokens.values()}
        for worker_id in [worker_id for worker_id in self._workers if worker_id not in used]:
            del self._workers[worker_id]
        self._number += 1
        number, known = self._number, list(self._workers)
        for worker_id, session in zip(known, await self._store.sessions.get_many(known), strict=True):
            if worker_id in self._workers:
                self._put(worker_id, session, number)

    async def run(self) -> None:
        """Reads again every REFRESH seconds, and when asked, as long as the process runs."""
        while True:
            try:
                await asyncio.wait_for(self._asked.wait(), REFRESH)
            except TimeoutError:
                pass
            self._asked.clear()
            try:
                await self.refresh()
            except CordumError as error:
                log.warning("sessions not read", event="sessions_not_read", error=error.message)
