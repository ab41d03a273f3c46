"""From the body of a policy question to the kernel (spec-gateway section 7).

Published clients put the same thing in different places: capability, risk tags and labels are taken from the top and
from `meta`. What a rule could look at is never dropped: a question asked about less than the job says would be answered
more kindly than the job.
"""

from typing import Annotated, Final

import msgspec
from cap.pb.cordum.agent.v1 import job_pb2, safety_pb2
from msgspec import Meta

from cordum.core.ids import TenantId
from cordum.core.policy.gates.descriptor import MAX_DESCRIPTOR
from cordum.rpc.content import add_content
from cordum.services.gateway.errors import ApiError, invalid
from cordum.services.gateway.submit.submission import Labels, Text, Tokens, Words, json_of, without_control

ACTION_LABEL: Final = "_action.descriptor_json"
MAX_BATCH: Final = 1024  # questions of one batch

_PRIORITIES: Final = {
    "": job_pb2.JOB_PRIORITY_INTERACTIVE,
    "interactive": job_pb2.JOB_PRIORITY_INTERACTIVE,
    "batch": job_pb2.JOB_PRIORITY_BATCH,
    "critical": job_pb2.JOB_PRIORITY_CRITICAL,
}
_ACTORS: Final = {"human": job_pb2.ACTOR_TYPE_HUMAN, "service": job_pb2.ACTOR_TYPE_SERVICE}


class PolicyBudget(msgspec.Struct):
    """Budget of a job to be judged."""

    max_input_tokens: Tokens = 0
    max_output_tokens: Tokens = 0
    max_total_tokens: Tokens = 0
    deadline_ms: Tokens = 0


class PolicyMeta(msgspec.Struct):
    """What is known about a job to be judged."""

    tenant_id: Text | None = None
    actor_id: Text | None = None
    actor_type: Text | None = None
    idempotency_key: Text | None = None
    capability: Text | None = None
    risk_tags: Words | None = None
    requires: Words | None = None
    pack_id: Text | None = None
    labels: Labels | None = None


class PolicyCheck(msgspec.Struct):
    """A question to the policy. Unknown members are ignored, null means not given."""

    topic: Annotated[str, Meta(max_length=256, description="Required")] | None = None
    job_id: Text | None = None
    tenant: Text | None = None
    tenant_id: Text | None = None
    org_id: Text | None = None
    team_id: Text | None = None
    workflow_id: Text | None = None
    step_id: Text | None = None
    principal_id: Text | None = None
    priority: Text | None = None
    estimated_cost: Annotated[float, Meta(ge=0)] | None = None
    budget: PolicyBudget | None = None
    labels: Labels | None = None
    memory_id: Text | None = None
    effective_config: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    meta: PolicyMeta | None = None
    capability: Text | None = None
    risk_tags: Words | None = None
    requires: Words | None = None
    pack_id: Text | None = None
    context: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    """Any JSON; judged as the context of a submitted job."""
    content: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    """What the job says: a text is judged as the prompt of a submitted job, any other JSON as its context."""
    action: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    """The action behind the job, as JSON object."""


class PolicyCheckBatch(msgspec.Struct):
    """Several questions at once."""

    requests: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=MAX_BATCH)]


_CHECK: Final = msgspec.json.Decoder(PolicyCheck)


def check_of(raw: msgspec.Raw) -> PolicyCheck:
    """One question of a batch; raises ApiError (400) when it cannot be read."""
    try:
        return _CHECK.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(f"invalid request: {error}", "invalid_request") from None


def check_request(check: PolicyCheck, tenant: TenantId, principal: str) -> safety_pb2.PolicyCheckRequest:
    """The question as the kernel takes it.

    Args:
        principal: whose question it is, as far as we believe it; "" for nobody in particular.

    Raises:
        ApiError: 400 without a topic or for one that contradicts itself, 403 for another tenant.
    """
    if not check.topic:
        raise invalid("topic is required")
    meta = check.meta or PolicyMeta()
    for named in (check.tenant, check.tenant_id, check.org_id, meta.tenant_id):
        if named and named != tenant:
            raise ApiError("tenant_access_denied")
    priority = (check.priority or "").lower().removeprefix("job_priority_")
    if priority not in _PRIORITIES:
        raise invalid("priority must be batch, interactive or critical", "invalid_priority")
    budget = check.budget or PolicyBudget()
    request = safety_pb2.PolicyCheckRequest(
        job_id=check.job_id or "",
        topic=check.topic,
        tenant=tenant,
        priority=_PRIORITIES[priority],
        estimated_cost=check.estimated_cost or 0.0,
        principal_id=principal,
        labels=_labels(check, meta),
        memory_id=check.memory_id or "",
        effective_config=json_of(check.effective_config),
        budget=job_pb2.Budget(
            max_input_tokens=budget.max_input_tokens,
            max_output_tokens=budget.max_output_tokens,
            max_total_tokens=budget.max_total_tokens,
            deadline_ms=budget.deadline_ms,
        ),
        meta=job_pb2.JobMetadata(
            tenant_id=tenant,
            actor_id=meta.actor_id or principal,
            actor_type=_ACTORS.get((meta.actor_type or "").lower(), job_pb2.ACTOR_TYPE_UNSPECIFIED),
            idempotency_key=meta.idempotency_key or "",
            capability=_one(meta.capability, check.capability, "capability"),
            risk_tags=_all(meta.risk_tags, check.risk_tags),
            requires=_all(meta.requires, check.requires),
            pack_id=_one(meta.pack_id, check.pack_id, "pack_id"),
        ),
    )
    document = _document(check)
    if document:
        add_content(request, document)
    action = json_of(check.action)
    if action:
        if len(action) > MAX_DESCRIPTOR:
            raise invalid(f"action is longer than {MAX_DESCRIPTOR} bytes", "action_too_large")
        request.labels[ACTION_LABEL] = action.decode()
    return request


def _labels(check: PolicyCheck, meta: PolicyMeta) -> dict[str, str]:
    """The labels of both places; where they disagree nobody knows which the rules should see."""
    top, inner = check.labels or {}, meta.labels or {}
    for name in top.keys() & inner.keys():
        if top[name] != inner[name]:
            raise invalid(f"label {name!r} has two values, in labels and in meta.labels", "ambiguous_label")
    labels = {**inner, **top}
    for name, value in (("workflow_id", check.workflow_id), ("step_id", check.step_id)):
        if value:
            labels.setdefault(name, value)
    return without_control(labels)


def _one(inner: str | None, top: str | None, name: str) -> str:
    if inner and top and inner != top:
        raise invalid(f"{name} has two values, at the top and in meta", f"ambiguous_{name}")
    return inner or top or ""


def _all(inner: list[str] | None, top: list[str] | None) -> list[str]:
    return list(dict.fromkeys((*(inner or ()), *(top or ()))))


class _Said(msgspec.Struct, omit_defaults=True):
    """A context document as the gateway stores it for a job."""

    prompt: str = ""
    context: msgspec.Raw = msgspec.Raw()


def _document(check: PolicyCheck) -> bytes:
    """What the job says, in the form in which a submitted job says it; b"" for nothing."""
    content, context = json_of(check.content), json_of(check.context)
    if not content and not context:
        return b""
    prompt = ""
    if content.startswith(b'"'):
        prompt, content = msgspec.json.decode(content, type=str), b""
    parts = [part for part in (content, context) if part]
    if len(parts) == 2:
        return msgspec.json.encode(_Said(prompt, msgspec.Raw(b"[" + parts[0] + b"," + parts[1] + b"]")))
    return msgspec.json.encode(_Said(prompt, msgspec.Raw(parts[0]) if parts else msgspec.Raw(b"null")))
