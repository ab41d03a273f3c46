"""What a job says, inside a question to the safety kernel: the same words at submit, at approval and at dispatch.

They are in the question only, never in the job's own labels: the policy reads them, workers and logs do not.
"""

from typing import Final

import msgspec
from cap.pb.cordum.agent.v1 import safety_pb2

MAX_CONTENT: Final = 3 * 1024 * 1024
"""Bytes of content that travel. Of a longer one the beginning does, with the size of all of it: whether the rest may be
left unseen is for the policy to say, and its rules about content fail closed unless it says so."""

MAX_PROMPT_LABEL: Final = 256 * 1024  # bytes; the longest prompt the gateway takes
MAX_PAYLOAD_LABEL: Final = 64 * 1024  # bytes

PROMPT_LABEL: Final = "_content.prompt"
PAYLOAD_LABEL: Final = "_content.payload_json"


class _Words(msgspec.Struct, omit_defaults=True):
    """Of the context document the parts its submitter wrote; the others differ from job to job and say nothing."""

    prompt: str = ""
    context: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)


_READ: Final = msgspec.json.Decoder(_Words)
_WRITE: Final = msgspec.json.Encoder()


def add_content(question: safety_pb2.PolicyCheckRequest, document: bytes) -> None:
    """Puts a job's context document (`ctx:<id>`) into the question about it.

    JSON is written anew without escapes, so that `\\u0061` is no other letter than `a` to a rule. What is not the JSON
    the gateway writes goes as it is.
    """
    try:
        words = _READ.decode(document)
        payload = _plain(bytes(words.context))
        content = _WRITE.encode(_Words(words.prompt, msgspec.Raw(payload or b"null")))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        words, payload, content = _Words(), document, document
    if words.prompt:
        question.labels[PROMPT_LABEL] = _cut(words.prompt)
    if payload and len(payload) <= MAX_PAYLOAD_LABEL:
        question.labels[PAYLOAD_LABEL] = payload.decode(errors="replace")
    question.input_content = content[:MAX_CONTENT]
    question.input_size_bytes = len(content)
    question.input_content_type = "application/json"


def _plain(payload: bytes) -> bytes:
    if b"\\" not in payload:
        return payload
    return _WRITE.encode(msgspec.json.decode(payload))


def _cut(prompt: str) -> str:
    if len(prompt) * 4 <= MAX_PROMPT_LABEL:
        return prompt
    return prompt.encode(errors="replace")[:MAX_PROMPT_LABEL].decode(errors="ignore")
