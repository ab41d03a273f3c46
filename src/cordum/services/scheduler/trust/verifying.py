"""Checks workers' tokens against their hashes, in threads, a few at a time.

One check takes 64 MiB and tens of milliseconds, which whoever reaches the bus could make us spend. So: only the names
of issued credentials are checked, one token of each at a time; a bad one is remembered and not checked again; and after
each bad one a checker rests, so that a flood of them gets a small part of one processor.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import Final

import msgspec

from cordum.core.access.worker_tokens import BadTokenHashError, matches
from cordum.core.ids import WorkerId
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger

log = get_logger(__name__)

CHECKERS: Final = 2
"""Tokens checked at once: 64 MiB each."""

REST: Final = 0.5
"""Seconds a checker rests after a bad token."""

PATIENCE: Final = 1.0
"""Seconds before another token of the same worker is checked, after a bad one."""

BAD_KEPT: Final = 8
"""Bad tokens remembered of each worker."""

OnVerdict = Callable[[WorkerId, bytes, str, "Verdict"], None]


class Verdict(Enum):
    """What is known about a token."""

    GOOD = "good"
    BAD = "bad"
    UNREADABLE = "unreadable"
    CHECKING = "checking"
    LATER = "later"
    """Another token of this worker has just been, or is being, checked: this one may come again."""


class _Question(msgspec.Struct, frozen=True):
    worker_id: WorkerId
    token: str
    credential_hash: str
    digest: bytes


class _Bad(msgspec.Struct):
    """Bad tokens of one worker, by digest, for the credential they were compared with."""

    credential_hash: str
    digests: deque[bytes]
    unreadable: bool = False
    next_at: float = 0.0


class Verifier:
    """A queue with at most one question per credential."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._queue: asyncio.Queue[_Question] = asyncio.Queue()
        self._asked: set[WorkerId] = set()
        self._bad: dict[WorkerId, _Bad] = {}
        self._on_verdict: OnVerdict = _unheard
        self._threads: ThreadPoolExecutor | None = None
        self.checked = 0

    def on_verdict(self, call: OnVerdict) -> None:
        """Who is told what a check found."""
        self._on_verdict = call

    def ask(self, worker_id: WorkerId, token: str, credential_hash: str, digest: bytes) -> Verdict:
        """What is known about a token at this moment; CHECKING: the answer will be told."""
        bad = self._bad.get(worker_id)
        if bad is not None and bad.credential_hash == credential_hash:
            if bad.unreadable:
                return Verdict.UNREADABLE
            if digest in bad.digests:
                return Verdict.BAD
            if self._clock.monotonic() < bad.next_at:
                return Verdict.LATER
        if worker_id in self._asked:
            return Verdict.LATER
        self._asked.add(worker_id)
        self._queue.put_nowait(_Question(worker_id, token, credential_hash, digest))
        return Verdict.CHECKING

    async def run(self) -> None:
        """Checks tokens as long as the process runs."""
        self._threads = ThreadPoolExecutor(CHECKERS, thread_name_prefix="worker-token")
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(CHECKERS):
                    group.create_task(self._check_on())
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _check_on(self) -> None:
        while True:
            question = await self._queue.get()
            verdict = await self._check(question)
            self.checked += 1
            self._asked.discard(question.worker_id)
            if verdict is Verdict.GOOD:
                self._bad.pop(question.worker_id, None)
            else:
                self._remember(question, verdict)
            self._on_verdict(question.worker_id, question.digest, question.credential_hash, verdict)
            if verdict is not Verdict.GOOD:
                await self._clock.sleep(REST)

    async def _check(self, question: _Question) -> Verdict:
        loop = asyncio.get_running_loop()
        try:
            good = await loop.run_in_executor(self._threads, matches, question.token, question.credential_hash)
        except (BadTokenHashError, MemoryError) as error:
            log.error(
                "a worker's credential cannot be checked: issue it anew",
                event="credential_unreadable",
                worker_id=question.worker_id,
                error=str(error),
            )
            return Verdict.UNREADABLE
        return Verdict.GOOD if good else Verdict.BAD

    def _remember(self, question: _Question, verdict: Verdict) -> None:
        bad = self._bad.get(question.worker_id)
        if bad is None or bad.credential_hash != question.credential_hash:
            bad = self._bad[question.worker_id] = _Bad(question.credential_hash, deque(maxlen=BAD_KEPT))
        bad.unreadable = verdict is Verdict.UNREADABLE
        bad.digests.append(question.digest)
        bad.next_at = self._clock.monotonic() + PATIENCE


def _unheard(worker_id: WorkerId, digest: bytes, credential_hash: str, verdict: Verdict) -> None:
    """Before anybody listens, nobody is told."""
