"""The kernel's answer as JSON (spec-safety section 5, "Client compatibility of `decision`").

Published clients disagree about the spelling: an unknown word in `decision` is an allow to some of them. So `decision`
is always one of four short words, the protobuf name stands in `decision_type`, and both spellings of every other
member are there.
"""

from typing import Any, Final

import msgspec
from cap.pb.cordum.agent.v1 import safety_pb2

from cordum.core.policy.decision import Decision, Verdict
from cordum.rpc.convert import DECISION_TYPE_NAMES, verdict_from_response
from cordum.services.gateway.errors import ApiError

THROTTLE_SECONDS: Final = 5.0
"""What a throttled guard is told to wait where the rule does not say; as long as the scheduler waits."""
HIDDEN_RULE: Final = "matched"
"""What stands for the rule where rules are not shown."""

_TWINS: Final = (
    ("decision_type", "decisionType"),
    ("rule_id", "ruleId"),
    ("matched_rules", "matchedRules"),
    ("policy_snapshot", "policySnapshot"),
    ("approval_required", "approvalRequired"),
    ("approval_ref", "approvalRef"),
    ("redacted_context_ptr", "redactedContextPtr"),
    ("redacted_context_ref", "redactedContextRef"),
    ("throttle_duration_seconds", "throttleDurationSeconds"),
)


def decision_body(response: safety_pb2.PolicyCheckResponse, now: float) -> dict[str, Any]:
    """The answer, in every spelling clients read. What cannot be read plainly as an allow is a DENY."""
    verdict = verdict_from_response(response, now)
    decision = verdict.decision
    needs_approval = decision is Decision.REQUIRE_APPROVAL
    body: dict[str, Any] = {
        "decision": short_word(decision),
        "decision_type": DECISION_TYPE_NAMES[decision],
        "reason": verdict.reason,
        "rule_id": verdict.rule_id,
        "matched_rules": [verdict.rule_id] if verdict.rule_id else [],
        "policy_snapshot": verdict.snapshot,
        "constraints": None if verdict.constraints.is_empty else verdict.constraints,
        "approval_required": needs_approval,
        "approval_ref": response.approval_ref if needs_approval else "",
        "approval": _approval(verdict) if needs_approval else None,
        "redacted_context_ptr": response.redacted_context_ptr,
        "redacted_context_ref": None,
        "identity": None,
        "remediations": remediations(verdict),
        "throttle_duration_seconds": _wait(verdict),
    }
    for snake, camel in _TWINS:
        body[camel] = body[snake]
    return body


def failed_body(error: ApiError) -> dict[str, Any]:
    """What stands for a question of a batch that has no answer. To whoever only reads `decision`, that is a denial."""
    return {
        "decision": Decision.DENY.value,
        "decision_type": DECISION_TYPE_NAMES[Decision.DENY],
        "decisionType": DECISION_TYPE_NAMES[Decision.DENY],
        "reason": error.message,
        "error": error.message,
        "code": error.slug,
        "error_code": error.slug,
        "status": error.status,
    }


def redacted(body: dict[str, Any]) -> dict[str, Any]:
    """The answer without what it tells about the policy: which rule it was, and why."""
    rule = HIDDEN_RULE if body.get("rule_id") else ""
    hidden = dict(body)
    for name in ("rule_id", "ruleId"):
        hidden[name] = rule
    for name in ("matched_rules", "matchedRules"):
        hidden[name] = [rule] if rule else []
    hidden["reason"] = ""
    return hidden


def short_word(decision: Decision) -> str:
    """Guards know four words; "allow with constraints" is an allow whose constraints are listed beside it."""
    return Decision.ALLOW.value if decision is Decision.ALLOW_WITH_CONSTRAINTS else decision.value


def remediations(verdict: Verdict) -> list[dict[str, Any]]:
    """The ways out, each with all its members."""
    return [
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
    ]


def _approval(verdict: Verdict) -> dict[str, Any]:
    return msgspec.structs.asdict(verdict.approval)


def _wait(verdict: Verdict) -> float:
    if verdict.decision is not Decision.THROTTLE:
        return 0
    return verdict.retry_after_ms / 1000 if verdict.retry_after_ms > 0 else THROTTLE_SECONDS
