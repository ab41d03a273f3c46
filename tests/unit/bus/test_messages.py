"""Message ids and the job hash."""

import pytest
from cap.pb.cordum.agent.v1 import job_pb2

from cordum.bus import messages, subjects


def request(**fields: object) -> job_pb2.JobRequest:
    wanted = {"job_id": "j1", "topic": "job.default", "labels": {"team": "a"}, "env": {"X": "1"}} | fields
    return job_pb2.JobRequest(**wanted)


def test_each_way_of_a_job_has_its_own_message_id() -> None:
    ids = {
        messages.msg_id_submit("j1"),
        messages.msg_id_approved(subjects.JOB_SUBMIT, "j1"),
        messages.msg_id_request("j1", "d1"),
        messages.msg_id_request("j1", "d2"),
        messages.msg_id_result(subjects.JOB_RESULT, "j1"),
        messages.msg_id_result(subjects.JOB_DLQ, "j1"),
        messages.msg_id_result(subjects.JOB_DLQ, "j1", 2),
    }
    assert len(ids) == 7
    assert messages.msg_id_submit("j1") == "jobreq:j1"
    assert messages.msg_id_approved(subjects.JOB_SUBMIT, "j1") == "jobreq:sys.job.submit:approval:j1"
    assert messages.msg_id_request("j1", "d2") == "jobreq:j1:d2"
    assert messages.msg_id_result(subjects.JOB_RESULT, "j1") == "sys.job.result:j1"


def test_the_hash_is_64_hex_digits_and_leaves_the_request_alone() -> None:
    asked = request(labels={"approval_granted": "true"})
    digest = messages.job_hash(asked)
    assert len(digest) == 64 and int(digest, 16)
    assert asked.labels == {"approval_granted": "true"}


@pytest.mark.parametrize(
    "added",
    [
        {"labels": {"team": "a", "approval_granted": "true", "Approval_Snapshot": "x"}},
        {"labels": {"team": "a", "cordum.bus_msg_id": "approval:j1", "policy.attachment_id": "p"}},
        {"env": {"X": "1", "CORDUM_EFFECTIVE_CONFIG": "{}"}},
    ],
)
def test_what_the_control_plane_adds_does_not_change_the_hash(added: dict[str, object]) -> None:
    assert messages.job_hash(request(**added)) == messages.job_hash(request())


def test_fields_this_cap_does_not_know_do_not_change_the_hash() -> None:
    unknown = bytes((0xC2, 0x3E, 1)) + b"x"  # field 1000, length 1
    asked = job_pb2.JobRequest.FromString(request().SerializeToString() + unknown)
    assert asked != request()
    assert messages.job_hash(asked) == messages.job_hash(request())


@pytest.mark.parametrize(
    "changed",
    [
        {"topic": "job.other"},
        {"context_ptr": "redis://ctx:other"},
        {"labels": {"team": "b"}},
        {"env": {"X": "2"}},
        {"tenant_id": "other"},
    ],
)
def test_what_is_asked_for_changes_the_hash(changed: dict[str, object]) -> None:
    assert messages.job_hash(request(**changed)) != messages.job_hash(request())
