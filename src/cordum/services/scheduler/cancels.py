"""A message on `sys.job.cancel`: somebody wants a job stopped (spec-scheduler 10)."""

from typing import Final

from cordum.bus import ACK, BadPacketError, Delivery, Outcome, Poison, Retry, envelope, subjects
from cordum.core.errors import CordumError
from cordum.core.ids import JobId, micros
from cordum.core.jobs import lifecycle
from cordum.core.jobs.states import JobState
from cordum.runtime import metrics
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.services.scheduler.announcing import Announcer, Ending
from cordum.services.scheduler.holding import Holding
from cordum.store import Applied, Store

log = get_logger(__name__)

CANCEL_RETRY: Final = 1.0
"""Seconds until a cancel is tried again that could not be carried out."""

MAX_REASON: Final = 500


class CancelHandler:
    """Cancels jobs that are still going, and frees what they hold."""

    def __init__(self, *, store: Store, holding: Holding, announcer: Announcer, clock: Clock) -> None:
        self._store = store
        self._holding = holding
        self._announcer = announcer
        self._clock = clock

    async def handle(self, delivery: Delivery) -> Outcome:
        """Decides one delivery. Where a gateway has cancelled the record itself, only the slot is left to free."""
        try:
            packet = envelope.decode(delivery.data)
        except BadPacketError as error:
            metrics.VALIDATION_REJECTIONS.inc()
            return Poison(error.message)
        if packet.WhichOneof("payload") != "job_cancel" or packet.sender_id == subjects.SCHEDULER_ID:
            return ACK
        cancel = packet.job_cancel
        if not cancel.job_id:
            return ACK
        try:
            await self._cancel(
                JobId(cancel.job_id), cancel.reason[:MAX_REASON], packet.sender_id, cancel.identity.tenant_id
            )
        except CordumError as error:
            metrics.JOB_CANCEL_FAILURES.inc()
            log.warning(
                "a cancel could not be carried out, it is tried again",
                event="job_cancel_failed",
                job_id=cancel.job_id,
                error=error.message,
            )
            return Retry(CANCEL_RETRY)
        return ACK

    async def _cancel(self, job_id: JobId, reason: str, sender: str, tenant: str) -> None:
        record = await self._store.jobs.get(job_id)
        if record is None:
            return
        if sender not in subjects.RESERVED_IDS and tenant != record.tenant:
            log.warning(
                "a cancel from outside the job's tenant is ignored",
                event="job_cancel_refused",
                job_id=job_id,
                sender_id=sender,
            )
            return
        if not record.state.is_terminal:
            why = reason or f"cancelled by {sender}"
            outcome = await self._store.jobs.apply(
                job_id, lifecycle.cancel(why), now=micros(self._clock.now()), known=record
            )
            if isinstance(outcome, Applied):
                metrics.JOBS_COMPLETED.labels(record.topic, JobState.CANCELLED.label).inc()
                await self._announcer.ended(Ending(record, JobState.CANCELLED, reason=why, code="cancelled"))
        self._holding.forget(job_id)
        self._holding.release(job_id)
