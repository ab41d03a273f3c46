"""The parked: jobs that cannot be placed now wait in Redis, each with a visible reason and a time to try again.

A slot that becomes free, a worker that appears or the time wakes them (spec-scheduler 8.4 step 17, 11.6). Taking a
parked job only moves its time forward, so one whose taker dies comes back by itself.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from cordum.core.errors import CordumError
from cordum.core.ids import JobId, PoolName, TenantId, micros
from cordum.core.jobs import lifecycle
from cordum.core.jobs.record import JobRecord
from cordum.core.policy.decision import Verdict
from cordum.core.routing.fleet import Fleet
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.services.scheduler.routing import LiveRoutes
from cordum.services.scheduler.waiting import WaitingRoom
from cordum.store import Applied, Store

log = get_logger(__name__)

LEASE: Final = 30.0
"""Seconds a taken job stays hidden; its placement has ended long before."""

PERIOD: Final = 0.5
"""Seconds between looks for jobs whose time has come."""

MOST_AT_ONCE: Final = 128
"""Parked jobs tried at the same time by one process."""

SOON: Final = 0.02
"""Seconds in which several free slots are answered by one look."""

THROTTLED: Final = "throttled"
SAFETY_UNAVAILABLE: Final = "safety_unavailable"
THROTTLE_DELAY: Final = 5.0
"""Seconds a job waits that policy throttles (spec-scheduler 13)."""

# Not pools: no pool may be named like this, for an underscore cannot begin a pool's name.
UNROUTED: Final = PoolName("_unrouted")
DELAYED: Final = PoolName("_delayed")

Try = Callable[[JobId, PoolName], Awaitable[None]]


def tenant_lane(tenant: TenantId) -> PoolName:
    """Where jobs wait whose tenant has as many jobs at work as it may."""
    return PoolName(f"_tenant:{tenant}")


class Parking:
    """Parks jobs and wakes them."""

    def __init__(self, store: Store, routes: LiveRoutes, fleet: Fleet, room: WaitingRoom, clock: Clock) -> None:
        self._store = store
        self._routes = routes
        self._fleet = fleet
        self._room = room
        self._clock = clock
        self._lanes: set[PoolName] = set()
        self._wanted: set[PoolName] = set()
        self._wake = asyncio.Event()
        self._trying: set[asyncio.Task[None]] = set()
        self._try: Try | None = None

    @property
    def trying(self) -> int:
        """Parked jobs being tried now."""
        return len(self._trying)

    def tries_with(self, attempt: Try) -> None:
        """Sets what is done with a job that is woken."""
        self._try = attempt

    async def park(
        self,
        record: JobRecord,
        lane: PoolName,
        reason: str,
        *,
        delay: float,
        tries: int,
        verdict: Verdict | None = None,
    ) -> bool:
        """Parks a job for `delay` seconds at most.

        The time is written before the reason: a crash between the two leaves a job that wakes once too often.

        Returns:
            False when the job has moved on meanwhile and needs no parking.

        Raises:
            StoreError: the job is not parked for certain.
        """
        now = self._clock.now()
        await self._store.parked.park(lane, record.id, micros(now + delay))
        self._lanes.add(lane)
        if record.pending_reason == reason and record.placement_tries == tries:
            return True
        change = lifecycle.park(record, reason, tries, verdict)
        outcome = await self._store.jobs.apply(record.id, change, now=micros(now), known=record)
        if isinstance(outcome, Applied):
            return True
        await self._store.parked.remove(lane, record.id)
        return False

    async def explain(self, record: JobRecord, reason: str) -> None:
        """Writes down why a job waits whose message keeps coming back by itself."""
        if record.pending_reason != reason:
            change = lifecycle.park(record, reason, record.placement_tries)
            await self._store.jobs.apply(record.id, change, now=micros(self._clock.now()), known=record)

    async def park_again(self, record: JobRecord, lane: PoolName, delay: float) -> None:
        """Sets another time for a job whose record already says why it waits."""
        await self._store.parked.park(lane, record.id, micros(self._clock.now() + delay))
        self._lanes.add(lane)

    async def remove(self, lane: PoolName, job_id: JobId) -> None:
        """Takes a job out that needs no placement any more; failing is harmless, it only wakes once for nothing."""
        try:
            await self._store.parked.remove(lane, job_id)
        except CordumError as error:
            log.debug("a parked job could not be removed", event="unpark_failed", job_id=job_id, error=error.message)

    def freed(self, pool: PoolName, tenant: TenantId) -> None:
        """A slot became free: those who wait in memory come first, then the parked."""
        if not self._room.wake(pool):
            self._want(*self._routes.now.lanes.get(pool, ()))
        lane = tenant_lane(tenant)
        if lane in self._lanes:
            self._want(lane)

    def offered(self, pool: PoolName, slots: int) -> None:
        """A worker says it has room."""
        if slots > 0 and self._room.wake(pool, slots) < slots:
            self._want(*self._routes.now.lanes.get(pool, ()))

    def rerouted(self) -> None:
        """The routing changed: whoever waits may fit now."""
        self._want(*self._lanes)

    def _want(self, *lanes: PoolName) -> None:
        known = self._lanes.intersection(lanes)
        if known:
            self._wanted |= known
            self._wake.set()

    async def run(self) -> None:
        """Wakes parked jobs for as long as the process runs."""
        due_at = 0.0
        while True:
            now = self._clock.monotonic()
            try:
                if now >= due_at:
                    due_at = now + PERIOD
                    await self._look_around()
                wanted, self._wanted = self._wanted, set()
                for lane in wanted:
                    await self._take_waiting(lane)
            except CordumError as error:
                log.warning("parked jobs cannot be read", event="parked_unreadable", error=error.message)
                await asyncio.sleep(PERIOD)
            self._wake.clear()
            if self._wanted:
                await asyncio.sleep(SOON)
                continue
            try:
                await asyncio.wait_for(self._wake.wait(), max(0.0, due_at - self._clock.monotonic()))
                await asyncio.sleep(SOON)
            except TimeoutError:
                pass

    async def _look_around(self) -> None:
        """Learns which lanes there are, and takes what is due in them."""
        known = frozenset(self._lanes)
        found = set(await self._store.parked.pools())
        self._lanes = found | (self._lanes - known)
        await asyncio.gather(*(self._take_due(lane) for lane in found))

    async def _take_due(self, lane: PoolName) -> None:
        """Takes the jobs of a lane whose time has come."""
        free = MOST_AT_ONCE - len(self._trying)
        if free > 0:
            now = micros(self._clock.now())
            self._start(await self._store.parked.take_due(lane, now, free, LEASE), lane)

    async def _take_waiting(self, lane: PoolName) -> None:
        """Takes jobs of a lane before their time, as many as there are slots for."""
        free = MOST_AT_ONCE - len(self._trying)
        if not lane.startswith("_"):
            now = self._clock.monotonic()
            free = min(
                free,
                sum(
                    max(0, self._fleet.free_slots(pool, now) - self._room.waiting_for(pool))
                    for pool in self._routes.now.serving.get(lane, ())
                ),
            )
        if free <= 0:
            return
        taken = await self._store.parked.take_waiting(lane, micros(self._clock.now()), free, LEASE)
        self._start(taken, lane)
        if len(taken) == free:
            self._want(lane)

    def _start(self, taken: list[JobId], lane: PoolName) -> None:
        for job_id in taken:
            task = asyncio.ensure_future(self._attempt(job_id, lane))
            self._trying.add(task)
            task.add_done_callback(self._trying.discard)

    async def _attempt(self, job_id: JobId, lane: PoolName) -> None:
        assert self._try is not None
        try:
            await self._try(job_id, lane)
        except CordumError as error:
            log.warning(
                "a parked job could not be tried", event="parked_try_failed", job_id=job_id, error=error.message
            )
        except Exception:
            log.exception("trying a parked job failed", event="parked_try_failed", job_id=job_id)

    async def stop(self, grace: float) -> None:
        """Waits for the attempts under way; what is not finished in `grace` seconds comes back from Redis by itself."""
        if self._trying:
            _, late = await asyncio.wait(self._trying, timeout=grace)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1.0)
