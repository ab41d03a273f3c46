"""What the safety kernel is asked about a job: at submit, when somebody approves it, and by the scheduler alike."""

from typing import Final

import msgspec
from cap.pb.cordum.agent.v1 import job_pb2, safety_pb2

from cordum.rpc.convert import check_request_from_job

MAX_CONTENT_LABEL: Final = 64 * 1024  # bytes of content the policy may look at in a label


class _Words(msgspec.Struct):
    prompt: str = ""
    context: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)


def question(job: job_pb2.JobRequest, prompt: str, payload: bytes, size: int) -> safety_pb2.PolicyCheckRequest:
    """The question about a job. What it says goes into labels of the question only, never of the job.

    Args:
        payload: the caller's own context as JSON, b"" for none.
        size: bytes of the whole context document.
    """
    asked = check_request_from_job(job)
    if prompt:
        asked.labels["_content.prompt"] = _cut(prompt)
    if payload and len(payload) <= MAX_CONTENT_LABEL:
        asked.labels["_content.payload_json"] = payload.decode()
    asked.input_size_bytes = size
    asked.input_content_type = "application/json"
    return asked


def question_again(job: job_pb2.JobRequest, context: bytes | None) -> safety_pb2.PolicyCheckRequest:
    """The same question about a stored job, from its stored context."""
    words = _Words()
    if context:
        try:
            words = msgspec.json.decode(context, type=_Words)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            words = _Words()
    return question(job, words.prompt, bytes(words.context), len(context or b""))


def _cut(prompt: str) -> str:
    if len(prompt) * 4 <= MAX_CONTENT_LABEL:
        return prompt
    return prompt.encode()[:MAX_CONTENT_LABEL].decode(errors="ignore")
