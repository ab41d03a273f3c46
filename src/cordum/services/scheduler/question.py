"""What the safety kernel is asked about a job (spec-scheduler 8.2 step 10)."""

from typing import Final

import msgspec
from cap.pb.cordum.agent.v1 import safety_pb2

from cordum.rpc.convert import check_request_from_job
from cordum.services.scheduler.ticket import Ticket

MAX_CONTENT_LABEL: Final = 64 * 1024
"""Bytes of a job's input that the policy may look at in a label."""

_OURS: Final = ("approval_", "cordum.")
"""Labels the control plane adds on the way; they must not change what the policy decides, nor can they be believed."""


class _Context(msgspec.Struct):
    prompt: str = ""
    context: msgspec.Raw = msgspec.Raw()


_CONTEXT: Final = msgspec.json.Decoder(_Context)


def policy_question(ticket: Ticket) -> safety_pb2.PolicyCheckRequest:
    """The question about a ticket's job, the same as the gateway asked when the job was submitted.

    The job's own words go into labels of the question only: they are for the policy, not for workers and logs.
    """
    question = check_request_from_job(ticket.request)
    for name in [name for name in question.labels if name.lower().startswith(_OURS)]:
        del question.labels[name]
    context = ticket.context
    if context is not None:
        question.input_size_bytes = len(context)
        question.input_content_type = "application/json"
        _add_words(question, context)
    return question


def _add_words(question: safety_pb2.PolicyCheckRequest, context: bytes) -> None:
    try:
        words = _CONTEXT.decode(context)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Not written by the gateway: then all of it is what the job says.
        words = _Context(context=msgspec.Raw(context))
    if words.prompt:
        question.labels["_content.prompt"] = _cut(words.prompt)
    payload = bytes(words.context)
    if payload and len(payload) <= MAX_CONTENT_LABEL:
        question.labels["_content.payload_json"] = payload.decode(errors="replace")


def _cut(prompt: str) -> str:
    if len(prompt) * 4 <= MAX_CONTENT_LABEL:
        return prompt
    return prompt.encode()[:MAX_CONTENT_LABEL].decode(errors="ignore")
