"""The one way a job comes in (spec-gateway section 3, guide section 11).

Checks that need no look at the world, topic, idempotency, policy, then one write and one publish. Whatever happens in
between, the caller learns either that the job is stored or that it is not; a stored job that could not be published
is published by the scheduler's replayer.
"""

import asyncio
from typing import Final, NoReturn

import msgspec
from cap.pb.cordum.agent.v1 import job_pb2

from cordum.bus import Bus, PublishError, envelope, messages, subjects
from cordum.core.access.caller import Caller
from cordum.core.errors import CordumError
from cordum.core.ids import JobId, Micros, PrincipalId, TenantId, Topic, TraceId
from cordum.core.jobs import approvals, lifecycle
from cordum.core.jobs.approvals import Window
from cordum.core.jobs.record import JobRecord, record_from_hash, record_to_hash
from cordum.core.jobs.states import JobState
from cordum.core.policy.decision import Decision, Verdict
from cordum.rpc.kernel_client import KernelClient, KernelUnavailableError
from cordum.runtime import metrics
from cordum.runtime.clock import Clock, unix_micros
from cordum.runtime.ids import Ids
from cordum.runtime.logging import get_logger
from cordum.services.gateway import protojson
from cordum.services.gateway.auditing import Auditor
from cordum.services.gateway.dlq.letters import DeadLetterBox
from cordum.services.gateway.errors import ApiError
from cordum.services.gateway.jobs.decisions import logged
from cordum.services.gateway.schemas.gate import SubmitGate
from cordum.services.gateway.submit import request as requests
from cordum.services.gateway.submit import submission as submissions
from cordum.services.gateway.submit.backpressure import Backpressure
from cordum.services.gateway.submit.outcome import Outcome, accepted, approval_required, denial, original_outcome
from cordum.services.gateway.submit.question import question
from cordum.services.gateway.submit.request import Draft
from cordum.services.gateway.submit.submission import Submission
from cordum.services.gateway.topics import TopicRegistry
from cordum.store import NewJob, Store
from cordum.store.errors import AnswerLostError

log = get_logger(__name__)

DECIDE_AND_STORE_SECONDS: Final = 5.0
"""A submit that has reserved its idempotency key and is not stored by then fails."""
RESERVATION_PATIENCE_SECONDS: Final = 6.0
"""How long a repetition waits for the first submit's record. Longer than the first may take: after that it is dead."""
_PATIENCE_STEP: Final = 0.05  # seconds
SAFETY_UNAVAILABLE: Final = "safety_unavailable"


class Submitter(msgspec.Struct, frozen=True, kw_only=True):
    """On whose behalf a job is submitted, as far as we believe it."""

    caller: Caller
    tenant: TenantId
    trusts_named_principal: bool
    """Whether a principal named by the request counts where the credential names none: never in production (C17)."""


class SubmitService:
    """Takes submissions from HTTP and gRPC."""

    def __init__(
        self,
        *,
        store: Store,
        bus: Bus,
        kernel: KernelClient,
        topics: TopicRegistry,
        gate: SubmitGate,
        backpressure: Backpressure,
        dead_letters: DeadLetterBox,
        auditor: Auditor,
        clock: Clock,
        ids: Ids,
        accepts_undecided: bool = True,
    ) -> None:
        """Takes its ports over; without `accepts_undecided` a submit fails (503) while the kernel gives no answer."""
        self._accepts_undecided = accepts_undecided
        self._store = store
        self._bus = bus
        self._kernel = kernel
        self._topics = topics
        self._gate = gate
        self._backpressure = backpressure
        self._dead_letters = dead_letters
        self._auditor = auditor
        self._clock = clock
        self._ids = ids

    async def submit(self, wanted: Submission, submitter: Submitter, *, idempotency_header: str = "") -> Outcome:
        """Takes one job in.

        Raises:
            ApiError: the submission is wrong (400), not allowed (403: `policy_denied` carries job_id and trace_id),
                throttled (429), or took too long to decide and store (503).
            StoreUnavailableError: nothing is stored, or it is unknown whether it is.
        """
        draft = self._checked(wanted, submitter, idempotency_header)
        topic = await self._topics.check(draft.tenant, draft.topic)
        if topic is not None and topic.input_schema_id and not self._gate.is_open:
            document = requests.context_document(draft, self._clock.now())
            await self._gate.check(draft.tenant, draft.topic, topic.input_schema_id, document)
        if not draft.idempotency_key:
            return await self._announce(await self._decide_and_store(draft, submitter.caller), submitter.caller)
        while True:
            holder = await self._store.jobs.claim_idempotency_key(draft.tenant, draft.idempotency_key, draft.job_id)
            if holder is None:
                return await self._announce(await self._under_reservation(draft, submitter.caller), submitter.caller)
            record = await self._record_of(holder)
            if record is not None:
                return original_outcome(record)
            await self._store.jobs.release_idempotency_key(draft.tenant, draft.idempotency_key, holder)

    async def resubmit(self, job: job_pb2.JobRequest, trace_id: str, *, msg_id: str) -> bool:
        """Puts a job that is already stored on the bus (again). False when that failed: it will be replayed."""
        return await self._publish(job.job_id, self._packet(job, trace_id, subjects.GATEWAY_CONTROL_ID), msg_id)

    def _packet(self, job: job_pb2.JobRequest, trace_id: str, sender: str) -> bytes:
        packet = envelope.packet(sender, trace_id, self._clock.now())
        packet.job_request.CopyFrom(job)
        return envelope.encode(packet)

    async def _publish(self, job_id: str, packet: bytes, msg_id: str) -> bool:
        try:
            await self._bus.publish(subjects.JOB_SUBMIT, packet, msg_id=msg_id)
        except PublishError as error:
            log.warning(
                "job stored but not published; the scheduler replays it",
                event="submit_not_published",
                job_id=job_id,
                error=error.message,
            )
            return False
        return True

    def _checked(self, wanted: Submission, submitter: Submitter, idempotency_header: str) -> Draft:
        topic = submissions.topic_of(wanted)
        prompt = submissions.prompt_of(wanted)
        submissions.refuse_delegation(wanted)
        submissions.tenant_named(wanted, submitter.tenant)
        labels = submissions.labels_of(wanted)
        labels["_source"] = "api"
        context = submissions.json_of(wanted.context)
        risk_tags = wanted.risk_tags or []
        if submissions.names_secrets(prompt, context):
            labels["secrets_present"] = "true"
            risk_tags = [*risk_tags, *(("secrets",) if "secrets" not in risk_tags else ())]
        return Draft(
            job_id=JobId(self._ids.new()),
            trace_id=TraceId(self._ids.new()),
            tenant=submitter.tenant,
            principal=_principal(wanted, submitter),
            submitted_by=submitter.caller.identity,
            topic=Topic(topic),
            prompt=prompt,
            labels=labels,
            context=context,
            risk_tags=tuple(risk_tags),
            idempotency_key=submissions.idempotency_key_of(wanted, idempotency_header),
            wanted=wanted,
        )

    async def _record_of(self, job_id: JobId) -> JobRecord | None:
        """The record of the submit that holds the key; waits for one that is under way."""
        deadline = self._clock.monotonic() + RESERVATION_PATIENCE_SECONDS
        while True:
            record = await self._store.jobs.get(job_id)
            if record is not None or self._clock.monotonic() >= deadline:
                return record
            await self._clock.sleep(_PATIENCE_STEP)

    async def _under_reservation(self, draft: Draft, caller: Caller) -> "_Stored":
        """Decides and stores; when that fails and surely nothing is stored, the key is free again.

        Where nobody can know whether the record was written, the key stays taken: a repetition finds the record, or
        finds after RESERVATION_PATIENCE_SECONDS that there is none.
        """
        try:
            async with asyncio.timeout(DECIDE_AND_STORE_SECONDS):
                return await self._decide_and_store(draft, caller)
        except TimeoutError as error:
            raise ApiError("overloaded") from error
        except AnswerLostError:
            raise
        except CordumError:
            await self._release(draft)
            raise

    async def _release(self, draft: Draft) -> None:
        try:
            await self._store.jobs.release_idempotency_key(draft.tenant, draft.idempotency_key, draft.job_id)
        except CordumError as error:
            log.warning("idempotency key not released", event="idempotency_not_released", error=error.message)

    async def _decide_and_store(self, draft: Draft, caller: Caller) -> "_Stored":
        await self._backpressure.check(draft.tenant)
        now = self._clock.now()
        job = requests.job_request(draft)
        context = requests.context_document(draft, now)
        verdict: Verdict | None = None
        try:
            verdict = await self._kernel.check(question(job, context))
        except KernelUnavailableError as error:
            if not self._accepts_undecided:
                raise
            log.warning("job accepted undecided", event=SAFETY_UNAVAILABLE, job_id=draft.job_id, error=error.message)
        if verdict is not None and verdict.decision is Decision.THROTTLE:
            await self._put_off(draft, verdict, caller)
        record = _first_record(draft, job, verdict, unix_micros(self._clock), self._store.approvals.window)
        # Before the write: what could never travel must not be stored either.
        packet = self._packet(job, draft.trace_id, subjects.GATEWAY_ID)
        # A decision that cannot be written down has no consequence: both are one write. One that lets the job go on is
        # taken again before it runs, and the scheduler writes that one down.
        decision = logged(record) if verdict is not None and not verdict.decision.permits else None
        new = NewJob(record=record, request=protojson.encode(job), context=context, decision=decision)
        await self._store.jobs.create(new)
        return _Stored(record=record, packet=packet)

    async def _put_off(self, draft: Draft, verdict: Verdict, caller: Caller) -> NoReturn:
        """Sends a throttled submit away. There is no job, so the logs are all that tells of it."""
        throttled = requests.job_record(draft, verdict, unix_micros(self._clock))
        await self._store.decision_log.record(msgspec.structs.replace(logged(throttled), for_job=""))
        self._note(throttled, "submit_throttled", caller)
        # Whole seconds, and never sooner than the rule says.
        wait = -(-verdict.retry_after_ms // 1000)
        raise ApiError("policy_throttled", verdict.reason or None, retry_after=wait or None)

    def _note(self, record: JobRecord, action: str, caller: Caller) -> None:
        self._auditor.note(
            caller,
            action,
            resource_type="job",
            resource_id=record.id,
            job_id=record.id,
            agent_id=record.labels.get("agent_id", ""),
            reason=record.safety_reason,
            decision=record.safety_decision,
            matched_rule=record.safety_rule_id,
            policy_version=record.safety_snapshot,
            extra={"topic": record.topic},
            tenant=record.tenant,
        )

    async def _announce(self, stored: "_Stored", caller: Caller) -> Outcome:
        """Tells the rest of the system about a stored job, and the caller what became of it."""
        record = stored.record
        if record.state is JobState.PENDING:
            await self._publish(record.id, stored.packet, messages.msg_id_submit(record.id))
            return accepted(record)
        if record.state is JobState.APPROVAL_REQUIRED:
            self._note(record, "submit_approval_required", caller)
            return approval_required(record)
        self._note(record, "submit_denied", caller)
        metrics.SAFETY_DENIED.labels(record.topic).inc()
        await self._dead_letters.bury(record, "policy_denied")
        log.info(
            "job denied by policy",
            event="job_denied",
            job_id=record.id,
            topic=record.topic,
            tenant=record.tenant,
            rule_id=record.safety_rule_id,
            snapshot=record.safety_snapshot,
        )
        raise denial(record)


class _Stored(msgspec.Struct, frozen=True):
    record: JobRecord
    packet: bytes


def _first_record(
    draft: Draft, job: job_pb2.JobRequest, verdict: Verdict | None, now: Micros, window: Window
) -> JobRecord:
    """The job as it is first written, in the state the verdict puts it in."""
    if verdict is None:
        return requests.job_record(draft, None, now, pending_reason=SAFETY_UNAVAILABLE)
    if verdict.decision.permits:
        return requests.job_record(draft, verdict, now)
    record = requests.job_record(draft, None, now)
    job_hash = messages.job_hash(job)
    if verdict.decision is Decision.REQUIRE_APPROVAL:
        return _after(record, approvals.require_approval(record, verdict, job_hash, window))
    denied = _after(record, lifecycle.deny(verdict))
    return msgspec.structs.replace(denied, error_code="policy_denied", safety_job_hash=job_hash)


def _after(record: JobRecord, change: lifecycle.Change) -> JobRecord:
    """The record as the change leaves it; for jobs whose first state is not PENDING."""
    fields = record_to_hash(record) | dict(change.fields) | {"state": change.to.value}
    for name in change.clear:
        fields.pop(name, None)
    return record_from_hash(record.id, fields)


def _principal(wanted: Submission, submitter: Submitter) -> PrincipalId:
    """Who the job is for: the credential's principal; the body's only where nothing binds and we may believe it."""
    bound, named = submitter.caller.principal, wanted.principal_id or ""
    if bound:
        if named and named != bound:
            raise ApiError("principal_access_denied")
        return bound
    return PrincipalId(named if submitter.trusts_named_principal else "")
