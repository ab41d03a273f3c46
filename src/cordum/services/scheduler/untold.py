"""Ends nobody was told of: NATS was away, or whoever made them died (spec-scheduler sections 9, 10, 12).

The record says CANCELLED, TIMEOUT or FAILED, so the job has ended for everybody who looks. But its worker works on, it
is no dead letter, and whoever waits for a message waits on: so they are told as soon as that can be done.
"""

from typing import Final

from cordum.bus import Bus
from cordum.core.errors import CordumError
from cordum.core.ids import micros
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.runtime import metrics
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.services.scheduler.announcing import Announcer
from cordum.services.scheduler.holding import Holding
from cordum.services.scheduler.settling import Settling
from cordum.store import Store

log = get_logger(__name__)

GRACE: Final = 10.0
"""Seconds whoever ends a job has to tell of it; by then the record shows whether it was ended at all."""

AT_ONCE: Final = 200

_OURS: Final = (JobState.TIMEOUT, JobState.FAILED)
"""How we end a job that a worker may still be at."""


class UntoldEnds:
    """Tells of them. Runs in one scheduler at a time."""

    def __init__(
        self, *, bus: Bus, store: Store, holding: Holding, settling: Settling, announcer: Announcer, clock: Clock
    ) -> None:
        self._bus = bus
        self._store = store
        self._holding = holding
        self._settling = settling
        self._announcer = announcer
        self._clock = clock

    async def tick(self) -> None:
        """One pass.

        Raises:
            StoreError: the store does not answer; the next pass begins anew.
        """
        if not self._bus.connected:
            return
        notes = await self._store.endings.untold(micros(self._clock.now() - GRACE), AT_ONCE)
        records = await self._store.jobs.get_many([job_id for job_id, _ in notes])
        for (job_id, end), record in zip(notes, records, strict=True):
            try:
                if record is not None and record.state is end:
                    await self._tell(record)
                await self._store.endings.told(job_id, end)
            except CordumError as error:
                metrics.JOB_CANCEL_FAILURES.inc()
                log.warning("an end is still untold", event="ending_untold", job_id=job_id, error=error.message)

    async def _tell(self, record: JobRecord) -> None:
        log.warning(
            "an end that nobody was told of is told now",
            event="ending_retold",
            job_id=record.id,
            tenant=record.tenant,
            state=record.state.value,
            worker_id=record.worker_id,
        )
        if record.state is JobState.CANCELLED or (record.state in _OURS and record.dispatch_id):
            await self._announcer.stop_worker(record, record.failure_reason)
        await self._settling.tell_again(record)
        # Our peers hear of it from that result, but nobody hears himself.
        self._holding.forget(record.id)
        self._holding.release(record.id)
        await self._store.parked.leave(record.id)
