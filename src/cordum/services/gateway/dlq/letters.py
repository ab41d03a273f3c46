"""Writing dead letters and taking them up again (spec-gateway section 4, spec-scheduler section 14)."""

from typing import Final

import msgspec
from cap.pb.cordum.agent.v1 import job_pb2

from cordum.bus import Bus, BusError, envelope, messages, subjects
from cordum.core.access.caller import Caller
from cordum.core.errors import CordumError
from cordum.core.ids import JobId, TenantId
from cordum.core.jobs.record import JobRecord
from cordum.runtime.clock import Clock, unix_micros
from cordum.runtime.logging import get_logger
from cordum.services.gateway import protojson
from cordum.services.gateway.dlq.again import RETRY_OF, brings_context, record_again, request_again, retry_id
from cordum.services.gateway.errors import ApiError, invalid
from cordum.store import DeadLetter, JobExistsError, NewJob, Store

log = get_logger(__name__)

_SAFETY: Final = job_pb2.ERROR_CODE_SAFETY_DENIED


class DeadLetterBox:
    """The gateway's side of the dead-letter queue."""

    def __init__(self, store: Store, bus: Bus, clock: Clock) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock

    async def bury(self, record: JobRecord, code: str) -> bool:
        """Writes the entry of a job that was denied here, and announces it. The job's own record is already written,
        so a failure is logged and not raised; False tells of it."""
        entry = DeadLetter(
            job_id=record.id,
            tenant=record.tenant,
            topic=record.topic,
            status="JOB_STATUS_DENIED",
            reason=record.failure_reason,
            reason_code=code,
            last_state=record.last_state or record.state.value,
            attempts=record.attempts,
        )
        written = True
        try:
            await self._store.dead_letters.add(entry)
        except CordumError as error:
            written = False
            log.error("dead letter not written", event="dlq_not_written", job_id=record.id, error=error.message)
        return await self._announce(record, code) and written

    async def _announce(self, record: JobRecord, code: str) -> bool:
        packet = envelope.packet(subjects.GATEWAY_CONTROL_ID, record.trace_id or record.id, self._clock.now())
        result = packet.job_result
        result.job_id = record.id
        result.status = job_pb2.JOB_STATUS_DENIED
        result.worker_id = subjects.GATEWAY_CONTROL_ID
        result.error_code = code
        result.error_code_enum = _SAFETY
        result.error_message = record.failure_reason
        try:
            await self._bus.publish(
                subjects.JOB_DLQ,
                envelope.encode(packet),
                msg_id=messages.msg_id_result(subjects.JOB_DLQ, record.id),
            )
        except BusError as error:
            log.warning("dead letter not announced", event="dlq_not_announced", job_id=record.id, error=error.message)
            return False
        return True

    async def retry(self, tenant: TenantId, job_id: JobId, caller: Caller) -> "tuple[JobRecord, job_pb2.JobRequest]":
        """Writes a new job like the dead one and then removes the entry; the new one is decided like any other.

        Asked again after it broke off, or by two at once, it makes the one job and no second: a crash loses neither the
        letter nor the job.

        Answers the new job, for the caller to publish; one that is not published is replayed by the scheduler.

        Raises:
            ApiError: 404 for no such entry, 400 for an entry without topic, 409 when the job's request or input is no
                longer kept.
        """
        entry = await self._store.dead_letters.get(tenant, job_id)
        if entry is None:
            raise ApiError("dlq_entry_not_found")
        if not entry.topic:
            raise invalid("the entry names no topic, so it cannot be tried again", "dlq_no_topic")
        record, job = await self._make(tenant, entry, caller)
        await self._store.dead_letters.remove(tenant, job_id)
        log.info("dead letter retried", event="dlq_retried", job_id=job_id, new_job_id=record.id, by=caller.name)
        return record, job

    async def _make(
        self, tenant: TenantId, entry: DeadLetter, caller: Caller
    ) -> "tuple[JobRecord, job_pb2.JobRequest]":
        detail = await self._store.jobs.get_detail(entry.job_id)
        stored = await self._store.jobs.request(entry.job_id)
        if detail is None or stored is None or detail.record.tenant != tenant:
            raise ApiError("dlq_not_retryable")
        job = protojson.decode(stored)
        job.job_id = entry.job_id
        context = detail.context if brings_context(job) else b""
        if context is None:
            raise ApiError("dlq_not_retryable")
        job = request_again(job, retry_id(entry))
        record = record_again(detail.record, job, caller, unix_micros(self._clock))
        try:
            await self._store.jobs.create(NewJob(record=record, request=protojson.encode_any(job), context=context))
        except JobExistsError:
            made = await self._store.jobs.get(record.id)
            if made is None or made.tenant != tenant or made.labels.get(RETRY_OF) != entry.job_id:
                raise ApiError("dlq_not_retryable") from None
            record = made
        return record, job


def shown(entry: DeadLetter) -> msgspec.Raw:
    """An entry as the API shows it."""
    return msgspec.Raw(entry.to_json())
