"""What is wrong with an approval, if anything, and what would mend it (spec-safety section 11, "repair")."""

from enum import StrEnum

import msgspec

from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.core.policy.decision import Decision


class Repair(StrEnum):
    """The kinds of plans, under the names of the API."""

    REPLAY_PENDING_PUBLISH = "replay_pending_publish"
    APPLY_APPROVED_RESOLUTION = "apply_approved_resolution"
    APPLY_REJECTED_RESOLUTION = "apply_rejected_resolution"
    INVALIDATE_TERMINAL_RUN = "invalidate_terminal_run"
    INVALIDATE_STALE_REQUEST = "invalidate_stale_request"
    INVALIDATE_STALE_SNAPSHOT = "invalidate_stale_snapshot"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the record alone does not say.

    Attributes:
        request_holds: the stored request is the one that was parked.
        run_ended: the workflow run the job belongs to has ended.
        decision: what the policy of today says about the job; None = not asked, or no answer.
    """

    request_holds: bool = True
    run_ended: bool = False
    decision: Decision | None = None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to do."""

    kind: Repair
    reason: str


def plan(record: JobRecord, facts: Facts) -> Plan | None:
    """What to do about an approval; None when nothing is wrong with it.

    What a person has decided comes first: it is carried out, not decided anew.
    """
    if unfinished := unfinished_business(record):
        return unfinished
    if record.state is not JobState.APPROVAL_REQUIRED or record.approval_status != "pending":
        return None
    if facts.run_ended:
        return Plan(
            kind=Repair.INVALIDATE_TERMINAL_RUN,
            reason="the workflow run it belongs to has ended: nobody waits for the answer",
        )
    if not facts.request_holds:
        return Plan(
            kind=Repair.INVALIDATE_STALE_REQUEST,
            reason="the stored request is gone or is not the one that was parked: it can never be approved",
        )
    if facts.decision is Decision.DENY:
        return Plan(
            kind=Repair.INVALIDATE_STALE_SNAPSHOT, reason="the policy in force denies the job: it can never be approved"
        )
    return None


def unfinished_business(record: JobRecord) -> Plan | None:
    """What a person has decided and was not carried out; the record says it all."""
    if record.state is JobState.APPROVAL_REQUIRED:
        match record.approval_status:
            case "approved":
                return Plan(
                    kind=Repair.APPLY_APPROVED_RESOLUTION, reason="the job was approved and still waits for approval"
                )
            case "rejected":
                return Plan(
                    kind=Repair.APPLY_REJECTED_RESOLUTION, reason="the job was rejected and still waits for approval"
                )
            case _:
                return None
    waits = record.state in (JobState.PENDING, JobState.DENIED) and record.approval_publish_status == "pending"
    if waits:
        return Plan(
            kind=Repair.REPLAY_PENDING_PUBLISH,
            reason=f"the decision is written and was not published ({record.approval_publish_target or 'submit'})",
        )
    return None
