"""What a submission may say."""

import msgspec
import pytest

from cordum.services.gateway.errors import ApiError
from cordum.services.gateway.submit import submission
from cordum.services.gateway.submit.submission import Submission


def code_of(caught: pytest.ExceptionInfo[ApiError]) -> str:
    return caught.value.slug


@pytest.mark.parametrize("topic", ["job.default", "job.a.b-c.d_e", "job.A1", "job." + "x" * 252])
def test_topics_that_are_fine(topic: str) -> None:
    assert submission.topic_of(Submission(topic=topic)) == topic


@pytest.mark.parametrize(
    "topic",
    ["job", "job.", "job..a", "job.a.", "jobs.a", "job.a b", "job.*", "job.>", "sys.job.submit", "job.-a", "job.a\n"],
)
def test_topics_that_are_none(topic: str) -> None:
    with pytest.raises(ApiError) as caught:
        submission.topic_of(Submission(topic=topic))
    assert code_of(caught) == "invalid_topic_format"


def test_no_topic_means_the_default_one() -> None:
    assert submission.topic_of(Submission()) == "job.default"


@pytest.mark.parametrize(
    ("prompt", "code"),
    [
        (None, "prompt_is_required"),
        ("", "prompt_is_required"),
        (" \n", "prompt_is_required"),
        ("x" * 50_001, "prompt_too_long"),
    ],
)
def test_a_prompt_is_demanded(prompt: str | None, code: str) -> None:
    with pytest.raises(ApiError) as caught:
        submission.prompt_of(Submission(prompt=prompt))
    assert code_of(caught) == code


def test_labels_of_the_control_plane_are_dropped_or_refused() -> None:
    given = {"a": "1", "_source": "x", "_content.prompt": "y", "Approval_granted": "true", "cordum.bus_msg_id": "z"}
    assert submission.labels_of(Submission(labels=given)) == {"a": "1"}
    for name in ("_governance.x", "_ma.y"):
        with pytest.raises(ApiError) as caught:
            submission.labels_of(Submission(labels={name: "1"}))
        assert code_of(caught) == "reserved_label"
    with pytest.raises(ApiError) as caught:
        submission.labels_of(Submission(labels={str(n): "x" * 4000 for n in range(20)}))
    assert code_of(caught) == "labels_too_long"


def test_a_context_is_kept_as_it_came() -> None:
    decode = msgspec.json.Decoder(Submission).decode
    assert submission.json_of(decode(b'{"context": {"b": 1,  "a": [1e5]}}').context) == b'{"b": 1,  "a": [1e5]}'
    assert submission.json_of(decode(b'{"context": null}').context) == b""
    assert submission.json_of(decode(b"{}").context) == b""
    with pytest.raises(ApiError):
        submission.json_of(decode(b'{"context": "\xff"}').context)


def test_a_delegation_token_is_not_ignored() -> None:
    with pytest.raises(ApiError) as caught:
        submission.refuse_delegation(Submission(delegation_token="x"))
    assert code_of(caught) == "delegation_not_supported"


def test_a_named_secret_is_noticed() -> None:
    assert submission.names_secrets("use secret://vault/db", b"")
    assert submission.names_secrets("", b'{"password": "secret://db"}')
    assert not submission.names_secrets("keep it secret", b"{}")


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": 1},
        {"labels": {"a": 1}},
        {"priority": "urgent"},
        {"deadline_ms": -1},
        {"risk_tags": ["x" * 129]},
        {"labels": {str(n): "" for n in range(51)}},
    ],
)
def test_bounds_hold_for_grpc_as_for_json(fields: dict[str, object]) -> None:
    with pytest.raises(ApiError) as caught:
        submission.checked_again(fields)
    assert code_of(caught) == "invalid_request"
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(fields), type=Submission)
