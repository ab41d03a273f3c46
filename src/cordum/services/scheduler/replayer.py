"""Finds waiting jobs whose message was lost on the way and places them (spec-scheduler 12, guide section 11c).

A job is written before its submit is published, so a message that never arrived leaves a PENDING record. The same holds
for an approval: the record says what is still to be published.
"""

import asyncio
from typing import Final

from cordum.core.errors import CordumError
from cordum.core.ids import Micros, micros
from cordum.core.jobs import approvals
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.core.routing.placement import NoPlace
from cordum.runtime import metrics
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.services.scheduler import parking
from cordum.services.scheduler.browsing import BEGINNING, jobs_in_state
from cordum.services.scheduler.clock_watch import ClockWatch
from cordum.services.scheduler.parking import Parking
from cordum.services.scheduler.routing import LiveRoutes
from cordum.services.scheduler.settling import Settling
from cordum.services.scheduler.woken import WokenJobs
from cordum.store import Store

log = get_logger(__name__)

REJECTED_WITHIN: Final = 3600.0
"""Seconds: how far back denied jobs are looked through for rejections nobody was told of."""

AT_ONCE: Final = 16

PARKED_REASONS: Final = frozenset({*NoPlace, parking.THROTTLED})
"""A job that shows one of these is parked: it wakes by itself."""

PARKED_FOR_LONG: Final = 600.0
"""Seconds after which a parked job is parked again, should Redis have lost its entry."""


class Replayer:
    """One pass over waiting jobs. Runs under the lease `cordum:replayer:pending`."""

    def __init__(
        self,
        *,
        store: Store,
        routes: LiveRoutes,
        woken: WokenJobs,
        settling: Settling,
        parking: Parking,
        watch: ClockWatch,
        clock: Clock,
    ) -> None:
        self._store = store
        self._routes = routes
        self._woken = woken
        self._settling = settling
        self._parking = parking
        self._watch = watch
        self._clock = clock

    def period(self) -> float:
        """Seconds between two passes."""
        return self._routes.now.timeouts.reconciler.scan_interval_seconds

    async def tick(self) -> None:
        """One pass.

        Raises:
            StoreError: the store does not answer; the next pass begins anew.
        """
        patience = self._routes.now.timeouts.reconciler.dispatch_timeout_seconds
        self._watch.look()
        until = Micros(self._watch.latest() - int(patience * 1_000_000))
        for state, since in (
            (JobState.PENDING, BEGINNING),
            (JobState.DENIED, Micros(until - int(REJECTED_WITHIN * 1_000_000))),
        ):
            async for records in jobs_in_state(self._store, state, until=until, since=since):
                waiting = [record for record in records if self._watch.age(record.updated_at) >= patience]
                for at in range(0, len(waiting), AT_ONCE):
                    await asyncio.gather(*(self._mend(record) for record in waiting[at : at + AT_ONCE]))

    async def _mend(self, record: JobRecord) -> None:
        try:
            if record.state is JobState.DENIED:
                await self._tell_rejection(record)
            elif record.pending_reason in PARKED_REASONS:
                await self._park_anew(record)
            else:
                await self._replay(record)
        except CordumError as error:
            log.warning(
                "a waiting job could not be replayed", event="replay_failed", job_id=record.id, error=error.message
            )

    async def _replay(self, record: JobRecord) -> None:
        log.warning(
            "a waiting job without a message is placed from its record",
            event="orphan_replayed",
            job_id=record.id,
            topic=record.topic,
        )
        metrics.ORPHAN_REPLAYED.labels(record.topic).inc()
        await self._woken.place(record, await self._store.jobs.context(record.id))
        if record.approval_publish_status == "pending":
            await self._published(record)

    async def _tell_rejection(self, record: JobRecord) -> None:
        if record.approval_publish_status != "pending":
            return
        await self._settling.tell_again(record)
        await self._published(record)

    async def _published(self, record: JobRecord) -> None:
        await self._store.approvals.mark_published(record.id, approvals.published(micros(self._clock.now())))

    async def _park_anew(self, record: JobRecord) -> None:
        if self._watch.age(record.updated_at) > PARKED_FOR_LONG:
            lane = parking.DELAYED if record.pending_reason != NoPlace.NO_POOL else parking.UNROUTED
            await self._parking.park_again(record, lane, 0.0)
