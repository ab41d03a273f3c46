"""Approving and rejecting (spec-gateway section 5, spec-safety section 11).

One compare-and-set on the record decides who was first; publishing follows, and is repeated by the scheduler's replayer
or by whoever approves again when it could not be done.
"""

from typing import Final

import msgspec
from cap.pb.cordum.agent.v1 import job_pb2

from cordum.bus import Bus, BusError, envelope, messages, subjects
from cordum.core.access.caller import Caller, same_person
from cordum.core.errors import CordumError
from cordum.core.ids import JobId, SnapshotId, TenantId
from cordum.core.jobs import lifecycle
from cordum.core.jobs.lifecycle import Change, Resolution
from cordum.core.jobs.record import JobRecord, verdict_fields
from cordum.core.jobs.states import JobState
from cordum.core.policy.decision import Decision, snapshot_base
from cordum.rpc.kernel_client import KernelClient
from cordum.runtime import metrics
from cordum.runtime.clock import Clock, unix_micros
from cordum.runtime.logging import get_logger
from cordum.services.gateway import protojson
from cordum.services.gateway.dlq.letters import DeadLetterBox
from cordum.services.gateway.errors import ApiError
from cordum.services.gateway.jobs.waiting import Waiting
from cordum.services.gateway.submit.question import question_again
from cordum.services.gateway.submit.service import SubmitService
from cordum.store import Refused, Store

log = get_logger(__name__)

MAX_TEXT: Final = 512  # bytes of a reason or a note


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an approval.

    Attributes:
        record: the job as far as known afterwards.
        repeated: somebody had said the same before.
        deferred: the outcome is written but not published yet.
    """

    record: JobRecord
    repeated: bool = False
    deferred: bool = False


class Resolver:
    """Takes a person's word on a parked job."""

    def __init__(
        self,
        *,
        store: Store,
        bus: Bus,
        kernel: KernelClient,
        submitter: SubmitService,
        dead_letters: DeadLetterBox,
        waiting: Waiting,
        clock: Clock,
    ) -> None:
        self._store = store
        self._bus = bus
        self._kernel = kernel
        self._submitter = submitter
        self._dead_letters = dead_letters
        self._waiting = waiting
        self._clock = clock

    async def approve(
        self, tenant: TenantId, job_id: JobId, caller: Caller, *, reason: str = "", note: str = ""
    ) -> Resolved:
        """Lets the job go on; the scheduler checks it once more before it runs.

        Raises:
            ApiError: 404; 403 `self_approval_denied`; 409 when the job does not wait for approval, was rejected, is
                not the job that was parked, or the policy of today no longer lets it pass.
            KernelUnavailableError: the policy of today is not known.
        """
        record = await self._load(tenant, job_id)
        if record.approval_status == "approved":
            return await self._approved_before(record)
        self._must_be_open(record, caller)
        job = await self._request(record)
        record, refresh = await self._under_todays_policy(record, job)
        resolution = self._resolution(caller, reason, note)
        change = lifecycle.approve(record, resolution)
        change = msgspec.structs.replace(change, fields={**refresh, **change.fields})
        if not await self._apply(record, change):
            latest = await self._load(tenant, job_id)
            if latest.approval_status == "approved":
                return await self._approved_before(latest)
            raise _conflict(latest)
        metrics.APPROVAL_DECISIONS.labels("approve").inc()
        log.info("job approved", event="job_approved", job_id=job_id, tenant=tenant, by=caller.name, reason=reason)
        published = await self._send_on(record, job)
        return Resolved(record=record, deferred=not published)

    async def reject(
        self, tenant: TenantId, job_id: JobId, caller: Caller, *, reason: str = "", note: str = ""
    ) -> Resolved:
        """Refuses the job for good. Raises as `approve` does, the policy apart."""
        record = await self._load(tenant, job_id)
        if record.approval_status == "rejected":
            return Resolved(record=record, repeated=True)
        self._must_be_open(record, caller)
        change = lifecycle.reject(record, self._resolution(caller, reason, note))
        if not await self._apply(record, change):
            latest = await self._load(tenant, job_id)
            if latest.approval_status == "rejected":
                return Resolved(record=latest, repeated=True)
            raise _conflict(latest)
        metrics.APPROVAL_DECISIONS.labels("reject").inc()
        log.info("job rejected", event="job_rejected", job_id=job_id, tenant=tenant, by=caller.name, reason=reason)
        denied = msgspec.structs.replace(
            record,
            state=JobState.DENIED,
            failure_reason=change.fields["failure_reason"],
            last_state=JobState.APPROVAL_REQUIRED.value,
        )
        await self._dead_letters.bury(denied, "approval_rejected")
        await self._tell_denied(denied)
        await self._mark_published(job_id, JobState.DENIED)
        self._waiting.wake(job_id)
        return Resolved(record=denied)

    async def _load(self, tenant: TenantId, job_id: JobId) -> JobRecord:
        record = await self._store.jobs.get(job_id)
        if record is None or record.tenant != tenant:
            raise ApiError("approval_not_found")
        return record

    def _must_be_open(self, record: JobRecord, caller: Caller) -> None:
        if record.state is not JobState.APPROVAL_REQUIRED or record.approval_status != "pending":
            raise _conflict(record)
        if same_person(record.submitted_by, caller.identity):
            log.warning("self-approval refused", event="self_approval_denied", job_id=record.id, by=caller.name)
            raise ApiError("self_approval_denied")

    async def _request(self, record: JobRecord) -> job_pb2.JobRequest:
        """The parked request, if it is still the one the approval is bound to."""
        stored = await self._store.jobs.request(record.id)
        if stored is None:
            raise ApiError("approval_stale_request", "the request of the job is no longer kept")
        job = protojson.decode(stored)
        if not record.safety_job_hash or messages.job_hash(job) != record.safety_job_hash:
            raise ApiError("approval_stale_request")
        return job

    async def _under_todays_policy(
        self, record: JobRecord, job: job_pb2.JobRequest
    ) -> tuple[JobRecord, dict[str, str]]:
        """Asks again, as the original requester: an approval counts for the policy of today or not at all."""
        context = await self._store.jobs.context(record.id)
        verdict = await self._kernel.check(question_again(job, context))
        if verdict.decision in (Decision.DENY, Decision.THROTTLE):
            raise ApiError("approval_stale_snapshot", extra={"decision": verdict.decision.value})
        if snapshot_base(verdict.snapshot) == snapshot_base(SnapshotId(record.safety_snapshot)):
            return record, {}
        refreshed = msgspec.structs.replace(record, safety_snapshot=verdict.snapshot, safety_rule_id=verdict.rule_id)
        return refreshed, verdict_fields(verdict)

    def _resolution(self, caller: Caller, reason: str, note: str) -> Resolution:
        return Resolution(
            by=caller.name,
            role=caller.role.value,
            reason=_short(reason),
            note=_short(note),
            at=unix_micros(self._clock),
        )

    async def _apply(self, record: JobRecord, change: Change) -> bool:
        outcome = await self._store.jobs.apply(record.id, change, now=unix_micros(self._clock), known=record)
        return not isinstance(outcome, Refused)

    async def _approved_before(self, record: JobRecord) -> Resolved:
        """A repetition; it also sends on what the first one could not."""
        if record.approval_publish_status == "pending" and record.state is JobState.PENDING:
            stored = await self._store.jobs.request(record.id)
            if stored is not None:
                await self._send_on(record, protojson.decode(stored))
        return Resolved(record=record, repeated=True)

    async def _send_on(self, record: JobRecord, job: job_pb2.JobRequest) -> bool:
        msg_id = messages.msg_id_approved(subjects.JOB_SUBMIT, record.id)
        if not await self._submitter.resubmit(job, record.trace_id or record.id, msg_id=msg_id):
            return False
        await self._mark_published(record.id, None)
        return True

    async def _mark_published(self, job_id: JobId, state: JobState | None) -> None:
        """The job may be anywhere by now: the mark belongs to the approval, not to a state."""
        fields = lifecycle.approval_published(unix_micros(self._clock))
        allowed = frozenset(JobState) if state is None else frozenset({state})
        try:
            await self._store.jobs.annotate(job_id, fields, allowed_from=allowed)
        except CordumError as error:
            # Published twice is harmless: the second message has the same id.
            log.warning("approval not marked", event="approval_not_marked", job_id=job_id, error=error.message)

    async def _tell_denied(self, record: JobRecord) -> None:
        packet = envelope.packet(subjects.GATEWAY_CONTROL_ID, record.trace_id or record.id, self._clock.now())
        result = packet.job_result
        result.job_id = record.id
        result.status = job_pb2.JOB_STATUS_DENIED
        result.worker_id = subjects.GATEWAY_CONTROL_ID
        result.error_code = "approval_rejected"
        result.error_message = record.failure_reason
        try:
            msg_id = messages.msg_id_result(subjects.JOB_RESULT, record.id)
            await self._bus.publish(subjects.JOB_RESULT, envelope.encode(packet), msg_id=msg_id)
        except BusError as error:
            log.warning("rejection not announced", event="reject_not_announced", job_id=record.id, error=error.message)


def _conflict(record: JobRecord) -> ApiError:
    if record.approval_status in ("approved", "rejected"):
        return ApiError("approval_already_resolved", extra={"approval_status": record.approval_status})
    if record.state is JobState.APPROVAL_REQUIRED:
        return ApiError("approval_retryable_lock", extra={"retryable": True})
    return ApiError("approval_not_actionable", extra={"state": record.state.value})


def _short(text: str) -> str:
    return text if len(text) * 4 <= MAX_TEXT else text.encode()[:MAX_TEXT].decode(errors="ignore")
