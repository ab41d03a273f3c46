"""Jobs whose worker is gone: tried again elsewhere, or failed when no try is left (spec-scheduler 8.4 step 18)."""

import asyncio
from typing import Final

from cordum.core.ids import DispatchId, JobId, micros
from cordum.core.jobs import lifecycle
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import WITH_WORKER, JobState
from cordum.core.routing.fleet import Fleet
from cordum.core.routing.slots import Hold
from cordum.core.routing.workers import Worker
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.services.scheduler import parking
from cordum.services.scheduler.clock_watch import ClockWatch
from cordum.services.scheduler.constraints import tries_of
from cordum.services.scheduler.holding import Holding
from cordum.services.scheduler.parking import Parking
from cordum.services.scheduler.routing import LiveRoutes
from cordum.services.scheduler.settling import Settling
from cordum.store import Applied, Store

log = get_logger(__name__)

AT_ONCE: Final = 64
"""Lost jobs handled at the same time."""


class Losses:
    """Takes jobs from workers that have fallen silent."""

    def __init__(
        self,
        *,
        store: Store,
        fleet: Fleet,
        holding: Holding,
        parking: Parking,
        settling: Settling,
        routes: LiveRoutes,
        watch: ClockWatch,
        clock: Clock,
    ) -> None:
        self._store = store
        self._fleet = fleet
        self._holding = holding
        self._parking = parking
        self._settling = settling
        self._routes = routes
        self._watch = watch
        self._clock = clock
        self._queue: asyncio.Queue[Hold] = asyncio.Queue()

    def workers_gone(self, workers: list[Worker]) -> None:
        """Every job these workers hold is lost. Peers see the same; the record's fence lets one of us act."""
        for worker in workers:
            for hold in tuple(self._fleet.slots.held_by(worker.id).values()):
                self._queue.put_nowait(hold)

    async def run(self) -> None:
        """Handles lost holds for as long as the process runs. What fails here, the reconciler finds again."""
        while True:
            batch = [await self._queue.get()]
            while len(batch) < AT_ONCE and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            results = await asyncio.gather(*(self._lost(hold) for hold in batch), return_exceptions=True)
            for hold, result in zip(batch, results, strict=True):
                if isinstance(result, BaseException):
                    log.warning(
                        "a lost job is left to the reconciler",
                        event="loss_failed",
                        job_id=hold.job_id,
                        error=str(result),
                    )

    def forgotten(self) -> None:
        """Looks for jobs that living workers do not have although they were given them."""
        for hold in self._fleet.forgotten_holds():
            self._queue.put_nowait(hold)

    async def _lost(self, hold: Hold) -> None:
        if self._fleet.is_alive(hold.worker_id, self._clock.monotonic()) and not self._fleet.forgotten(hold):
            return  # it came back meanwhile
        record = await self._store.jobs.get(hold.job_id)
        if record is None or record.state not in WITH_WORKER or record.dispatch_id != hold.dispatch_id:
            self._holding.release(hold.job_id, hold.dispatch_id)
            return
        await self.take_away(record)

    async def take_away(self, record: JobRecord) -> bool:
        """Takes a job from its lost worker.

        Args:
            record: with a worker, and this worker is known to be lost.

        Returns:
            False when the job moved on meanwhile.

        Raises:
            StoreError, BusError: it is not known how far it came.
        """
        tries = tries_of(record, record.safety_constraints, self._routes.now.timeouts)
        change = lifecycle.lose_worker(record, min(tries, lifecycle.MAX_SCHEDULING_ATTEMPTS))
        log.warning(
            "a job's worker is gone",
            event="worker_lost",
            job_id=record.id,
            worker_id=record.worker_id,
            attempt=record.attempts,
            tried_again=change.to is JobState.PENDING,
        )
        if change.to.is_terminal:
            return await self._settling.end(record, change)
        outcome = await self._store.jobs.apply(record.id, change, now=micros(self._clock.now()), known=record)
        self._release(record.id, record.dispatch_id)
        if not isinstance(outcome, Applied):
            return False
        await self._parking.park_again(record, record.pool or parking.DELAYED, 0.0)
        return True

    def _release(self, job_id: JobId, dispatch_id: DispatchId) -> None:
        self._holding.forget(job_id)
        self._holding.release(job_id, dispatch_id)

    def is_lost(self, record: JobRecord) -> bool:
        """Whether the worker of a job is gone, or was restarted and does not know the job any more."""
        now = self._clock.monotonic()
        if not self._fleet.is_alive(record.worker_id, now):
            return True
        since = now - self._watch.age(record.dispatched_at)
        hold = Hold(record.id, record.dispatch_id, record.worker_id, record.pool, record.tenant, since, False)
        return self._fleet.forgotten(hold)
