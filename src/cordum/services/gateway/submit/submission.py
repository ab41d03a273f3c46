"""What a caller asks for when it submits a job, and whether that makes sense (spec-gateway section 3)."""

import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from cordum.services.gateway.errors import ApiError, invalid

DEFAULT_TOPIC: Final = "job.default"
MAX_PROMPT: Final = 50_000  # characters
MAX_IDEMPOTENCY_KEY: Final = 256  # characters
SECRET_SCHEME: Final = "secret://"
MAX_TOKENS: Final = 10_000_000_000
MAX_DEADLINE_MS: Final = 365 * 24 * 3600 * 1000

_TOPIC: Final = re.compile(r"job(?:\.[A-Za-z0-9][A-Za-z0-9_-]*)+")
MAX_TOPIC: Final = 256
MAX_LABELS: Final = 64 * 1024  # characters, names and values together
_RESERVED_LABELS: Final = ("_governance.", "_ma.")
_CONTROL_LABELS: Final = ("_", "approval_", "cordum.", "safety_bypass")
"""Labels of the control plane: what a client puts there is dropped, it must not look as if we had said it."""

Text = Annotated[str, Meta(max_length=256)]
Word = Annotated[str, Meta(max_length=128)]
Words = Annotated[list[Word], Meta(max_length=100)]
Labels = Annotated[
    dict[Annotated[str, Meta(max_length=256)], Annotated[str, Meta(max_length=4096)]], Meta(max_length=50)
]
Tokens = Annotated[int, Meta(ge=0, le=MAX_TOKENS)]


class Submission(msgspec.Struct, kw_only=True):
    """The body of `POST /api/v1/jobs`. Unknown members are ignored, null means not given."""

    prompt: Annotated[str, Meta(description="What the job is to do; required")] | None = None
    topic: Text | None = None
    adapter_id: Text | None = None
    priority: Literal["", "batch", "interactive", "critical"] | None = None
    context: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    """Any JSON. Not `Raw | None`: that union would take nothing but null."""
    memory_id: Text | None = None
    context_mode: Literal["", "raw", "chat", "rag"] | None = None
    tenant_id: Text | None = None
    org_id: Text | None = None
    team_id: Text | None = None
    project_id: Text | None = None
    principal_id: Text | None = None
    actor_id: Text | None = None
    actor_type: Literal["", "human", "service"] | None = None
    idempotency_key: Text | None = None
    pack_id: Text | None = None
    capability: Text | None = None
    risk_tags: Words | None = None
    requires: Words | None = None
    labels: Labels | None = None
    tags: Annotated[list[Word], Meta(max_length=50)] | None = None
    max_input_tokens: Tokens | None = None
    max_output_tokens: Tokens | None = None
    max_total_tokens: Tokens | None = None
    deadline_ms: Annotated[int, Meta(ge=0, le=MAX_DEADLINE_MS)] | None = None
    allow_summarization: bool | None = None
    allow_retrieval: bool | None = None
    delegation_token: str | None = None
    delegation_audience_agent_id: str | None = None


def topic_of(submission: Submission) -> str:
    """The topic asked for; raises ApiError (400) when it is none."""
    topic = submission.topic or DEFAULT_TOPIC
    if topic != DEFAULT_TOPIC and not (len(topic) <= MAX_TOPIC and _TOPIC.fullmatch(topic)):
        raise invalid(
            "invalid topic format: must match job.name.segments (alphanumeric, dots, hyphens, underscores only)",
            "invalid_topic_format",
        )
    return topic


def prompt_of(submission: Submission) -> str:
    """The prompt; raises ApiError (400) when there is none or too much of it."""
    prompt = submission.prompt
    if not prompt or not prompt.strip():
        raise invalid("prompt is required")
    if len(prompt) > MAX_PROMPT:
        raise invalid(f"prompt is longer than {MAX_PROMPT} characters", "prompt_too_long")
    return prompt


def labels_of(submission: Submission) -> dict[str, str]:
    """The labels a client may set; raises ApiError (400) for those nobody but the control plane may."""
    labels = submission.labels
    if not labels:
        return {}
    for name in labels:
        if name.startswith(_RESERVED_LABELS):
            raise invalid("client may not set reserved governance/multi-agent labels", "reserved_label")
    if sum(map(len, labels)) + sum(map(len, labels.values())) > MAX_LABELS:
        raise invalid(f"the labels are longer than {MAX_LABELS} characters together", "labels_too_long")
    return without_control(labels)


def without_control(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels without those that only the control plane says."""
    return {name: value for name, value in labels.items() if not name.lower().startswith(_CONTROL_LABELS)}


def refuse_delegation(submission: Submission) -> None:
    """A delegation token narrows what a job may do; ignoring one would widen it."""
    if submission.delegation_token or submission.delegation_audience_agent_id:
        raise invalid("delegation tokens are not supported by this version", "delegation_not_supported")


def tenant_named(submission: Submission, tenant: str) -> None:
    """The body may repeat the tenant of the request, never name another one: raises ApiError (403)."""
    for named in (submission.tenant_id, submission.org_id):
        if named and named != tenant:
            raise ApiError("tenant_access_denied")


def json_of(raw: msgspec.Raw) -> bytes:
    """A member of any JSON as it came, b"" for none; raises ApiError (400) when it is no text at all."""
    data = bytes(raw)
    if data == b"null":
        return b""
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError:
            raise invalid("the body is not valid UTF-8", "invalid_json") from None
    return data


def names_secrets(prompt: str, context: bytes) -> bool:
    """Whether a job refers to a secret by name (`secret://...`): policy may treat such jobs differently."""
    return SECRET_SCHEME in prompt or SECRET_SCHEME.encode() in context


def idempotency_key_of(submission: Submission, header: str) -> str:
    """The key under which a repetition is known: the body's, else the header's; "" for none (spec-gateway 2.6)."""
    key = (submission.idempotency_key or header).strip()
    if len(key) > MAX_IDEMPOTENCY_KEY:
        raise invalid(f"the idempotency key is longer than {MAX_IDEMPOTENCY_KEY} characters", "invalid_idempotency_key")
    return key


def checked_again(fields: dict[str, object]) -> Submission:
    """A submission that did not come as JSON, held to the same bounds; raises ApiError (400)."""
    try:
        return msgspec.convert(fields, Submission)
    except msgspec.ValidationError as error:
        raise invalid(f"invalid request: {error}", "invalid_request") from None
