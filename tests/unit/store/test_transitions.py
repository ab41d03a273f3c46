"""Changes as commands, and answers as outcomes."""

import pytest

from cordum.core.ids import JobId, Micros, TenantId, Topic
from cordum.core.jobs import lifecycle
from cordum.core.jobs.record import JobRecord, record_to_hash
from cordum.core.jobs.states import JobState
from cordum.core.policy.decision import Budgets, Constraints
from cordum.store import scripts, transitions
from cordum.store.errors import StoreReplyError
from cordum.store.transitions import Refused

JOB = JobId("j")


def test_a_record_is_written_as_core_says() -> None:
    record = JobRecord(
        id=JOB,
        state=JobState.RUNNING,
        tenant=TenantId("t"),
        topic=Topic("job.x"),
        attempts=3,
        labels={"a": "b"},
        risk_tags=("x",),
        safety_constraints=Constraints(budgets=Budgets(max_retries=2)),
        safety_approval_required=True,
    )
    flat = transitions.record_fields(record)
    assert dict(zip(flat[::2], flat[1::2], strict=True)) == record_to_hash(record)


def test_the_end_of_a_job_clears_its_deadline() -> None:
    command = transitions.transition(JOB, lifecycle.cancel(""), Micros(5), 60)
    assert command[:7] == ("EVALSHA", scripts.TRANSITION.sha, 1, "job:meta:j", 60, 5, "CANCELLED")
    assert command[-2:] == ("pending_reason", "deadline_unix")


def test_a_missing_job_is_refused() -> None:
    assert transitions.read_transition(["missing"]) == (Refused(state=None, why="missing"), None)


@pytest.mark.parametrize("reply", [None, 1, "x", []])
def test_an_answer_of_another_kind_is_an_error(reply: int | str | list[str] | None) -> None:
    with pytest.raises(StoreReplyError):
        transitions.read_transition(reply)  # type: ignore[arg-type]


@pytest.mark.parametrize("reply", [None, [None] * 5, ["NONSENSE", "t", "1", None, None]])
def test_no_record_has_no_standing(reply: list[str] | None) -> None:
    assert transitions.read_standing(reply) is None  # type: ignore[arg-type]
