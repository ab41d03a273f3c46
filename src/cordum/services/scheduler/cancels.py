"""A message on `sys.job.cancel`: somebody wants a job stopped (spec-scheduler 10).

The subject is in a stream, so a cancel waits for a scheduler as long as it must; workers that listen to it hear it at
once. What a worker sends of a cancelled job afterwards changes nothing: the job has ended.
"""

from typing import Final

from cap.pb.cordum.agent.v1.buspacket_pb2 import BusPacket

from cordum.bus import ACK, BadPacketError, Delivery, Outcome, Poison, Retry, envelope, subjects
from cordum.core.errors import CordumError
from cordum.core.ids import JobId, micros
from cordum.core.jobs import lifecycle
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.runtime import metrics
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.services.scheduler.announcing import Announcer, Ending
from cordum.services.scheduler.holding import Holding
from cordum.services.scheduler.trust.gate import WorkerGate
from cordum.store import Applied, Store

log = get_logger(__name__)

CANCEL_RETRY: Final = 1.0
"""Seconds until a cancel is tried again that could not be carried out."""

MAX_REASON: Final = 500


class CancelHandler:
    """Cancels jobs that are still going, and frees what they hold."""

    def __init__(self, *, store: Store, holding: Holding, announcer: Announcer, gate: WorkerGate, clock: Clock) -> None:
        self._store = store
        self._holding = holding
        self._announcer = announcer
        self._gate = gate
        self._clock = clock

    async def handle(self, delivery: Delivery) -> Outcome:
        """Decides one delivery. Where a gateway has cancelled the record itself, what the job holds is left to free."""
        try:
            packet = envelope.decode(delivery.data)
        except BadPacketError as error:
            metrics.VALIDATION_REJECTIONS.inc()
            return Poison(error.message)
        if packet.WhichOneof("payload") != "job_cancel" or packet.sender_id == subjects.SCHEDULER_ID:
            return ACK  # a scheduler that stops a worker has ended the job before
        if not packet.job_cancel.job_id:
            return ACK
        try:
            if (asks := self._gate.asks(packet)) is not None:
                await asks
            if self._gate.cancel(packet):
                await self._cancel(packet, delivery.attempt)
        except CordumError as error:
            metrics.JOB_CANCEL_FAILURES.inc()
            log.warning(
                "a cancel could not be carried out, it is tried again",
                event="job_cancel_failed",
                job_id=packet.job_cancel.job_id,
                error=error.message,
            )
            return Retry(CANCEL_RETRY)
        return ACK

    async def _cancel(self, packet: BusPacket, attempt: int) -> None:
        job_id, sender = JobId(packet.job_cancel.job_id), packet.sender_id
        record = await self._store.jobs.get(job_id)
        if record is None:
            return
        if sender not in subjects.RESERVED_IDS and packet.job_cancel.identity.tenant_id != record.tenant:
            log.warning(
                "a cancel from outside the job's tenant is ignored",
                event="job_cancel_refused",
                job_id=job_id,
                sender_id=sender,
                tenant=record.tenant,
            )
            return
        why = packet.job_cancel.reason[:MAX_REASON] or f"cancelled by {sender}"
        ours = False
        if not record.state.is_terminal:
            change = lifecycle.cancel(why)
            outcome = await self._store.jobs.apply(job_id, change, now=micros(self._clock.now()), known=record)
            if ours := isinstance(outcome, Applied):
                metrics.JOBS_COMPLETED.labels(record.topic, JobState.CANCELLED.label).inc()
                log.info("job cancelled", event="job_cancelled", job_id=job_id, tenant=record.tenant, by=sender)
        await self._free(record)
        if ours or (attempt > 1 and record.state is JobState.CANCELLED):
            # Told once more where we may have died before we told it; the message has the same id.
            await self._announcer.ended(Ending(record, JobState.CANCELLED, reason=why, code="cancelled"))

    async def _free(self, record: JobRecord) -> None:
        self._holding.forget(record.id)
        self._holding.release(record.id)
        if not record.worker_id:
            await self._store.parked.leave(record.id)
