"""Which compensation a job leaves, and under which names it runs."""

import hashlib
from typing import Any

import pytest
from cap.pb.cordum.agent.v1 import job_pb2

from cordum.bus import BadPacketError
from cordum.core.ids import JobId, TenantId
from cordum.core.jobs import saga
from cordum.core.jobs.saga import ForeignCompensationError, Saga
from cordum.services.scheduler import compensations

BOOKING = Saga(TenantId("acme"), "booking")
JOB = JobId("job-1")


def request(**changes: Any) -> job_pb2.JobRequest:
    made = job_pb2.JobRequest(
        job_id=JOB,
        topic="job.book",
        priority=job_pb2.JOB_PRIORITY_BATCH,
        context_ptr="redis://ctx:job-1",
        tenant_id="acme",
        principal_id="alice",
        workflow_id="booking",
        step_index=2,
        env={"tenant_id": "acme", "team_id": "red", "CORDUM_EFFECTIVE_CONFIG": "{}"},
        labels={"colour": "blue", "approval_granted": "true", "cordum.bus_msg_id": "x", "safety_bypassed": "true"},
        meta=job_pb2.JobMetadata(tenant_id="acme", capability="book", risk_tags=["money"], actor_id="alice"),
        budget=job_pb2.Budget(max_input_tokens=5),
        compensation=job_pb2.Compensation(topic="unbook", env={"why": "rollback"}, labels={"colour": "red"}),
    )
    made.MergeFrom(job_pb2.JobRequest(**changes))
    return made


def made_of(asked: job_pb2.JobRequest, wanted: Saga = BOOKING) -> job_pb2.JobRequest:
    return compensations.submission(compensations.template(asked, wanted, JOB), wanted)


def test_a_compensation_is_the_jobs_own_request_turned_round() -> None:
    made = made_of(request())
    assert (made.topic, made.parent_job_id, made.workflow_id) == ("job.unbook", JOB, "booking")
    assert made.priority == job_pb2.JOB_PRIORITY_CRITICAL
    assert (made.tenant_id, made.meta.tenant_id, made.env["tenant_id"]) == ("acme", "acme", "acme")
    assert (made.context_ptr, made.principal_id, made.budget.max_input_tokens) == ("redis://ctx:job-1", "alice", 5)
    assert not made.HasField("compensation")
    assert made.labels["saga_compensation"] == made.env["saga_compensation"] == "true"
    assert made.labels["is_compensation"] == made.env["is_compensation"] == "true"
    assert made.labels["saga_workflow_id"] == made.env["saga_workflow_id"] == "booking"


def test_what_it_brings_itself_wins_and_the_rest_is_merged() -> None:
    asked = request(
        compensation=job_pb2.Compensation(
            context_ptr="redis://ctx:other",
            principal_id="undoer",
            budget=job_pb2.Budget(deadline_ms=9),
            meta=job_pb2.JobMetadata(capability="unbook", risk_tags=["undo"], idempotency_key="mine"),
        )
    )
    made = made_of(asked)
    assert (made.context_ptr, made.principal_id) == ("redis://ctx:other", "undoer")
    assert (made.budget.deadline_ms, made.budget.max_input_tokens) == (9, 0)
    assert list(made.meta.risk_tags) == ["money", "undo"]
    assert (made.meta.capability, made.meta.actor_id, made.meta.idempotency_key) == ("unbook", "alice", "mine")
    assert (made.labels["colour"], made.env["why"], made.env["team_id"]) == ("red", "rollback", "red")


def test_no_approval_and_nothing_of_the_jobs_own_way_is_taken_over() -> None:
    asked = request(compensation=job_pb2.Compensation(labels={"Approval_Granted": "true"}, env={"CORDUM_X": "1"}))
    made = made_of(asked)
    assert set(made.labels) == {"colour", "saga_compensation", "is_compensation", "saga_workflow_id"}
    assert not [name for name in made.env if name.startswith("CORDUM_")]


@pytest.mark.parametrize(
    "compensation",
    [
        job_pb2.Compensation(tenant_id="other"),
        job_pb2.Compensation(env={"tenant_id": "other"}),
        job_pb2.Compensation(meta=job_pb2.JobMetadata(tenant_id="other")),
    ],
)
def test_a_compensation_never_leaves_the_tenant_of_its_job(compensation: job_pb2.Compensation) -> None:
    with pytest.raises(BadPacketError, match="tenant"):
        compensations.template(request(compensation=compensation), BOOKING, JOB)
    with pytest.raises(ForeignCompensationError):
        saga.check_tenant(TenantId("acme"), "", "acme", "other")


def test_an_entry_of_another_tenants_saga_is_not_run() -> None:
    entry = compensations.template(request(), BOOKING, JOB)
    with pytest.raises(BadPacketError):
        compensations.submission(entry, Saga(TenantId("other"), "booking"))
    with pytest.raises(BadPacketError):
        compensations.submission(b"\xff\xff", BOOKING)
    with pytest.raises(BadPacketError):
        compensations.submission(b"", BOOKING)


def test_the_same_job_always_leaves_the_same_bytes_and_is_undone_under_the_same_name() -> None:
    one, again = (compensations.template(request(), BOOKING, JOB) for _ in range(2))
    assert one == again
    assert made_of(request()).job_id == made_of(request()).job_id
    assert saga.compensation_id(BOOKING, "job-2") != saga.compensation_id(BOOKING, JOB)
    assert saga.compensation_id(Saga(TenantId("other"), "booking"), JOB) != saga.compensation_id(BOOKING, JOB)


def test_the_idempotency_key_is_of_workflow_job_topic_capability_and_step() -> None:
    key = made_of(request()).meta.idempotency_key
    # sha256("booking|job-1|job.unbook|book|2")
    assert key == "saga:" + hashlib.sha256(b"booking|job-1|job.unbook|book|2").hexdigest()[:32]
    first = saga.idempotency_key(" booking ", "job-1", "job.unbook", "book", 0)
    assert first == saga.idempotency_key("booking", "job-1", "job.unbook", "book", 0) != key


def test_only_a_job_of_a_workflow_that_is_no_compensation_leaves_one() -> None:
    assert compensations.left_by(request()) == "job.unbook"
    assert compensations.left_by(request(labels={"is_compensation": "true"})) == ""
    without = request()
    without.workflow_id = ""
    assert compensations.left_by(without) == ""
    without.labels["workflow_id"] = "labelled"
    assert compensations.left_by(without) == "job.unbook"
    without.ClearField("compensation")
    assert compensations.left_by(without) == ""
