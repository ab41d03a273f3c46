"""What is wrong with an approval, told from its record and a few facts."""

from typing import Any

import pytest

from cordum.core.ids import JobId
from cordum.core.jobs.approval_repair import Facts, Repair, plan
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.core.policy.decision import Decision

PARKED = JobState.APPROVAL_REQUIRED


def record(state: JobState = PARKED, status: str = "pending", publish: str = "", target: str = "") -> JobRecord:
    return JobRecord(
        id=JobId("j"),
        state=state,
        approval_status=status,
        approval_publish_status=publish,
        approval_publish_target=target,
    )


@pytest.mark.parametrize(
    ("found", "facts", "kind"),
    [
        (record(), {}, None),
        (record(JobState.RUNNING, "approved", "published", "submit"), {}, None),
        (record(JobState.PENDING, "approved", "pending", "submit"), {}, Repair.REPLAY_PENDING_PUBLISH),
        (record(JobState.DENIED, "rejected", "pending", "dlq"), {}, Repair.REPLAY_PENDING_PUBLISH),
        (record(JobState.RUNNING, "approved", "pending", "submit"), {}, None),
        (record(status="approved"), {}, Repair.APPLY_APPROVED_RESOLUTION),
        (record(status="rejected"), {}, Repair.APPLY_REJECTED_RESOLUTION),
        (record(), {"run_ended": True}, Repair.INVALIDATE_TERMINAL_RUN),
        (record(), {"request_holds": False}, Repair.INVALIDATE_STALE_REQUEST),
        (record(), {"decision": Decision.DENY}, Repair.INVALIDATE_STALE_SNAPSHOT),
        (record(), {"decision": Decision.THROTTLE}, None),
        (record(), {"decision": Decision.ALLOW}, None),
        (record(JobState.TIMEOUT, "expired"), {"request_holds": False}, None),
    ],
)
def test_what_is_wrong_is_told_by_one_plan(found: JobRecord, facts: dict[str, Any], kind: Repair | None) -> None:
    told = plan(found, Facts(**facts))
    assert (told.kind if told else None) is kind
    assert told is None or told.reason


def test_a_decision_made_is_carried_out_whatever_else_is_wrong() -> None:
    told = plan(record(status="rejected"), Facts(run_ended=True, request_holds=False, decision=Decision.DENY))
    assert told is not None and told.kind is Repair.APPLY_REJECTED_RESOLUTION
