"""The life of an approval, as data: asked for, escalated, given, refused, expired, used (spec-safety section 11).

An approval belongs to one job, to what the job asks for (its hash) and to the policy's demand it answers. It is used up
by one dispatch. What runs out, runs out by the fields written when the job was parked.
"""

from enum import Enum
from typing import Final

import msgspec

from cordum.core.ids import Micros
from cordum.core.jobs.lifecycle import Change
from cordum.core.jobs.quorum import Vote
from cordum.core.jobs.record import JobRecord, hash_value, verdict_fields
from cordum.core.jobs.states import JobState, states_before
from cordum.core.policy.decision import ONE_APPROVAL, ApprovalTerms, Decision, Verdict

RESOLVED: Final = frozenset({"approved", "rejected", "expired", "invalidated", "repaired"})
"""Every `approval_status` but `pending`."""

_OPEN: Final = frozenset({JobState.APPROVAL_REQUIRED})
_ANSWER: Final = [
    "approval_decision",
    "approval_by",
    "approval_role",
    "approval_at",
    "approval_reason",
    "approval_note",
    "approval_policy_snapshot",
    "approval_job_hash",
    "approval_publish_status",
    "approval_publish_target",
    "approval_published_at",
    "approval_votes",
    "approval_escalated_at",
    "approval_dispatch_id",
]
"""Fields of an answer: a new request starts without them."""


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """How long a request stays open, in seconds.

    Attributes:
        usual: when the policy does not say; 0 = as long as may be.
        longest: the job's record is not kept for longer, so nothing may wait for longer either; 0 = no such bound.
    """

    usual: float = 0
    longest: float = 0

    def seconds(self, terms: ApprovalTerms) -> float:
        """How long a request under these terms stays open; 0 = for ever."""
        wanted = terms.expires_after_s or self.usual or self.longest
        return min(wanted, self.longest) if self.longest else wanted


UNBOUNDED: Final = Window()


def terms_of(record: JobRecord) -> ApprovalTerms:
    """The terms a job was parked under."""
    return record.approval_terms or ONE_APPROVAL


def require_approval(record: JobRecord, verdict: Verdict, job_hash: str, window: Window = UNBOUNDED) -> Change:
    """Policy wants a person's word: the job is parked, bound to what it asks for and to the policy that asked."""
    return Change(
        to=JobState.APPROVAL_REQUIRED,
        allowed_from=states_before(JobState.APPROVAL_REQUIRED),
        fields=verdict_fields(verdict) | _request_fields(record, verdict, job_hash, window),
        clear=("pending_reason",),
        trail=(JobState.APPROVAL_REQUIRED,),
    )


def _request_fields(record: JobRecord, verdict: Verdict, job_hash: str, window: Window) -> dict[str, str]:
    """The fields of a fresh, open request."""
    terms, now = verdict.approval, verdict.checked_at
    open_for = window.seconds(terms)
    return dict.fromkeys(_ANSWER, "") | {
        "safety_approval_required": "true",
        "safety_approval_ref": record.id,
        "safety_job_hash": job_hash,
        "approval_status": "pending",
        "approval_actionability": "actionable",
        "approval_revision": str(record.approval_revision + 1),
        "approval_terms": _terms_field(terms),
        "approval_requested_at": _moment(now),
        "approval_expires_at": _moment(_after(now, open_for)) if open_for else "",
        "approval_escalate_at": _moment(_after(now, terms.escalate_after_s)) if _escalates(terms) else "",
    }


def _escalates(terms: ApprovalTerms) -> bool:
    return terms.escalate_after_s > 0 and bool(terms.escalate_to)


class Resolution(msgspec.Struct, frozen=True, kw_only=True):
    """A person's word on a parked job."""

    by: str
    role: str
    reason: str = ""
    note: str = ""
    at: Micros


def approve(record: JobRecord, resolution: Resolution) -> Change:
    """Enough people agree: the job may go on; the scheduler checks it once more before it runs."""
    return Change(
        to=JobState.PENDING,
        allowed_from=_OPEN,
        fence=open_request(record),
        fields=_resolution_fields(record, resolution)
        | {
            "approval_status": "approved",
            "approval_decision": "approve",
            "approval_publish_status": "pending",
            "approval_publish_target": "submit",
            "safety_approval_required": "",
        },
        trail=(JobState.PENDING,),
    )


class Ballot(msgspec.Struct, frozen=True, kw_only=True):
    """One vote, to be cast in one step: it is counted, and whoever's vote is the last one needed decides.

    Attributes:
        required: how many different people it takes.
        refresh: fields to write first, whether or not this vote decides: what the policy of today says.
        granted: the move if this vote decides.
    """

    vote: Vote
    required: int
    refresh: dict[str, str]
    granted: Change


def ballot(record: JobRecord, verdict: Verdict, vote: Vote) -> Ballot:
    """A vote for a job under the policy of today, which does not refuse it.

    Votes given to another demand (another rule, other terms) do not count for this one. When the policy no longer asks
    for approval, one vote is enough.
    """
    refresh = _refresh(record, verdict)
    today = msgspec.structs.replace(record, safety_snapshot=verdict.snapshot, safety_rule_id=verdict.rule_id)
    asks = verdict.decision is Decision.REQUIRE_APPROVAL
    resolution = Resolution(by=vote.by, role=vote.role, reason=vote.reason, note=vote.note, at=Micros(int(vote.at)))
    granted = approve(today, resolution)
    # The demand must still be the one that was read, or two policies could each get half of the votes.
    fence = open_request(record) | {
        "safety_snapshot": record.safety_snapshot,
        "approval_escalated_at": _moment(record.approval_escalated_at),
    }
    return Ballot(
        vote=vote,
        required=max(verdict.approval.required, 1) if asks else 1,
        refresh=refresh,
        granted=msgspec.structs.replace(granted, fence=fence),
    )


def _refresh(record: JobRecord, verdict: Verdict) -> dict[str, str]:
    same_demand = (
        verdict.decision is Decision.REQUIRE_APPROVAL
        and record.safety_rule_id == verdict.rule_id
        and terms_of(record) == verdict.approval
    )
    if same_demand and record.safety_snapshot == verdict.snapshot:
        return {}
    fields = verdict_fields(verdict) | {"safety_approval_required": "true"}
    if not same_demand:
        fields |= {"approval_votes": "", "approval_terms": _terms_field(verdict.approval)}
    return fields


def reject(record: JobRecord, resolution: Resolution) -> Change:
    """The parked job is refused for good: one no is enough."""
    why = f"approval rejected: {resolution.reason}" if resolution.reason else "approval rejected"
    return Change(
        to=JobState.DENIED,
        allowed_from=_OPEN,
        fence=open_request(record),
        fields=_resolution_fields(record, resolution)
        | _refusal(record, why, "approval_rejected")
        | {"approval_status": "rejected", "approval_decision": "reject"},
        trail=(JobState.DENIED,),
    )


def invalidate(record: JobRecord, reason: str, at: Micros) -> Change:
    """Nobody can decide this any more: the request, the run or the policy it belonged to is gone."""
    return Change(
        to=JobState.DENIED,
        allowed_from=_OPEN,
        fence=open_request(record),
        fields=_refusal(record, f"approval invalidated: {reason}", "approval_invalidated")
        | {
            "approval_status": "invalidated",
            "approval_decision": "invalidate",
            "approval_actionability": "invalidated",
            "approval_at": str(at),
        },
        trail=(JobState.DENIED,),
    )


def expire(record: JobRecord, at: Micros, *, reason: str, code: str = "approval_expired") -> Change:
    """Nobody decided in time."""
    return Change(
        to=JobState.TIMEOUT,
        allowed_from=_OPEN,
        fence=open_request(record),
        fields={
            "approval_status": "expired",
            "approval_decision": "expire",
            "approval_actionability": "expired",
            "approval_at": str(at),
            "safety_approval_required": "",
            "failure_reason": reason,
            "error_code": code,
            "error_status": "JOB_STATUS_TIMEOUT",
            "last_state": record.state.value,
        },
        clear=("pending_reason",),
        trail=(JobState.TIMEOUT,),
    )


def escalate(record: JobRecord, at: Micros) -> Change:
    """Nobody decided soon enough: from now on the roles of `escalate_to` may decide, too. It happens once."""
    return Change(
        to=JobState.APPROVAL_REQUIRED,
        allowed_from=_OPEN,
        fence=open_request(record) | {"approval_escalated_at": ""},
        fields={"approval_escalated_at": str(at)},
        trail=(JobState.APPROVAL_REQUIRED,),
    )


def finish_approved(record: JobRecord) -> Change:
    """Mends a job that was approved and not let go."""
    return Change(
        to=JobState.PENDING,
        allowed_from=_OPEN,
        fence={"approval_status": "approved", "approval_revision": str(record.approval_revision or "")},
        fields={
            "approval_status": "approved",
            "approval_actionability": "resolved",
            "approval_publish_status": "pending",
            "approval_publish_target": "submit",
            "safety_approval_required": "",
        },
        trail=(JobState.PENDING,),
    )


def finish_rejected(record: JobRecord) -> Change:
    """Mends a job that was rejected and not ended."""
    why = f"approval rejected: {record.approval_reason}" if record.approval_reason else "approval rejected"
    return Change(
        to=JobState.DENIED,
        allowed_from=_OPEN,
        fence={"approval_status": "rejected", "approval_revision": str(record.approval_revision or "")},
        fields=_refusal(record, why, "approval_rejected")
        | {"approval_status": "rejected", "approval_actionability": "resolved"},
        trail=(JobState.DENIED,),
    )


def published(at: Micros) -> dict[str, str]:
    """Fields to write once an approval's outcome is on the bus."""
    return {"approval_publish_status": "published", "approval_published_at": hash_value(at)}


class Due(Enum):
    """What time does to an open request."""

    NOTHING = "nothing"
    ESCALATE = "escalate"
    EXPIRE = "expire"


def due(record: JobRecord, now: Micros) -> Due:
    """What is to be done about a request now."""
    if record.state is not JobState.APPROVAL_REQUIRED or record.approval_status != "pending":
        return Due.NOTHING
    if 0 < record.approval_expires_at <= now:
        return Due.EXPIRE
    if 0 < record.approval_escalate_at <= now and not record.approval_escalated_at:
        return Due.ESCALATE
    return Due.NOTHING


def lapses_at(record: JobRecord) -> Micros:
    """When an open request ends by itself: its own time or the job's deadline, whichever is first; 0 = never."""
    return min((at for at in (record.approval_expires_at, record.deadline_unix) if at), default=Micros(0))


def open_request(record: JobRecord) -> dict[str, str]:
    """What must still hold for a word on this request to count."""
    return {"approval_status": "pending", "approval_revision": str(record.approval_revision or "")}


def _resolution_fields(record: JobRecord, resolution: Resolution) -> dict[str, str]:
    return {
        "approval_by": resolution.by,
        "approval_role": resolution.role,
        "approval_at": str(resolution.at),
        "approval_reason": resolution.reason,
        "approval_note": resolution.note,
        "approval_policy_snapshot": record.safety_snapshot,
        "approval_job_hash": record.safety_job_hash,
        "approval_actionability": "resolved",
    }


def _refusal(record: JobRecord, why: str, code: str) -> dict[str, str]:
    return {
        "approval_publish_status": "pending",
        # Whoever waits for a gate waits for its result, not for a dead letter.
        "approval_publish_target": "dlq_and_result" if record.labels.get("gate_type") else "dlq",
        "safety_approval_required": "",
        "failure_reason": why,
        "error_code": code,
        "error_status": "JOB_STATUS_DENIED",
        "last_state": record.state.value,
    }


def _terms_field(terms: ApprovalTerms) -> str:
    return "" if terms == ONE_APPROVAL else hash_value(terms)


def _after(now: Micros, seconds: float) -> Micros:
    return Micros(now + int(seconds * 1_000_000))


def _moment(at: Micros) -> str:
    return str(at) if at else ""
