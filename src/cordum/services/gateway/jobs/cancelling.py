"""Cancelling a job, and telling whoever works on it (spec-scheduler section 10)."""

from cap.pb.cordum.agent.v1 import job_pb2

from cordum.bus import Bus, BusError, envelope, messages, subjects
from cordum.core.access.caller import Caller
from cordum.core.ids import JobId, TenantId
from cordum.core.jobs import lifecycle
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.runtime.clock import Clock, unix_micros
from cordum.runtime.logging import get_logger
from cordum.services.gateway.errors import ApiError
from cordum.services.gateway.jobs.waiting import Waiting
from cordum.store import Refused, Store

log = get_logger(__name__)


class Canceller:
    """Ends jobs on somebody's word."""

    def __init__(self, store: Store, bus: Bus, waiting: Waiting, clock: Clock) -> None:
        self._store = store
        self._bus = bus
        self._waiting = waiting
        self._clock = clock

    async def cancel(self, tenant: TenantId, job_id: JobId, caller: Caller) -> tuple[JobState, bool]:
        """Answers the job's state afterwards, and whether this call ended it.

        Raises:
            ApiError: 404, the tenant has no such job.
        """
        record = await self._store.jobs.get(job_id)
        if record is None or record.tenant != tenant:
            raise ApiError("job_not_found")
        if record.state.is_terminal:
            return record.state, False
        reason = f"cancelled by {caller.name}"
        now = unix_micros(self._clock)
        outcome = await self._store.jobs.apply(job_id, lifecycle.cancel(reason), now=now, known=record)
        if isinstance(outcome, Refused):
            if outcome.state is None:
                raise ApiError("job_not_found")
            return outcome.state, False
        await self._tell(record, reason)
        self._waiting.wake(job_id)
        log.info("job cancelled", event="job_cancelled", job_id=job_id, tenant=tenant, by=caller.name)
        return JobState.CANCELLED, True

    async def _tell(self, record: JobRecord, reason: str) -> None:
        """The record is the truth; who misses these messages learns it from there."""
        trace_id, now = record.trace_id or record.id, self._clock.now()
        ended = envelope.packet(subjects.GATEWAY_CONTROL_ID, trace_id, now)
        ended.job_result.job_id = record.id
        ended.job_result.status = job_pb2.JOB_STATUS_CANCELLED
        ended.job_result.worker_id = subjects.GATEWAY_CONTROL_ID
        ended.job_result.error_code = "cancelled"
        ended.job_result.error_message = reason
        stop = envelope.packet(subjects.GATEWAY_CONTROL_ID, trace_id, now)
        stop.job_cancel.job_id = record.id
        stop.job_cancel.reason = reason
        stop.job_cancel.requested_by = subjects.GATEWAY_CONTROL_ID
        for subject, packet in ((subjects.JOB_CANCEL, stop), (subjects.JOB_RESULT, ended)):
            try:
                msg_id = messages.msg_id_result(subject, record.id)
                await self._bus.publish(subject, envelope.encode(packet), msg_id=msg_id)
            except BusError as error:
                log.warning(
                    "cancellation not announced",
                    event="cancel_not_announced",
                    job_id=record.id,
                    subject=subject,
                    error=error.message,
                )
