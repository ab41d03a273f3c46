"""What the scheduler tells the others: how a job ended, that a worker may stop, what went to the dead letters."""

import asyncio
from typing import Final

from cap.pb.cordum.agent.v1 import job_pb2

from cordum.bus import envelope, subjects
from cordum.bus.connection import Bus
from cordum.bus.messages import msg_id_result
from cordum.core.errors import CordumError
from cordum.core.ids import JobId, TenantId, Topic, TraceId
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.runtime import metrics
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.runtime.service_tokens import ServiceTokens
from cordum.services.scheduler.error_codes import error_code_enum
from cordum.store import DeadLetter, Store

log = get_logger(__name__)

DLQ_RETRY_PAUSE: Final = 0.5
"""Seconds before a dead letter that could not be written is written once more (spec-scheduler 14)."""

_STATUS: Final = {
    JobState.SUCCEEDED: job_pb2.JOB_STATUS_SUCCEEDED,
    JobState.FAILED: job_pb2.JOB_STATUS_FAILED,
    JobState.CANCELLED: job_pb2.JOB_STATUS_CANCELLED,
    JobState.TIMEOUT: job_pb2.JOB_STATUS_TIMEOUT,
    JobState.DENIED: job_pb2.JOB_STATUS_DENIED,
    JobState.OUTPUT_QUARANTINED: job_pb2.JOB_STATUS_DENIED,
}


class Ending:
    """A job that has just ended, as it is told to others."""

    __slots__ = (
        "attempts",
        "code",
        "job_id",
        "last_state",
        "reason",
        "result_ptr",
        "state",
        "tenant",
        "topic",
        "trace_id",
    )

    def __init__(
        self,
        record: JobRecord,
        state: JobState,
        *,
        reason: str = "",
        code: str = "",
        result_ptr: str = "",
        last_state: JobState | None = None,
    ) -> None:
        self.job_id: JobId = record.id
        self.topic: Topic = record.topic
        self.tenant: TenantId = record.tenant
        self.trace_id: TraceId = record.trace_id
        self.attempts = record.attempts
        self.last_state = last_state or record.state
        self.state = state
        self.reason = reason
        self.code = code
        self.result_ptr = result_ptr

    def as_result(self) -> job_pb2.JobResult:
        """The ending as a CAP result: strict validators want its worker to be its sender, so we are both."""
        return job_pb2.JobResult(
            job_id=self.job_id,
            status=_STATUS[self.state],
            worker_id=subjects.SCHEDULER_ID,
            result_ptr=self.result_ptr,
            error_code=self.code,
            error_code_enum=error_code_enum(self.code),
            error_message=self.reason,
        )


class Announcer:
    """Publishes endings and cancels, and writes dead letters. Every message may be sent twice; ids drop doubles."""

    def __init__(self, bus: Bus, store: Store, clock: Clock, tokens: ServiceTokens | None = None) -> None:
        """`tokens`: what shows that we are the scheduler, where sessions are used."""
        self._tokens = tokens
        self._bus = bus
        self._store = store
        self._clock = clock

    async def ended(self, ending: Ending) -> None:
        """Tells of an end the scheduler set itself; unless it was a success, the job goes to the dead letters too.

        Raises:
            BusError, StoreError: somebody was not told; the caller tries again.
        """
        if ending.state in (JobState.SUCCEEDED, JobState.CANCELLED):
            await self._publish(subjects.JOB_RESULT, ending)
            return
        told = asyncio.ensure_future(self._publish(subjects.JOB_RESULT, ending))
        try:
            await self.bury(ending)
        finally:
            await asyncio.wait((told,))
        told.result()

    async def bury(self, ending: Ending) -> None:
        """Writes a job to the dead letters and says so on `sys.job.dlq`; tried twice, then counted and raised."""
        try:
            await self._bury_once(ending)
        except CordumError:
            await asyncio.sleep(DLQ_RETRY_PAUSE)
            try:
                await self._bury_once(ending)
            except CordumError:
                metrics.DLQ_EMIT_FAILURES.labels(ending.topic).inc()
                raise

    async def _bury_once(self, ending: Ending) -> None:
        await self._store.dead_letters.add(
            DeadLetter(
                job_id=ending.job_id,
                topic=ending.topic,
                status=job_pb2.JobStatus.Name(_STATUS[ending.state]),
                reason=ending.reason,
                reason_code=ending.code,
                last_state=ending.last_state.value,
                attempts=ending.attempts,
                tenant=ending.tenant,
            )
        )
        await self._publish(subjects.JOB_DLQ, ending)

    async def stop_worker(self, record: JobRecord, reason: str) -> None:
        """Broadcasts that nobody waits for a job any more; its worker may stop it.

        Args:
            record: as it was while the worker had it.

        Raises:
            BusError: it is not known to be sent.
        """
        packet = envelope.packet(subjects.SCHEDULER_ID, record.trace_id or record.id, self._clock.now())
        packet.job_cancel.job_id = record.id
        packet.job_cancel.reason = reason
        packet.job_cancel.requested_by = subjects.SCHEDULER_ID
        if record.dispatch_id:
            dispatch = packet.job_cancel.dispatch
            dispatch.dispatch_id, dispatch.attempt = record.dispatch_id, record.attempts
            dispatch.assigned_worker_id = record.worker_id
        packet.auth_token = self.token
        msg_id = msg_id_result(subjects.JOB_CANCEL, record.id)
        await self._bus.publish(subjects.JOB_CANCEL, envelope.encode(packet), msg_id=msg_id)

    @property
    def token(self) -> str:
        """What shows that a packet is the scheduler's; "" where there is no key to sign it with."""
        return self._tokens.token(subjects.SCHEDULER_ID) if self._tokens is not None else ""

    async def _publish(self, subject: str, ending: Ending) -> None:
        packet = envelope.packet(subjects.SCHEDULER_ID, ending.trace_id or ending.job_id, self._clock.now())
        packet.job_result.CopyFrom(ending.as_result())
        packet.auth_token = self.token
        await self._bus.publish(
            subject, envelope.encode(packet), msg_id=msg_id_result(subject, ending.job_id, ending.attempts)
        )
