"""From the body of a policy question to the kernel, and from its answer to JSON (spec-gateway section 7).

Published clients disagree about the spelling: an unknown word in `decision` is an allow to some of them. So `decision`
is always one of five short words, the protobuf name stands in `decision_type`, and both spellings of every other
member are there.
"""

from typing import Annotated, Any, Final

import msgspec
from cap.pb.cordum.agent.v1 import job_pb2, safety_pb2
from msgspec import Meta

from cordum.core.ids import TenantId
from cordum.core.policy.decision import Decision
from cordum.rpc.convert import DECISION_TYPE_NAMES, verdict_from_response
from cordum.services.gateway.errors import ApiError, invalid
from cordum.services.gateway.submit.submission import Labels, Text, Tokens, Words, json_of

THROTTLE_SECONDS: Final = 5.0
"""What a throttled guard is told to wait; as long as the scheduler waits."""

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
    context: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)


def check_request(check: PolicyCheck, tenant: TenantId, principal: str) -> safety_pb2.PolicyCheckRequest:
    """The question as the kernel takes it.

    Args:
        principal: whose question it is, as far as we believe it; "" for nobody in particular.

    Raises:
        ApiError: 400 without a topic, 403 for another tenant.
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
    labels = {**(meta.labels or {}), **(check.labels or {})}
    for name, value in (("workflow_id", check.workflow_id), ("step_id", check.step_id)):
        if value:
            labels.setdefault(name, value)
    request = safety_pb2.PolicyCheckRequest(
        job_id=check.job_id or "",
        topic=check.topic,
        tenant=tenant,
        priority=_PRIORITIES[priority],
        estimated_cost=check.estimated_cost or 0.0,
        principal_id=principal,
        labels={name: value for name, value in labels.items() if not name.startswith("_")},
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
            capability=meta.capability or check.capability or "",
            risk_tags=meta.risk_tags or check.risk_tags or (),
            requires=meta.requires or (),
            pack_id=meta.pack_id or "",
        ),
    )
    content = json_of(check.context)
    if content and len(content) <= 64 * 1024:
        request.labels["_content.payload_json"] = content.decode()
        request.input_size_bytes = len(content)
        request.input_content_type = "application/json"
    return request


def decision_body(response: safety_pb2.PolicyCheckResponse, now: float) -> dict[str, Any]:
    """The answer, in every spelling clients read. What cannot be read plainly as an allow is a DENY."""
    verdict = verdict_from_response(response, now)
    decision = verdict.decision
    constraints = None if verdict.constraints.is_empty else verdict.constraints
    needs_approval = decision is Decision.REQUIRE_APPROVAL
    return {
        "decision": _word(decision),
        "decision_type": DECISION_TYPE_NAMES[decision],
        "decisionType": DECISION_TYPE_NAMES[decision],
        "reason": verdict.reason,
        "rule_id": verdict.rule_id,
        "ruleId": verdict.rule_id,
        "matched_rules": [verdict.rule_id] if verdict.rule_id else [],
        "policy_snapshot": verdict.snapshot,
        "policySnapshot": verdict.snapshot,
        "constraints": constraints,
        "approval_required": needs_approval,
        "approvalRequired": needs_approval,
        "approval_ref": response.approval_ref,
        "approvalRef": response.approval_ref,
        "redacted_context_ptr": response.redacted_context_ptr,
        "redactedContextPtr": response.redacted_context_ptr,
        "remediations": [
            {
                "id": item.id,
                "title": item.title,
                "summary": item.summary,
                "replacement_topic": item.replacement_topic,
                "replacement_capability": item.replacement_capability,
                "add_labels": item.add_labels,
                "remove_labels": item.remove_labels,
            }
            for item in verdict.remediations
        ],
        "throttle_duration_seconds": THROTTLE_SECONDS if decision is Decision.THROTTLE else 0,
    }


def _word(decision: Decision) -> str:
    """Guards know four words; "allow with constraints" is an allow whose constraints are listed beside it."""
    return Decision.ALLOW.value if decision is Decision.ALLOW_WITH_CONSTRAINTS else decision.value
