"""Approving and rejecting (spec-gateway section 5, spec-safety section 11).

One script on the record takes a vote, and makes the move if it was the last one needed: of many who decide at the same
time one is the one who did. Publishing follows (see `outcomes`).
"""

from typing import Final

import msgspec
from cap.pb.cordum.agent.v1 import job_pb2

from cordum.bus import messages
from cordum.core.access.caller import Caller
from cordum.core.errors import CordumError
from cordum.core.ids import JobId, TenantId
from cordum.core.jobs import approvals
from cordum.core.jobs.approval_use import votes_of
from cordum.core.jobs.approvals import RESOLVED, Resolution, terms_of
from cordum.core.jobs.quorum import Vote
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.core.policy.decision import Decision, Verdict
from cordum.rpc.kernel_client import KernelClient
from cordum.runtime import metrics
from cordum.runtime.clock import Clock, unix_micros
from cordum.runtime.logging import get_logger
from cordum.services.gateway import protojson
from cordum.services.gateway.approvals.outcomes import Outcomes
from cordum.services.gateway.approvals.standing import must_be_another, must_have_a_say
from cordum.services.gateway.auditing import Auditor
from cordum.services.gateway.errors import ApiError
from cordum.services.gateway.jobs.waiting import Waiting
from cordum.services.gateway.submit.question import question_again
from cordum.store import Cast, Refused, Store

log = get_logger(__name__)

MAX_TEXT: Final = 512  # bytes of a reason or a note
LOCK_WAIT: Final = 2.0
"""Seconds a decision waits for whoever holds the job's lock, or keeps changing it."""
_STEP: Final = 0.02
"""Seconds between looks."""
_ALREADY_SENT: Final = 5_000_000
"""Microseconds the first approver has to publish; a repetition after that does it instead."""
_ENDED_RUNS: Final = frozenset({"succeeded", "failed", "cancelled", "timed_out", "denied"})


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an approval.

    Attributes:
        record: the job as far as known afterwards.
        repeated: somebody had said the same before.
        deferred: the outcome is written but not published yet.
        approvals: how many people have approved; with fewer than `required` the job still waits.
    """

    record: JobRecord
    repeated: bool = False
    deferred: bool = False
    approvals: int = 1
    required: int = 1


class Resolver:
    """Takes a person's word on a parked job."""

    def __init__(
        self,
        *,
        store: Store,
        kernel: KernelClient,
        outcomes: Outcomes,
        auditor: Auditor,
        waiting: Waiting,
        clock: Clock,
    ) -> None:
        self._store = store
        self._kernel = kernel
        self._outcomes = outcomes
        self._auditor = auditor
        self._waiting = waiting
        self._clock = clock

    async def approve(
        self, tenant: TenantId, job_id: JobId, caller: Caller, *, reason: str = "", note: str = ""
    ) -> Resolved:
        """Counts the caller's yes; with the last one needed the job goes on, and is checked once more before it runs.

        Raises:
            ApiError: 404; 403 `self_approval_denied` or `approval_role_required`; 409 when the job does not wait for
                approval, was decided otherwise, is not the job that was parked, belongs to a run that has ended, or the
                policy of today no longer lets it pass.
            KernelUnavailableError: the policy of today is not known.
        """
        patience = self._clock.monotonic() + LOCK_WAIT
        while True:
            record = await self._load(tenant, job_id)
            if record.approval_status == "approved":
                return await self._approved_before(record)
            await self._must_be_open(record, caller)
            if not await self._store.approvals.is_locked(job_id):
                resolved = await self._vote(record, caller, _short(reason), _short(note))
                if resolved is not None:
                    return resolved
            if self._clock.monotonic() >= patience:
                raise ApiError("approval_retryable_lock", extra={"retryable": True})
            await self._clock.sleep(_STEP)

    async def reject(
        self, tenant: TenantId, job_id: JobId, caller: Caller, *, reason: str = "", note: str = ""
    ) -> Resolved:
        """Refuses the job for good: one no is enough. Raises as `approve` does, the policy apart."""
        patience = self._clock.monotonic() + LOCK_WAIT
        while True:
            record = await self._load(tenant, job_id)
            if record.approval_status == "rejected":
                return Resolved(record=record, repeated=True)
            await self._must_be_open(record, caller)
            must_have_a_say(terms_of(record), record.approval_escalated_at, caller)
            if not await self._store.approvals.is_locked(job_id):
                resolved = await self._refuse(record, caller, _short(reason), _short(note))
                if resolved is not None:
                    return resolved
            if self._clock.monotonic() >= patience:
                raise ApiError("approval_retryable_lock", extra={"retryable": True})
            await self._clock.sleep(_STEP)

    async def _vote(self, record: JobRecord, caller: Caller, reason: str, note: str) -> Resolved | None:
        """Casts the vote under the policy of today; None when the job changed meanwhile."""
        job = await self._request(record)
        verdict = await self._todays_verdict(record, job)
        asks = verdict.decision is Decision.REQUIRE_APPROVAL
        must_have_a_say(verdict.approval if asks else terms_of(record), record.approval_escalated_at, caller)
        now = unix_micros(self._clock)
        vote = Vote(who=caller.person, by=caller.name, role=caller.role.value, at=str(now), reason=reason, note=note)
        ballot = approvals.ballot(record, verdict, vote)
        voted = await self._store.jobs.vote(record.id, ballot, now=now)
        if isinstance(voted, Refused):
            return None
        if ballot.refresh:
            await self._note_drift(record, caller, verdict)
        if voted.outcome is not Cast.MADE:
            await self._record(caller, record, "approve_vote", reason, votes=f"{voted.votes}/{ballot.required}")
            log.info("approval recorded", event="approval_recorded", job_id=record.id, by=caller.name)
            waits = msgspec.structs.replace(record, approval_at=now)
            return Resolved(record=waits, approvals=voted.votes, required=ballot.required)
        metrics.APPROVAL_DECISIONS.labels("approved").inc()
        self._observe(record)
        log.info("job approved", event="job_approved", job_id=record.id, tenant=record.tenant, by=caller.name)
        approved = msgspec.structs.replace(record, state=JobState.PENDING, approval_by=caller.name, approval_at=now)
        # Into the log before anything runs, and out onto the bus even when the log cannot take it just now.
        await self._record(caller, record, "approve", reason, votes=f"{voted.votes}/{ballot.required}", verdict=verdict)
        published = await self._outcomes.let_go(approved, job)
        return Resolved(record=approved, deferred=not published, approvals=voted.votes, required=ballot.required)

    async def _refuse(self, record: JobRecord, caller: Caller, reason: str, note: str) -> Resolved | None:
        now = unix_micros(self._clock)
        resolution = Resolution(by=caller.name, role=caller.role.value, reason=reason, note=note, at=now)
        change = approvals.reject(record, resolution)
        if isinstance(await self._store.jobs.apply(record.id, change, now=now, known=record), Refused):
            return None
        metrics.APPROVAL_DECISIONS.labels("denied").inc()
        self._observe(record)
        log.info("job rejected", event="job_rejected", job_id=record.id, tenant=record.tenant, by=caller.name)
        denied = msgspec.structs.replace(
            record,
            state=JobState.DENIED,
            approval_by=caller.name,
            approval_at=now,
            failure_reason=change.fields["failure_reason"],
            error_code=change.fields["error_code"],
            last_state=JobState.APPROVAL_REQUIRED.value,
        )
        await self._record(caller, record, "reject", reason)
        published = await self._outcomes.refused(denied)
        self._waiting.wake(record.id)
        return Resolved(record=denied, deferred=not published)

    async def _load(self, tenant: TenantId, job_id: JobId) -> JobRecord:
        record = await self._store.jobs.get(job_id)
        if record is None or record.tenant != tenant:
            raise ApiError("approval_not_found")
        return record

    async def _must_be_open(self, record: JobRecord, caller: Caller) -> None:
        """Raises ApiError unless the job waits for a person, and for another person than the caller."""
        if record.state is not JobState.APPROVAL_REQUIRED or record.approval_status != "pending":
            raise conflict(record)
        try:
            must_be_another(record, caller)
        except ApiError:
            log.warning("self-approval refused", event="self_approval_denied", job_id=record.id, by=caller.name)
            await self._record(caller, record, "self_approval_denied", "")
            raise
        if await self.run_ended(record):
            raise ApiError("approval_terminal_run")

    async def run_ended(self, record: JobRecord) -> bool:
        """Whether the workflow run a job belongs to has ended."""
        run_id = record.labels.get("run_id", "")
        return bool(run_id) and await self._store.approvals.run_status(run_id) in _ENDED_RUNS

    async def _request(self, record: JobRecord) -> job_pb2.JobRequest:
        """The parked request, if it is still the one the approval is bound to."""
        job = await self.parked_request(record)
        if job is None:
            raise ApiError("approval_stale_request")
        return job

    async def parked_request(self, record: JobRecord) -> job_pb2.JobRequest | None:
        """The request a job was parked with; None when it is gone or is another."""
        stored = await self._store.jobs.request(record.id)
        if stored is None:
            return None
        job = protojson.decode(stored)
        holds = bool(record.safety_job_hash) and messages.job_hash(job) == record.safety_job_hash
        return job if holds else None

    async def verdict_today(self, record: JobRecord, job: job_pb2.JobRequest) -> Verdict:
        """Asks again, as the original requester. Raises KernelUnavailableError."""
        return await self._kernel.check(question_again(job, await self._store.jobs.context(record.id)))

    async def _todays_verdict(self, record: JobRecord, job: job_pb2.JobRequest) -> Verdict:
        """An approval counts for the policy of today or not at all."""
        verdict = await self.verdict_today(record, job)
        if verdict.decision in (Decision.DENY, Decision.THROTTLE):
            raise ApiError(
                "approval_stale_snapshot",
                extra={"decision": verdict.decision.value, "rule_id": verdict.rule_id, "reason": verdict.reason},
            )
        return verdict

    async def _approved_before(self, record: JobRecord) -> Resolved:
        """A repetition; it also sends on what the first one could not."""
        given = len(votes_of(record))
        resolved = Resolved(record=record, repeated=True, approvals=given, required=terms_of(record).required)
        waits = record.approval_publish_status == "pending" and record.state is JobState.PENDING
        if not waits or unix_micros(self._clock) - record.approval_at < _ALREADY_SENT:
            return resolved
        return msgspec.structs.replace(resolved, deferred=not await self._outcomes.publish(record))

    async def _note_drift(self, record: JobRecord, caller: Caller, verdict: Verdict) -> None:
        log.info(
            "the policy has changed since the job was parked",
            event="approval_policy_drift",
            job_id=record.id,
            before=record.safety_snapshot,
            now=verdict.snapshot,
            decision=verdict.decision.value,
        )
        await self._record(caller, record, "approval_refreshed", verdict.reason, verdict=verdict)

    def _observe(self, record: JobRecord) -> None:
        if asked_at := record.approval_requested_at or record.safety_checked_at:
            metrics.APPROVAL_LATENCY.observe(max(0.0, self._clock.now() - asked_at / 1_000_000))

    async def _record(
        self,
        caller: Caller,
        record: JobRecord,
        action: str,
        reason: str,
        *,
        votes: str = "",
        verdict: Verdict | None = None,
    ) -> None:
        """Writes a step down. The step is taken by now: what cannot be written waits, and stops the next caller."""
        extra = {"topic": record.topic, "submitted_by": record.submitted_by, "job_hash": record.safety_job_hash}
        try:
            await self._auditor.record(
                caller,
                action,
                resource_type="approval",
                resource_id=record.id,
                reason=reason,
                decision=verdict.decision.value if verdict else record.safety_decision,
                matched_rule=verdict.rule_id if verdict else record.safety_rule_id,
                snapshot_before=record.safety_snapshot,
                snapshot_after=verdict.snapshot if verdict else record.safety_snapshot,
                extra=extra | ({"approvals": votes} if votes else {}),
                tenant=record.tenant,
            )
        except CordumError as error:
            log.error("audit waits", event="approval_audit_waits", job_id=record.id, action=action, error=error.message)


def conflict(record: JobRecord) -> ApiError:
    """Why a job that does not wait for a person cannot be decided."""
    if record.approval_status in RESOLVED:
        return ApiError("approval_already_resolved", extra={"approval_status": record.approval_status})
    return ApiError("approval_not_actionable", extra={"state": record.state.value})


def _short(text: str) -> str:
    return text if len(text) * 4 <= MAX_TEXT else text.encode()[:MAX_TEXT].decode(errors="ignore")
