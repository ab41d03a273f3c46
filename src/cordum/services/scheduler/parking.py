"""The parked: jobs that cannot be placed now wait in Redis, each with a visible reason and a time to try again.

A slot that becomes free, a worker that appears, a routing that changes, a limit that has room again or the time wakes
them (spec-scheduler 8.4 step 17, 11.6). Taking a parked job only moves its time forward, so one whose taker dies comes
back by itself.
"""

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Final

from cordum.core.errors import CordumError
from cordum.core.ids import JobId, PoolName, TenantId, micros
from cordum.core.jobs import lifecycle
from cordum.core.jobs.record import JobRecord
from cordum.core.policy.decision import Verdict
from cordum.core.routing.fleet import Fleet
from cordum.core.routing.lanes import DELAYED, INSTALLATION, UNROUTED, Lane, LaneName, tenant_home
from cordum.core.routing.placement import NoPlace
from cordum.core.routing.slots import Hold
from cordum.core.routing.turns import Rank, Turns
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.services.scheduler.lane_book import LaneBook, Plan
from cordum.services.scheduler.routing import LiveRoutes
from cordum.services.scheduler.waiting import WaitingRoom
from cordum.store import Applied, Store

__all__ = ["DELAYED", "INSTALLATION", "UNROUTED", "Parking", "Wakened", "tenant_home"]

log = get_logger(__name__)

LEASE: Final = 30.0
"""Seconds a taken job stays hidden; its placement has ended long before."""

PERIOD: Final = 0.5
"""Seconds between looks for jobs whose time has come."""

MOST_AT_ONCE: Final = 128
"""Parked jobs tried at the same time by one process, and how many of them for no other reason than the time."""
MOST_BY_TIME: Final = 64

MOST_RECALLED: Final = 32
"""Jobs of one pool or limit tried at once beside those there are slots for."""

DUE_WHILE_BUSY: Final = 16
"""Jobs tried at once because of the time although their pool is busy: what frees it will wake the others."""

SOON: Final = 0.02
"""Seconds in which several free slots are answered by one look."""

OTHERS_FIRST: Final = 0.03
"""Seconds in which a slot is left to the scheduler whose job has ended there: else all of us would fill it at once."""

HEARTBEATS_HEARD: Final = 1.0
"""Seconds between two looks at one pool's parked jobs because of its workers' heartbeats."""

TIRED: Final = 32
FEW: Final = 2
"""After so many tries in a row for which a pool's free slots did not fit, only so many are made for each new one."""

FORGET_EVERY: Final = 120
"""Looks between two clearings of lanes that have become empty."""

THROTTLED: Final = "throttled"
SAFETY_UNAVAILABLE: Final = "safety_unavailable"
THROTTLE_DELAY: Final = 5.0
"""Seconds a job waits that policy throttles (spec-scheduler 13)."""


class Wakened(Enum):
    """Why a parked job is tried."""

    BY_TIME = "time"
    BY_EVENT = "event"


Try = Callable[[JobId, LaneName, Wakened], Awaitable[bool]]


class Parking:
    """Parks jobs and wakes them."""

    def __init__(self, store: Store, routes: LiveRoutes, fleet: Fleet, room: WaitingRoom, clock: Clock) -> None:
        self._store = store
        self._routes = routes
        self._fleet = fleet
        self._room = room
        self._clock = clock
        self._book = LaneBook()
        self._due_turns: Turns[Lane] = Turns()
        self._fill: set[PoolName] = set()
        self._recall: dict[PoolName, int] = {}
        self._strays: Plan = {}
        self._events: dict[PoolName, int] = {}
        self._heard_at: dict[PoolName, float] = {}
        self._heard_late: set[PoolName] = set()
        self._fruitless: dict[PoolName, int] = {}
        self._looks = 0
        self._wake = asyncio.Event()
        self._trying: set[asyncio.Task[None]] = set()
        self._trying_of: dict[PoolName, int] = {}
        self._trying_by_time = 0
        self._try: Try | None = None

    @property
    def trying(self) -> int:
        """Parked jobs being tried now."""
        return len(self._trying)

    def tries_with(self, attempt: Try) -> None:
        """Sets what is done with a job that is woken; it answers whether the job is parked no more."""
        self._try = attempt

    async def park(
        self,
        record: JobRecord,
        home: PoolName,
        reason: str,
        *,
        delay: float,
        tries: int,
        verdict: Verdict | None = None,
        rank: Rank = Rank.INTERACTIVE,
    ) -> LaneName | None:
        """Parks a job for `delay` seconds at most.

        The time is written before the reason: a crash between the two leaves a job that wakes once too often.

        Args:
            home: the first of its pools, or what else it waits for (core.routing.lanes).

        Returns:
            Where it stands; None when the job has moved on meanwhile and needs no parking.

        Raises:
            StoreError: the job is not parked for certain.
        """
        now = self._clock.now()
        lane = Lane(home, rank, record.tenant, record.topic)
        events, routes = self._events.get(home, 0), self._routes.now
        await self._put(lane, record.id, delay)
        if record.pending_reason != reason or record.placement_tries != tries:
            change = lifecycle.park(record, reason, tries, verdict)
            outcome = await self._store.jobs.apply(record.id, change, now=micros(now), known=record)
            if not isinstance(outcome, Applied):
                await self._store.parked.remove(lane.name, record.id)
                return None
        # What it waits for may have come while it was not yet among those who wait.
        if self._routes.now is not routes:
            self.rerouted()
        elif self._events.get(home, 0) != events:
            self._want(home)
        return lane.name

    async def explain(self, record: JobRecord, reason: str) -> None:
        """Writes down why a job waits whose message keeps coming back by itself."""
        if record.pending_reason != reason:
            change = lifecycle.park(record, reason, record.placement_tries)
            await self._store.jobs.apply(record.id, change, now=micros(self._clock.now()), known=record)

    async def park_again(self, record: JobRecord, home: PoolName, delay: float) -> LaneName:
        """Sets another time for a job whose record already says why it waits.

        With a delay it waits for nothing but the time: a free slot must not cut short what is to be a pause.
        """
        lane = Lane(DELAYED if delay > 0 else home, tenant=record.tenant, topic=record.topic)
        await self._put(lane, record.id, delay)
        if not delay:
            self._want(home)
        return lane.name

    async def _put(self, lane: Lane, job_id: JobId, delay: float) -> None:
        await self._store.parked.park(lane.name, job_id, micros(self._clock.now() + delay))
        self._book.parked(lane)

    async def remove(self, lane: LaneName, job_id: JobId) -> None:
        """Takes a job out that needs no placement any more; failing is harmless, it only wakes once for nothing."""
        try:
            await self._store.parked.remove(lane, job_id)
        except CordumError as error:
            log.debug("a parked job could not be removed", event="unpark_failed", job_id=job_id, error=error.message)

    # What jobs wait for

    def freed(self, hold: Hold) -> None:
        """A slot became free: those who wait in memory come first, then the parked."""
        if hold.ours:
            self._slot_free(hold.pool)
        else:
            asyncio.get_running_loop().call_later(OTHERS_FIRST, self._left_free, hold.pool)

    def _left_free(self, pool: PoolName) -> None:
        if self._fleet.free_slots(pool, self._clock.monotonic()):
            self._slot_free(pool)

    def _slot_free(self, pool: PoolName) -> None:
        homes = self._homes_served_by(pool)
        if not self._room.wake(pool):
            self._want(*homes)
            return
        for home in homes:
            # For each slot that somebody in memory gets, one who is parked and no less urgent comes in to wait there:
            # it is older, and has its turn soon.
            self._events[home] = self._events.get(home, 0) + 1
            best = self._book.best(home)
            if best is not None and best <= self._room.served:
                self._ask_back(home)

    def offered(self, pool: PoolName, slots: int) -> None:
        """A worker says it has room. It may say so often, and what does not fit it then is not tried each time."""
        if slots <= 0 or self._room.wake(pool, slots) >= slots:
            return
        now = self._clock.monotonic()
        if now - self._heard_at.get(pool, float("-inf")) >= HEARTBEATS_HEARD:
            self._heard_at[pool] = now
            self._want(*self._homes_served_by(pool))
        else:
            self._heard_late.add(pool)

    def rerouted(self) -> None:
        """The routing changed: who stands at the wrong place moves, and who waits may fit now."""
        self._strays.update(self._book.strays(self._routes.now))
        self._fruitless.clear()
        self._want(*self._routes.now.offers)
        self._wake.set()

    def room_under(self, reason: NoPlace, tenant: TenantId) -> None:
        """A limit may let one more job run."""
        home = INSTALLATION if reason is NoPlace.TIER_LIMIT else tenant_home(tenant)
        if self._book.has(home):
            self._ask_back(home)

    def _homes_served_by(self, pool: PoolName) -> frozenset[PoolName]:
        return self._routes.now.lanes.get(pool, frozenset())

    def _want(self, *homes: PoolName) -> None:
        for home in homes:
            self._events[home] = self._events.get(home, 0) + 1
            if self._book.has(home):
                self._fill.add(home)
                self._wake.set()

    def _ask_back(self, home: PoolName) -> None:
        self._recall[home] = self._recall.get(home, 0) + 1
        self._wake.set()

    # Waking

    async def run(self) -> None:
        """Wakes parked jobs for as long as the process runs."""
        due_at = 0.0
        while True:
            now = self._clock.monotonic()
            self._wake.clear()
            try:
                if now >= due_at:
                    due_at = now + PERIOD
                    await self._look_around()
                await self._answer_events()
            except CordumError as error:
                log.warning("parked jobs cannot be read", event="parked_unreadable", error=error.message)
                await asyncio.sleep(PERIOD)
            try:
                await asyncio.wait_for(self._wake.wait(), max(0.0, due_at - self._clock.monotonic()))
                await asyncio.sleep(SOON)
            except TimeoutError:
                pass

    async def _look_around(self) -> None:
        """Learns which lanes there are, and takes what is due in them."""
        self._book.begin_look()
        now = micros(self._clock.now())
        queues = await self._store.parked.queues(now)
        due = self._book.looked(queues)
        self._looks += 1
        if self._looks % FORGET_EVERY == 0:
            await self._store.parked.forget(name for name, queue in queues.items() if not queue.count)
        late, self._heard_late = self._heard_late, set()
        for pool in late:
            self._heard_at[pool] = self._clock.monotonic()
            self._want(*self._homes_served_by(pool))
        await self._take(self._due_now(due), Wakened.BY_TIME)

    def _due_now(self, due: Plan) -> Plan:
        """Which of the jobs that are due are tried now: every lane in its turn, no pool too many at once."""
        plan: Plan = {}
        allowed: dict[PoolName, int] = {}
        left = dict(due)
        lane: Lane | None
        for lane in due:
            self._due_turns.join(lane.rank, lane.tenant, lane)
            if lane.home not in allowed:
                allowed[lane.home] = self._at_once(lane) - self._trying_of.get(lane.home, 0)
        budget = min(MOST_BY_TIME - self._trying_by_time, MOST_AT_ONCE - len(self._trying))
        while budget > 0:
            lane = self._due_turns.next()
            if lane is None:
                break
            if left.get(lane, 0) <= 0 or allowed[lane.home] <= 0:
                self._due_turns.leave(lane.rank, lane.tenant, lane)
                continue
            plan[lane] = plan.get(lane, 0) + 1
            left[lane] -= 1
            allowed[lane.home] -= 1
            budget -= 1
        return plan

    def _at_once(self, lane: Lane) -> int:
        if lane.waits_for_workers:
            return max(DUE_WHILE_BUSY, self._free_for(lane.home))
        return MOST_BY_TIME if lane.home in (DELAYED, UNROUTED) else DUE_WHILE_BUSY

    async def _answer_events(self) -> None:
        """Takes jobs before their time, because what they wait for may be there."""
        strays, self._strays = self._strays, {}
        recall, self._recall = self._recall, {}
        fill, self._fill = self._fill, set()
        for lane, count in strays.items():
            taken = min(count, MOST_AT_ONCE - len(self._trying))
            await self._take({lane: taken} if taken > 0 else {}, Wakened.BY_EVENT)
            if count > taken:
                self._strays[lane] = count - taken
        for home in fill | recall.keys():
            trying = self._trying_of.get(home, 0)
            amount = min(recall.get(home, 0), MOST_RECALLED - trying)
            if home in fill:
                free = self._free_for(home) - trying
                amount = max(amount, free if self._fruitless.get(home, 0) < TIRED else min(free, FEW))
            capacity = MOST_AT_ONCE - len(self._trying)
            if amount > capacity:
                amount = capacity
                self._fill.add(home)
            await self._take(self._book.allot(home, amount, self._servable()), Wakened.BY_EVENT)

    def _servable(self) -> Callable[[Lane], bool]:
        """Whether any worker handles a lane's topic at all; asked once for each topic."""
        known: dict[tuple[PoolName, str], bool] = {}

        def servable(lane: Lane) -> bool:
            if not lane.waits_for_workers or not lane.topic:
                return True
            asked = lane.home, lane.topic
            if asked not in known:
                serving = self._routes.now.serving.get(lane.home, frozenset())
                known[asked] = self._fleet.handles(serving, lane.topic)
            return known[asked]

        return servable

    def _free_for(self, home: PoolName) -> int:
        """Slots that nobody in memory waits for, in all the pools that can take what waits under a name."""
        now = self._clock.monotonic()
        return sum(
            max(0, self._fleet.free_slots(pool, now) - self._room.waiting_for(pool))
            for pool in self._routes.now.serving.get(home, ())
        )

    async def _take(self, plan: Plan, why: Wakened) -> None:
        """Takes jobs from their lanes, all in one round trip, and tries them."""
        now = micros(self._clock.now())
        take = self._store.parked.take_due if why is Wakened.BY_TIME else self._store.parked.take_waiting
        lanes = [lane for lane, count in plan.items() if count > 0]
        taken = await asyncio.gather(*(take(lane.name, now, plan[lane], LEASE) for lane in lanes))
        for lane, job_ids in zip(lanes, taken, strict=True):
            if why is Wakened.BY_EVENT and len(job_ids) < plan[lane]:
                self._book.emptied(lane)
            for job_id in job_ids:
                self._start(job_id, lane, why)

    def _start(self, job_id: JobId, lane: Lane, why: Wakened) -> None:
        home, by_time = lane.home, 1 if why is Wakened.BY_TIME else 0
        task = asyncio.ensure_future(self._attempt(job_id, lane, why))
        self._trying.add(task)
        self._trying_by_time += by_time
        self._trying_of[home] = self._trying_of.get(home, 0) + 1

        def ended(task: asyncio.Task[None]) -> None:
            self._trying.discard(task)
            self._trying_by_time -= by_time
            self._trying_of[home] -= 1
            if not self._trying_of[home]:
                del self._trying_of[home]
            if self._strays or self._fill:
                self._wake.set()

        task.add_done_callback(ended)

    async def _attempt(self, job_id: JobId, lane: Lane, why: Wakened) -> None:
        assert self._try is not None
        try:
            placed = await self._try(job_id, lane.name, why)
        except CordumError as error:
            log.warning(
                "a parked job could not be tried", event="parked_try_failed", job_id=job_id, error=error.message
            )
        except Exception:
            log.exception("trying a parked job failed", event="parked_try_failed", job_id=job_id)
        else:
            if not lane.waits_for_workers:
                return
            if placed:
                self._fruitless.pop(lane.home, None)
                self._want(lane.home)  # there may be slots for more
            else:
                self._fruitless[lane.home] = self._fruitless.get(lane.home, 0) + 1

    async def stop(self, grace: float) -> None:
        """Waits for the attempts under way; what is not finished in `grace` seconds comes back from Redis by itself."""
        if self._trying:
            _, late = await asyncio.wait(self._trying, timeout=grace)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1.0)
