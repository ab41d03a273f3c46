"""What constraints do to the request, the deadline and the number of tries."""

import json

from cap.pb.cordum.agent.v1 import job_pb2

from cordum.core.ids import JobId, Micros, Topic
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.core.policy.decision import Budgets, Constraints, Sandbox
from cordum.core.routing.timeouts import TimeoutsConfig, TopicTimeouts
from cordum.services.scheduler.constraints import constrain, deadline_at_dispatch, tries_of

NOW = Micros(10_000_000)
NONE = Constraints()


def record(created_at: int = 1_000_000, deadline: int = 0) -> JobRecord:
    return JobRecord(
        id=JobId("j"),
        state=JobState.PENDING,
        topic=Topic("job.work"),
        created_at=Micros(created_at),
        deadline_unix=Micros(deadline),
    )


def runtime(milliseconds: int) -> Constraints:
    return Constraints(budgets=Budgets(max_runtime_ms=milliseconds))


def test_constraints_are_written_for_the_worker() -> None:
    request = job_pb2.JobRequest(job_id="j")

    constrain(
        request,
        Constraints(
            budgets=Budgets(max_runtime_ms=500, max_retries=2, max_artifact_bytes=9, max_concurrent_jobs=4),
            sandbox=Sandbox(isolated=True),
            redaction_level="strict",
        ),
    )

    assert request.env["CORDUM_REDACTION_LEVEL"] == "strict"
    assert request.env["CORDUM_MAX_ARTIFACT_BYTES"] == "9"
    assert request.env["CORDUM_MAX_CONCURRENT_JOBS"] == "4"
    assert request.env["CORDUM_MAX_RETRIES"] == "2"
    written = json.loads(request.env["CORDUM_POLICY_CONSTRAINTS"])
    assert written["sandbox"] == {"isolated": True}
    assert written["budgets"]["maxRuntimeMs"] == "500"
    assert request.budget.deadline_ms == 500


def test_the_shorter_of_two_budgets_holds() -> None:
    short, long = job_pb2.JobRequest(), job_pb2.JobRequest()
    short.budget.deadline_ms, long.budget.deadline_ms = 100, 9_000

    constrain(short, runtime(500))
    constrain(long, runtime(500))

    assert (short.budget.deadline_ms, long.budget.deadline_ms) == (100, 500)


def test_what_a_submitter_put_into_our_variables_is_removed() -> None:
    request = job_pb2.JobRequest(env={"CORDUM_MAX_RETRIES": "99", "CORDUM_POLICY_CONSTRAINTS": "{}", "mine": "1"})

    constrain(request, NONE)

    assert dict(request.env) == {"mine": "1"}


def test_the_deadline_is_the_earliest_of_what_is_asked_and_allowed() -> None:
    request = job_pb2.JobRequest()
    assert deadline_at_dispatch(record(), request, NONE, NOW) == 0
    assert deadline_at_dispatch(record(), request, runtime(1_000), NOW) == NOW + 1_000_000
    assert deadline_at_dispatch(record(deadline=10_500_000), request, runtime(1_000), NOW) == 10_500_000

    request.budget.deadline_ms = 9_200  # counted from the submission

    assert deadline_at_dispatch(record(), request, runtime(1_000), NOW) == 10_200_000
    assert deadline_at_dispatch(record(), request, NONE, NOW) == 10_200_000


def test_tries_come_from_the_policy_else_the_topic_else_the_default() -> None:
    timeouts = TimeoutsConfig(topics={Topic("job.work"): TopicTimeouts(max_retries=4)})
    limited = Constraints(budgets=Budgets(max_retries=1))

    assert tries_of(record(), limited, timeouts) == 2
    assert tries_of(record(), NONE, timeouts) == 5
    assert tries_of(record(), None, TimeoutsConfig()) == 3
