"""Writing dead letters and taking them up again (spec-gateway section 4, spec-scheduler section 14)."""

from typing import Final

import msgspec
from cap.pb.cordum.agent.v1 import job_pb2

from cordum.bus import Bus, BusError, envelope, messages, subjects
from cordum.core.access.caller import Caller
from cordum.core.errors import CordumError
from cordum.core.ids import JobId, Micros, TenantId, Topic, TraceId
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.runtime.clock import Clock, unix_micros
from cordum.runtime.ids import Ids
from cordum.runtime.logging import get_logger
from cordum.services.gateway import protojson
from cordum.services.gateway.errors import ApiError, invalid
from cordum.store import DeadLetter, JobDetail, NewJob, Store

log = get_logger(__name__)

_LEFT_BEHIND: Final = ("approval_",)
"""Labels of the old job's way through the control plane; the new one goes its own."""
_SAFETY: Final = job_pb2.ERROR_CODE_SAFETY_DENIED


class DeadLetterBox:
    """The gateway's side of the dead-letter queue."""

    def __init__(self, store: Store, bus: Bus, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock
        self._ids = ids

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
        """Writes a new job like the dead one and removes the entry; the new one is decided like any other.

        Answers the new job, for the caller to publish.

        Raises:
            ApiError: 404 for no such entry, 400 for an entry without topic, 409 when the job's request or input is no
                longer kept.
        """
        entry = await self._store.dead_letters.get(tenant, job_id)
        if entry is None:
            raise ApiError("dlq_entry_not_found")
        if not entry.topic:
            raise invalid("the entry names no topic, so it cannot be tried again", "dlq_no_topic")
        detail = await self._store.jobs.get_detail(job_id)
        stored = await self._store.jobs.request(job_id)
        if detail is None or detail.context is None or stored is None or detail.record.tenant != tenant:
            raise ApiError("dlq_not_retryable")
        new_id = JobId(f"{job_id}-retry-{self._ids.token(4)}")
        job = _again(protojson.decode(stored), new_id, job_id)
        record = _new_record(detail, new_id, job, caller, unix_micros(self._clock))
        await self._store.jobs.create(NewJob(record=record, request=protojson.encode_any(job), context=detail.context))
        # Of two who retry at once, one finds the entry gone; its job exists all the same and is not lost.
        await self._store.dead_letters.remove(tenant, job_id)
        log.info("dead letter retried", event="dlq_retried", job_id=job_id, new_job_id=new_id, by=caller.name)
        return record, job


def _again(job: job_pb2.JobRequest, new_id: JobId, old_id: JobId) -> job_pb2.JobRequest:
    """The old request under a new id: everything it asked for, nothing of what had become of it."""
    for name in [name for name in job.labels if name.startswith(_LEFT_BEHIND) or name == messages.BUS_MSG_ID_LABEL]:
        del job.labels[name]
    for name in ("dispatch", "identity"):
        job.ClearField(name)
    for name in [messages.EFFECTIVE_CONFIG_ENV, *(name for name in job.env if name.startswith("CORDUM_"))]:
        job.env.pop(name, None)
    job.job_id = new_id
    job.context_ptr = f"redis://ctx:{new_id}"
    # The key belongs to the first submit; the new job must not be taken for its repetition.
    job.meta.idempotency_key = ""
    job.labels["retry"] = "true"
    job.labels["dlq_entry"] = old_id
    job.labels["retry_of_job"] = old_id
    job.env["retry_of_job"] = old_id
    return job


def _new_record(detail: JobDetail, new_id: JobId, job: job_pb2.JobRequest, caller: Caller, now: Micros) -> JobRecord:
    old = detail.record
    return JobRecord(
        id=new_id,
        state=JobState.PENDING,
        created_at=now,
        updated_at=now,
        topic=Topic(job.topic),
        tenant=old.tenant,
        team=old.team,
        principal=old.principal,
        trace_id=TraceId(f"dlq-retry-{old.id}"),
        memory_id=old.memory_id,
        actor_id=old.actor_id,
        actor_type=old.actor_type,
        capability=old.capability,
        pack_id=old.pack_id,
        risk_tags=old.risk_tags,
        requires=old.requires,
        labels=dict(job.labels),
        # Still the first submitter's wish: whoever sees the failure and tries again does not make it their own.
        submitted_by=old.submitted_by or caller.identity,
        deadline_unix=Micros(now + job.budget.deadline_ms * 1000) if job.budget.deadline_ms else Micros(0),
    )


def shown(entry: DeadLetter) -> msgspec.Raw:
    """An entry as the API shows it."""
    return msgspec.Raw(entry.to_json())
