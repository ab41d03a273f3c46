"""`GET /jobs/{id}?wait=`: holding a request until the job has ended or waits for approval (spec-gateway 14.20).

However many wait, there is one subscription to results and one look at the store per second. A result on the bus wakes
whoever waits for that job; the scheduler writes the record a moment later, so the woken one looks a few times.
"""

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Final

from cordum.bus import BadPacketError, Bus, BusError, CoreMessage, Subscription, envelope, subjects
from cordum.core.errors import CordumError
from cordum.core.ids import JobId
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.store import Store

log = get_logger(__name__)

MAX_WAITERS: Final = 10_000
LOOK_SECONDS: Final = 1.0
"""How often those are looked after whom no message has woken."""
LINGER_SECONDS: Final = 60.0
"""How long the subscription stays after the last waiter has gone."""
SEEN: Final = 4_096
"""How many of the latest results are remembered for those who come a moment too late to hear them."""
_RECHECKS: Final = (0.002, 0.003, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32)
"""Seconds between looks after a result was seen. The first is not at once: the scheduler has just got it too."""


def is_worth_telling(record: JobRecord) -> bool:
    """Whether whoever waits for a job wants to know by now."""
    return record.state.is_terminal or record.state is JobState.APPROVAL_REQUIRED


class Waiting:
    """Everybody who waits for a job."""

    def __init__(self, store: Store, bus: Bus, clock: Clock) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock
        self._waiters: dict[JobId, set[asyncio.Event]] = {}
        self.recent: dict[JobId, None] = {}
        """The jobs of the latest results, oldest first."""
        self._count = 0
        self._closing = False
        self._keeper: asyncio.Task[None] | None = None

    @property
    def count(self) -> int:
        """How many requests are held."""
        return self._count

    async def wait(self, record: JobRecord, seconds: float) -> JobRecord | None:
        """Returns when the job has ended or waits for approval, or after `seconds`; None when it is gone.

        Args:
            record: the job as just read.
        """
        if is_worth_telling(record) or self._closing or self._count >= MAX_WAITERS:
            return record
        deadline = self._clock.monotonic() + seconds
        woken = asyncio.Event()
        waiters = self._waiters.setdefault(record.id, set())
        waiters.add(woken)
        self._count += 1
        try:
            if self._keeper is None or self._keeper.done():
                self._keeper = asyncio.create_task(self._keep(), name="job-waiters")
            # It may have ended between the caller's read and our listening, or be about to: then its result has gone by
            # already, nothing more will wake us, and the scheduler has yet to write it down.
            if record.id in self.recent:
                woken.set()
            latest = await self._store.jobs.get(record.id)
            while latest is not None and not is_worth_telling(latest) and not self._closing:
                try:
                    async with asyncio.timeout(deadline - self._clock.monotonic()):
                        await woken.wait()
                except TimeoutError:
                    break
                woken.clear()
                latest = await self._recheck(latest)
            return latest
        finally:
            self._count -= 1
            waiters.discard(woken)
            if not waiters:
                self._waiters.pop(record.id, None)

    def wake(self, job_id: JobId) -> None:
        """Tells those who wait for this job that something has happened to it: what this process publishes itself
        does not come back to it."""
        for woken in self._waiters.get(job_id, ()):
            woken.set()

    async def aclose(self) -> None:
        """Sends everybody home with what is known now."""
        self._closing = True
        self._wake_all(list(self._waiters))
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)

    async def _recheck(self, record: JobRecord) -> JobRecord | None:
        latest: JobRecord | None = record
        for delay in _RECHECKS:
            await self._clock.sleep(delay)
            latest = await self._store.jobs.get(record.id)
            if latest is None or is_worth_telling(latest) or self._closing:
                break
        return latest

    async def _keep(self) -> None:
        """Listens and looks as long as anybody waits, and a while longer."""
        subscription = await self._subscribe()
        try:
            idle_since = self._clock.monotonic()
            while True:
                await self._clock.sleep(LOOK_SECONDS)
                now = self._clock.monotonic()
                if self._waiters:
                    idle_since = now
                    await self._look(list(self._waiters))
                elif now - idle_since > LINGER_SECONDS:
                    return
        finally:
            if subscription is not None:
                await subscription.unsubscribe()

    async def _subscribe(self) -> Subscription | None:
        try:
            return await self._bus.subscribe(subjects.JOB_RESULT, self._on_result)
        except BusError as error:
            log.warning("not listening for results", event="waiters_not_subscribed", error=error.message)
            return None

    async def _look(self, job_ids: list[JobId]) -> None:
        with contextlib.suppress(CordumError):
            records = await self._store.jobs.get_many(job_ids)
            self._wake_all(
                job_id
                for job_id, record in zip(job_ids, records, strict=True)
                if record is None or is_worth_telling(record)
            )

    def _wake_all(self, job_ids: Iterable[JobId]) -> None:
        for job_id in job_ids:
            self.wake(job_id)

    async def _on_result(self, message: CoreMessage) -> None:
        try:
            packet = envelope.decode(message.data)
        except BadPacketError:
            return
        job_id = JobId(packet.job_result.job_id)
        self.recent[job_id] = None
        if len(self.recent) > SEEN:
            del self.recent[next(iter(self.recent))]
        self.wake(job_id)
