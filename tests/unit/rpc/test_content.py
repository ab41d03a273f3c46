"""A job's own words in a question: all of them, as they are meant, and how many there are."""

import json

import pytest
from cap.pb.cordum.agent.v1 import safety_pb2

from cordum.rpc.content import MAX_CONTENT, MAX_PAYLOAD_LABEL, PAYLOAD_LABEL, PROMPT_LABEL, add_content


def asked(document: bytes) -> safety_pb2.PolicyCheckRequest:
    question = safety_pb2.PolicyCheckRequest()
    add_content(question, document)
    return question


def test_the_words_are_those_of_the_submitter() -> None:
    question = asked(b'{"prompt":"hi","context":{"a":[1]},"created_at":"now","tenant_id":"t"}')
    assert question.input_content == b'{"prompt":"hi","context":{"a":[1]}}'
    assert question.labels == {PROMPT_LABEL: "hi", PAYLOAD_LABEL: '{"a":[1]}'}
    assert question.input_size_bytes == len(question.input_content)
    assert question.input_content_type == "application/json"


def test_an_escape_is_no_disguise() -> None:
    hidden = b'{"prompt":"x","context":{"key":"\\u0041KIA\\/","k\\u0065y2":1}}'
    question = asked(hidden)
    assert b"AKIA/" in question.input_content and b"key2" in question.input_content
    assert "AKIA/" in question.labels[PAYLOAD_LABEL]


def test_equal_jobs_make_equal_questions() -> None:
    one, other = asked(b'{"prompt":"x","created_at":"1"}'), asked(b'{"prompt":"x","created_at":"2"}')
    assert one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)


@pytest.mark.parametrize("document", [b"not json", b"\xff\xfe", b'{"prompt":5}', b"[1,2]", b'{"context":'])
def test_what_is_not_ours_goes_as_it_is(document: bytes) -> None:
    question = asked(document)
    assert question.input_content == document and PROMPT_LABEL not in question.labels


def test_of_what_is_too_long_the_size_tells() -> None:
    document = json.dumps({"prompt": "x", "context": "y" * (MAX_CONTENT + 100)}).encode()
    question = asked(document)
    assert len(question.input_content) == MAX_CONTENT < question.input_size_bytes
    assert PAYLOAD_LABEL not in question.labels


def test_a_long_payload_is_in_the_content_only() -> None:
    question = asked(json.dumps({"prompt": "x", "context": "y" * MAX_PAYLOAD_LABEL}).encode())
    assert PAYLOAD_LABEL not in question.labels and len(question.input_content) > MAX_PAYLOAD_LABEL
