"""What messages mean: submits that are refused, questions to the kernel, results as moves."""

import json

import pytest
from cap.pb.cordum.agent.v1 import job_pb2

from cordum.bus import BadPacketError, envelope
from cordum.core.ids import JobId, TraceId
from cordum.core.jobs import retry
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.rpc.content import MAX_PROMPT_LABEL
from cordum.services.scheduler.announcing import Ending
from cordum.services.scheduler.question import policy_question
from cordum.services.scheduler.results import change_for
from cordum.services.scheduler.submit import check_request
from cordum.services.scheduler.ticket import Ticket


def submitted(**fields: object) -> job_pb2.JobRequest:
    return job_pb2.JobRequest(**{"job_id": "j", "topic": "job.work", "tenant_id": "acme", **fields})


def ticket(request: job_pb2.JobRequest, context: bytes | None) -> Ticket:
    packet = envelope.packet("someone", "trace", 1.0)
    packet.job_request.CopyFrom(request)
    return Ticket(packet, JobRecord(id=JobId("j"), state=JobState.PENDING), context=context, received_at=0.0)


def result(status: int, **fields: object) -> job_pb2.JobResult:
    return job_pb2.JobResult(**{"job_id": "j", "worker_id": "w", "status": status, **fields})


def test_a_job_names_one_tenant_or_none() -> None:
    assert check_request(submitted(env={"tenant_id": "acme"}, meta={"tenant_id": "acme"})) == "acme"
    assert check_request(submitted(tenant_id="")) == "default"
    with pytest.raises(BadPacketError, match="two tenants"):
        check_request(submitted(env={"tenant_id": "other"}))


@pytest.mark.parametrize("fields", [{"job_id": ""}, {"topic": ""}, {"step_index": -1}])
def test_a_request_that_breaks_cap_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(BadPacketError, match="invalid job request"):
        check_request(submitted(**fields))


def test_the_kernel_sees_the_jobs_words_and_the_worker_does_not() -> None:
    asked = ticket(submitted(labels={"a": "1"}), b'{"prompt":"hello","context":{"x":[1]}}')

    question = policy_question(asked)

    assert dict(question.labels) == {
        "a": "1",
        "_content.prompt": "hello",
        "_content.payload_json": '{"x":[1]}',
    }
    assert question.input_content == b'{"prompt":"hello","context":{"x":[1]}}'
    assert question.input_size_bytes == 38
    assert dict(asked.request.labels) == {"a": "1"}


def test_labels_that_claim_an_approval_are_not_asked_with() -> None:
    labels = {"approval_granted": "true", "Approval_Snapshot": "x", "cordum.bus_msg_id": "y", "kept": "1"}
    labels |= {"_content.prompt": "harmless", "_Content.payload_json": "{}"}

    question = policy_question(ticket(submitted(labels=labels), None))

    assert dict(question.labels) == {"kept": "1"}


@pytest.mark.parametrize(
    ("context", "shown"),
    [(b"[1]", "[1]"), (b'{"prompt": 1}', '{"prompt": 1}'), (b"\xff", "\ufffd")],
)
def test_an_input_the_gateway_did_not_write_is_shown_whole(context: bytes, shown: str) -> None:
    assert dict(policy_question(ticket(submitted(), context)).labels) == {"_content.payload_json": shown}


def test_what_is_too_large_for_a_label_is_cut_or_left_out() -> None:
    prompt = "é" * MAX_PROMPT_LABEL

    labels = policy_question(ticket(submitted(), json.dumps({"prompt": prompt, "context": prompt}).encode())).labels

    assert labels["_content.prompt"] == "é" * (MAX_PROMPT_LABEL // 2)
    assert "_content.payload_json" not in labels


def test_a_success_is_fenced_by_worker_and_by_the_dispatch_it_names() -> None:
    plain = change_for(result(job_pb2.JOB_STATUS_SUCCEEDED, result_ptr="redis://res:j"), False)
    named = change_for(result(job_pb2.JOB_STATUS_SUCCEEDED, dispatch={"dispatch_id": "d"}), False)

    assert (plain.to, plain.fence, plain.fields) == (
        JobState.SUCCEEDED,
        {"worker_id": "w"},
        {"result_ptr": "redis://res:j"},
    )
    assert named.fence == {"worker_id": "w", "dispatch_id": "d"}


@pytest.mark.parametrize("pointer", ["redis://cfg:system:default", "redis://session:worker:w", "http://x", "res:j"])
def test_a_pointer_to_anything_but_a_payload_is_dropped(pointer: str) -> None:
    change = change_for(result(job_pb2.JOB_STATUS_SUCCEEDED, result_ptr=pointer), False)

    assert "result_ptr" not in change.fields


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (job_pb2.JOB_STATUS_FAILED, JobState.FAILED),
        (job_pb2.JOB_STATUS_FAILED_FATAL, JobState.FAILED),
        (job_pb2.JOB_STATUS_DENIED, JobState.FAILED),
        (job_pb2.JOB_STATUS_CANCELLED, JobState.CANCELLED),
        (job_pb2.JOB_STATUS_TIMEOUT, JobState.TIMEOUT),
    ],
)
def test_every_other_end_says_why(status: int, state: JobState) -> None:
    change = change_for(result(status, error_message="boom", error_code="x1"), False)

    assert change.to is state
    assert (change.fields["failure_reason"], change.fields["error_code"]) == ("boom", "x1")


def test_another_try_is_given_while_there_is_one() -> None:
    wish = result(job_pb2.JOB_STATUS_FAILED_RETRYABLE, error_message="busy")

    again, over = change_for(wish, True), change_for(wish, False)

    assert again.to is JobState.RETRYING and "dispatch_id" in again.clear
    assert over.to is JobState.FAILED
    assert over.fields["failure_reason"] == "max retries exceeded: busy"
    assert over.fields["error_code"] == "max_retries_exceeded"


def test_an_ending_is_told_in_a_way_strict_validators_accept() -> None:
    record = JobRecord(id=JobId("j"), state=JobState.RUNNING, trace_id=TraceId("t"))
    packet = envelope.packet("cordum-scheduler", "t", 1.0)

    packet.job_result.CopyFrom(Ending(record, JobState.TIMEOUT, reason="late", code="timeout").as_result())

    assert envelope.encode(packet)
    assert packet.job_result.error_code_enum == job_pb2.ERROR_CODE_JOB_TIMEOUT


@pytest.mark.seed("S168")
def test_an_undecided_job_is_tried_ever_more_seldom_and_at_least_every_five_seconds() -> None:
    assert [retry.safety_delay(tries) for tries in range(6)] == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    assert retry.safety_delay(1000) == 5.0
