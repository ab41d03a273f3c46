"""Finds what went wrong unseen: jobs that take too long, lost workers, broken indexes (spec-scheduler 12).

How long a job has stood is read from its stamps with regard to a wall clock that may have been set (`clock_watch`), and
from how long we have seen it stand.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from cordum.bus import Bus
from cordum.core.errors import CordumError
from cordum.core.ids import Micros, micros
from cordum.core.jobs import lifecycle, retry
from cordum.core.jobs.ages import Sightings
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.core.routing.timeouts import SCHEDULED_TIMEOUT
from cordum.runtime import metrics
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.services.scheduler import parking
from cordum.services.scheduler.approval_keeper import ApprovalKeeper
from cordum.services.scheduler.browsing import BEGINNING, FOREVER, jobs_in_state, jobs_with_deadline
from cordum.services.scheduler.clock_watch import ClockWatch
from cordum.services.scheduler.losses import Losses
from cordum.services.scheduler.parking import Parking
from cordum.services.scheduler.registry import Registry
from cordum.services.scheduler.routing import LiveRoutes
from cordum.services.scheduler.settling import Settling
from cordum.store import Store

log = get_logger(__name__)

AT_ONCE: Final = 32
WATCHED: Final = (JobState.SCHEDULED, JobState.DISPATCHED, JobState.RUNNING, JobState.RETRYING)
STRANDED: Final = 60.0
"""Seconds after which a job that waits to be tried again is parked once more: whoever was to do it may have died."""

TRIM_EVERY: Final = 120
"""Ticks between two trims of the indexes of ended jobs."""


class Reconciler:
    """One pass over everything that may be stale. Runs under the lease `cordum:reconciler:default`."""

    def __init__(
        self,
        *,
        bus: Bus,
        store: Store,
        routes: LiveRoutes,
        registry: Registry,
        settling: Settling,
        losses: Losses,
        parking: Parking,
        approvals: ApprovalKeeper,
        watch: ClockWatch,
        clock: Clock,
    ) -> None:
        self._bus = bus
        self._store = store
        self._routes = routes
        self._registry = registry
        self._settling = settling
        self._losses = losses
        self._parking = parking
        self._approvals = approvals
        self._watch = watch
        self._sightings = Sightings()
        self._clock = clock
        self._ticks = 0

    def period(self) -> float:
        """Seconds between two passes."""
        return self._routes.now.timeouts.reconciler.scan_interval_seconds

    def stand_by(self) -> None:
        """Somebody else does it: we know of no stale jobs."""
        for state in WATCHED:
            metrics.STALE_JOBS.labels(state.label).set(0)
        self._approvals.stand_by()

    async def tick(self) -> None:
        """One pass.

        Raises:
            StoreError: the store does not answer; the next pass begins anew.
        """
        if not self._bus.connected:
            return  # nobody could be told; heartbeats are missing, too
        self._watch.look()
        for state in WATCHED:
            stale = await self._pass_over(state)
            metrics.STALE_JOBS.labels(state.label).set(stale)
        self._sightings.sweep()
        await self._approvals.tick()
        await self._deadlines()
        if self._ticks % TRIM_EVERY == 0:
            await self._store.jobs.trim_indexes(micros(self._clock.now()))
        self._ticks += 1

    async def _pass_over(self, state: JobState) -> int:
        """Looks at every job that has stood in a state long enough to be stale; says how many were."""
        until = Micros(self._watch.latest() - int(self._least_age(state) * 1_000_000))
        stale = 0
        # What lies ahead of every clock was written by one that was wrong; it must end some day all the same.
        for since, last in ((BEGINNING, until), (self._watch.ahead(), FOREVER)):
            async for records in jobs_in_state(self._store, state, until=last, since=since):
                due = [action for record in records if (action := self._due(record)) is not None]
                await self._all(due)
                stale += len(due)
        return stale

    def _least_age(self, state: JobState) -> float:
        timeouts = self._routes.now.timeouts
        match state:
            case JobState.SCHEDULED:
                return SCHEDULED_TIMEOUT
            case JobState.RETRYING:
                return STRANDED
            case _:
                shortest = min(timeouts.reconciler.dispatch_timeout_seconds, timeouts.shortest_running_timeout)
                return min(shortest, self._registry.ttl)

    def _due(self, record: JobRecord) -> Callable[[], Awaitable[object]] | None:
        """What has to be done about a job now, if anything."""
        timeouts = self._routes.now.timeouts
        age = self._age(record)
        match record.state:
            case JobState.SCHEDULED if age > SCHEDULED_TIMEOUT:
                return lambda: self._time_out(record, "timeout: scheduled exceeded", SCHEDULED_TIMEOUT)
            case JobState.DISPATCHED if age > timeouts.reconciler.dispatch_timeout_seconds:
                limit = timeouts.reconciler.dispatch_timeout_seconds
                return lambda: self._time_out(record, "timeout: dispatched exceeded", limit)
            case JobState.RUNNING if age > (limit := timeouts.running_timeout(record.topic, record.workflow_id)):
                return lambda: self._time_out(record, "timeout: running exceeded", limit)
            case JobState.DISPATCHED | JobState.RUNNING:
                if record.worker_id and self._registry.knows_the_absent and self._losses.is_lost(record):
                    return lambda: self._losses.take_away(record)
                return None
            case JobState.RETRYING if age > max(timeouts.running_timeout(record.topic, record.workflow_id), STRANDED):
                last = f": {record.failure_reason}" if record.failure_reason else ""
                reason = f"max retries exceeded: not tried again for {age:.0f} s{last}"
                return lambda: self._settling.fail(record, reason, "max_retries_exceeded")
            case JobState.RETRYING if not record.pending_reason:
                lane, delay = record.pool or parking.DELAYED, retry.placement_delay(0, random.random())
                return lambda: self._parking.park_again(record, lane, delay)
            case _:
                return None

    def _age(self, record: JobRecord) -> float:
        """Seconds a job has stood where it stands."""
        stood = self._sightings.stood(record.id, record.updated_at, self._watch.steady())
        return max(self._watch.age(record.updated_at), stood)

    async def _time_out(self, record: JobRecord, reason: str, limit: float) -> None:
        await self._end(record, f"{reason} ({limit:g} s)")

    async def _end(self, record: JobRecord, reason: str) -> None:
        if await self._settling.end(record, lifecycle.time_out(record, reason)):
            log.warning("job timed out", event="job_timeout", job_id=record.id, topic=record.topic, reason=reason)

    async def _deadlines(self) -> None:
        """Ends jobs whose deadline has passed, and removes deadlines that belong to no active job."""
        async for records in jobs_with_deadline(self._store, until=self._watch.latest()):
            overdue = [record for record in records if self._watch.overdue(record)]
            await self._all([_later(self._deadline_passed, record) for record in overdue])

    async def _deadline_passed(self, record: JobRecord) -> None:
        if record.state is JobState.APPROVAL_REQUIRED and record.approval_status == "pending":
            await self._approvals.deadline_passed(record)
            return
        await self._end(record, "timeout: deadline expired")

    async def _all(self, actions: Sequence[Callable[[], Awaitable[object]]]) -> None:
        """Does all of it, some at a time; one that fails is found again by the next pass."""
        for at in range(0, len(actions), AT_ONCE):
            results = await asyncio.gather(*(action() for action in actions[at : at + AT_ONCE]), return_exceptions=True)
            for result in results:
                if isinstance(result, CordumError):
                    log.warning("a stale job is left to the next pass", event="reconcile_failed", error=result.message)
                elif isinstance(result, BaseException):
                    raise result


def _later(call: Callable[[JobRecord], Awaitable[object]], record: JobRecord) -> Callable[[], Awaitable[object]]:
    return lambda: call(record)
