"""Keeping to the limits of how many jobs run at once, over all schedulers (spec-scheduler 8.2 step 11).

What we overhear of everybody's jobs turns most away without a question; the count in Redis decides the rest at once.
Only jobs that have a limit pay for it. A place is given back when the job's slot is, and runs out by itself otherwise.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from cordum.core.errors import CordumError
from cordum.core.ids import JobId, TenantId, micros
from cordum.core.jobs.record import JobRecord
from cordum.core.policy.decision import Verdict
from cordum.core.routing.fleet import Fleet
from cordum.core.routing.placement import NoPlace
from cordum.core.routing.slots import Hold
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.services.scheduler.limit_book import LimitBook
from cordum.store import Store
from cordum.store.concurrency import INSTALLATION, LEASE, Limit, tenant_scope

log = get_logger(__name__)

RENEW_EVERY: Final = LEASE / 6
"""Seconds between renewals of the places of running jobs."""

NO_LIMITS: Final[tuple[Limit, ...]] = ()

OnRoom = Callable[[NoPlace, TenantId], None]


class Limiting:
    """Takes, keeps and gives back the places of limited jobs."""

    def __init__(self, store: Store, book: LimitBook, fleet: Fleet, clock: Clock) -> None:
        self._store = store
        self._book = book
        self._fleet = fleet
        self._clock = clock
        self._leaving: dict[JobId, tuple[TenantId, bool]] = {}
        self._task: asyncio.Task[None] | None = None
        self._on_room: list[OnRoom] = []

    def on_room(self, call: OnRoom) -> None:
        """Calls back, once the place is free, with the limit that a job's end may have made room under."""
        self._on_room.append(call)

    async def limits_of(self, record: JobRecord, verdict: Verdict) -> tuple[Limit, ...]:
        """The limits a job is under; most have none.

        Raises:
            StoreError: its tenant's limit is not known yet and cannot be read.
        """
        own = self._book.of(record.tenant)
        if own is None:
            own = await self._book.read(record.tenant)
        by_policy = verdict.constraints.budgets.max_concurrent_jobs
        if not (own or by_policy or self._book.installation):
            return NO_LIMITS
        limits = []
        if own or by_policy:
            limits.append(Limit(tenant_scope(record.tenant), min(most for most in (own, by_policy) if most > 0)))
        if self._book.installation:
            limits.append(Limit(INSTALLATION, self._book.installation))
        return tuple(limits)

    def reached(self, record: JobRecord, limits: tuple[Limit, ...]) -> NoPlace | None:
        """The limit that is reached by all we hear of, jobs included that have no limit of their own."""
        slots = self._fleet.slots
        itself = 1 if slots.get(record.id) is not None else 0
        for limit in limits:
            running = len(slots) if limit.scope == INSTALLATION else slots.of_tenant(record.tenant)
            if running - itself >= limit.most:
                return _reason(limit)
        return None

    async def enter(self, record: JobRecord, limits: tuple[Limit, ...]) -> NoPlace | None:
        """Takes the job's places; the limit that is reached when it gets none.

        Raises:
            StoreError: it is not known whether it has them.
        """
        self._leaving.pop(record.id, None)
        refused = await self._store.concurrency.enter(limits, record.id, micros(self._clock.now()))
        return _reason(refused) if refused is not None else None

    def keep(self, job_id: JobId) -> None:
        """Another scheduler has just dispatched this job: the place we were about to give back is in use."""
        self._leaving.pop(job_id, None)

    def leave(self, record: JobRecord) -> None:
        """The job does not run after all."""
        self._give_back(record.id, record.tenant, limited=True)

    def ended(self, hold: Hold) -> None:
        """A job gave its slot back. Everybody who hears of it says so in Redis, since its scheduler may be gone."""
        own = self._book.of(hold.tenant)
        if hold.limited or own or self._book.installation:
            self._give_back(hold.job_id, hold.tenant, limited=bool(hold.limited or own))
        else:
            self._room_for(hold.tenant)

    def _give_back(self, job_id: JobId, tenant: TenantId, *, limited: bool) -> None:
        self._leaving[job_id] = tenant, limited
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._tell())

    async def _tell(self) -> None:
        """Gives places back, all those of one moment at once, and then says that there is room."""
        while self._leaving:
            leaving, self._leaving = self._leaving, {}
            scopes: dict[str, list[JobId]] = {INSTALLATION: list(leaving)} if self._book.installation else {}
            for job_id, (tenant, limited) in leaving.items():
                if limited:
                    scopes.setdefault(tenant_scope(tenant), []).append(job_id)
            try:
                await asyncio.gather(*(self._store.concurrency.leave([scope], jobs) for scope, jobs in scopes.items()))
            except CordumError as error:
                log.debug("places run out by themselves", event="limit_leave_failed", error=error.message)
            for tenant, _ in leaving.values():
                self._room_for(tenant)

    def _room_for(self, tenant: TenantId) -> None:
        for call in self._on_room:
            call(NoPlace.TENANT_LIMIT, tenant)
            call(NoPlace.TIER_LIMIT, tenant)

    async def run(self) -> None:
        """Renews the places of running jobs for as long as the process runs."""
        renew = self.restore
        while True:
            try:
                await renew()
                renew = self.renew
            except CordumError as error:
                log.warning("places were not renewed", event="limit_renewal_failed", error=error.message)
            await self._clock.sleep(RENEW_EVERY)

    async def restore(self) -> None:
        """Takes the places of all jobs that run, for a scheduler that has learnt them from the records."""
        holds = list(self._fleet.slots)
        for tenant in {hold.tenant for hold in holds}:
            await self._book.read(tenant)
        await self._store.concurrency.renew(self._places(holds), micros(self._clock.now()))

    async def renew(self) -> None:
        """Keeps the places of our own jobs and of those we heard of: the scheduler of these may be gone."""
        holds = list(self._fleet.slots)
        now = micros(self._clock.now())
        await self._store.concurrency.renew(self._places(hold for hold in holds if hold.ours), now)
        await self._store.concurrency.renew_kept(self._places(hold for hold in holds if not hold.ours), now)

    def _places(self, holds: Iterable[Hold]) -> dict[str, list[JobId]]:
        places: dict[str, list[JobId]] = {}
        for hold in holds:
            if hold.limited or self._book.of(hold.tenant):
                places.setdefault(tenant_scope(hold.tenant), []).append(hold.job_id)
            if self._book.installation:
                places.setdefault(INSTALLATION, []).append(hold.job_id)
        return places


def _reason(limit: Limit) -> NoPlace:
    return NoPlace.TIER_LIMIT if limit.scope == INSTALLATION else NoPlace.TENANT_LIMIT
