"""Cancelling a job, and telling whoever works on it (spec-scheduler section 10)."""

import asyncio

from cap.pb.cordum.agent.v1 import job_pb2
from cap.pb.cordum.agent.v1.buspacket_pb2 import BusPacket

from cordum.bus import Bus, BusError, envelope, messages, subjects
from cordum.core.access.caller import Caller
from cordum.core.errors import CordumError
from cordum.core.ids import JobId, TenantId
from cordum.core.jobs import lifecycle
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.runtime.clock import Clock, unix_micros
from cordum.runtime.logging import get_logger
from cordum.runtime.service_tokens import ServiceTokens
from cordum.services.gateway.errors import ApiError
from cordum.services.gateway.jobs.waiting import Waiting
from cordum.store import Applied, Refused, Store

log = get_logger(__name__)


class Canceller:
    """Ends jobs on somebody's word."""

    def __init__(self, store: Store, bus: Bus, waiting: Waiting, tokens: ServiceTokens, clock: Clock) -> None:
        self._tokens = tokens
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
        # Written down first: should we die, or NATS be away, a scheduler tells worker and engines in our place.
        await self._store.endings.begin(job_id, JobState.CANCELLED, now)
        outcome = await self._store.jobs.apply(job_id, lifecycle.cancel(reason), now=now, known=record)
        if isinstance(outcome, Refused):
            if outcome.state is not JobState.CANCELLED:  # else another call made it, and is telling of it
                await self._strike_off(job_id)
            if outcome.state is None:
                raise ApiError("job_not_found")
            return outcome.state, False
        self._waiting.wake(job_id)
        if await self._tell(record, reason, outcome):
            await self._strike_off(job_id)
        log.info("job cancelled", event="job_cancelled", job_id=job_id, tenant=tenant, by=caller.name)
        return JobState.CANCELLED, True

    async def _strike_off(self, job_id: JobId) -> None:
        try:
            await self._store.endings.told(job_id, JobState.CANCELLED)
        except CordumError as error:
            # Told twice is no harm: the messages have the same ids.
            log.debug("a cancel stays listed", event="cancel_not_marked", job_id=job_id, error=error.message)

    async def _tell(self, record: JobRecord, reason: str, outcome: Applied) -> bool:
        """Tells worker, schedulers and engines. False: not all were told, which is left to a scheduler."""
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
        if record.dispatch_id and outcome.attempts == record.attempts:
            dispatch = stop.job_cancel.dispatch
            dispatch.dispatch_id, dispatch.attempt = record.dispatch_id, record.attempts
            dispatch.assigned_worker_id = record.worker_id
        told = await asyncio.gather(
            self._say(subjects.JOB_CANCEL, stop, record.id), self._say(subjects.JOB_RESULT, ended, record.id)
        )
        return all(told)

    async def _say(self, subject: str, packet: BusPacket, job_id: JobId) -> bool:
        packet.auth_token = self._tokens.token(subjects.GATEWAY_CONTROL_ID)
        try:
            await self._bus.publish(subject, envelope.encode(packet), msg_id=messages.msg_id_result(subject, job_id))
        except BusError as error:
            log.warning(
                "cancellation not announced",
                event="cancel_not_announced",
                job_id=job_id,
                subject=subject,
                error=error.message,
            )
            return False
        return True
