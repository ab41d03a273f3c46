"""What somebody who decides wants to know first: what it is about, what it may touch, how to undo it.

All of it is read off the job and its input: `decision` and `workflow` of a workflow gate's context where there is one,
labels else (spec-gateway section 5, ApprovalItem).
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from cordum.core.jobs.record import JobRecord
from cordum.core.policy.decision import Constraints

GATE_KIND: Final = "workflow_approval_context"
_MOST: Final = 20  # entries of a list that is only a hint
_TEXT: Final = 512  # characters

_WANTED: Final = ("amount", "currency", "vendor", "item_count", "items_preview")
_SYSTEMS: Final = ("system", "systems", "service", "services", "mcp.server", "mcp_server")
_NAMESPACES: Final = ("namespace", "namespaces", "environment", "env", "cluster", "region")
_RESOURCES: Final = ("resource", "resources", "path", "repo", "repository", "table", "bucket", "mcp.resource")


def decision_summary(record: JobRecord, context: object, *, status: str) -> dict[str, Any]:
    """What is to be decided.

    Args:
        context: the job's input as it may be shown.
        status: `absent`, `missing`, `malformed` or `available`.
    """
    decision = _part(context, "decision")
    workflow = _part(context, "workflow")
    labels = record.labels
    from_gate = _kind(context) == GATE_KIND
    own = decision if from_gate else _facts(context)
    source = "workflow_payload" if decision or from_gate else "policy_only"
    if source == "policy_only" and labels.get("workflow_id"):
        source = "workflow_labels"
    step = _text(workflow.get("step_name")) or labels.get("step_name", "")
    title = _text(own.get("title")) or (f"Approve {step}" if step else f"Review {record.topic}")
    found = {name: own[name] for name in _WANTED if own.get(name) not in (None, "")}
    missing = [] if own.get("subject") or found or record.capability else ["business_context"]
    gate = bool(labels.get("gate_type"))
    return {
        "source": source,
        "completeness": "rich" if len(found) >= 2 else "partial" if status == "available" else "minimal",
        "context_status": status,
        "title": title[:_TEXT],
        "subject": (_text(own.get("subject")) or title)[:_TEXT],
        "why": record.safety_reason
        or _text(own.get("why"))
        or f"rule {record.safety_rule_id or '?'} asks for approval",
        "next_effect": "the workflow goes on" if gate else "the job is given to a worker and runs once",
        **found,
        **({"escalation_reason": "nobody has decided in time"} if record.approval_escalated_at else {}),
        "missing_fields": missing,
    }


def blast_radius(record: JobRecord, context: object) -> dict[str, Any]:
    """What the job may touch, as far as anything says so."""
    known = {**record.labels, **_facts(context)}
    scope = [f"Topic: {record.topic}"]
    if record.capability:
        scope.append(f"Capability: {record.capability}")
    if record.risk_tags:
        scope.append(f"Risk: {', '.join(record.risk_tags)}")
    if record.requires:
        scope.append(f"Needs: {', '.join(record.requires)}")
    return {
        "systems": _named(known, _SYSTEMS),
        "namespaces": _named(known, _NAMESPACES),
        "resources": _named(known, _RESOURCES),
        "scope_description": "; ".join(scope)[: 2 * _TEXT],
    }


def rollback_hint(record: JobRecord, context: object) -> str:
    """How to undo it, where the job or its policy says so; "" else."""
    said = record.labels.get("rollback_hint") or _text(_facts(context).get("rollback_hint"))
    if said:
        return said[:_TEXT]
    offered = [remediation for remediation in record.safety_remediations if remediation.summary or remediation.title]
    return f"instead: {offered[0].title or offered[0].summary}"[:_TEXT] if offered else ""


def policy_summary(record: JobRecord) -> dict[str, Any]:
    """The policy and the rule that ask."""
    return {
        "policy_version": record.safety_snapshot,
        "rule_count": 1 if record.safety_rule_id else 0,
        "matched_rule": {
            "id": record.safety_rule_id,
            "description": record.safety_reason,
            "decision": record.safety_decision,
            "constraints_summary": constraints_summary(record.safety_constraints),
        },
    }


def constraints_summary(constraints: Constraints | None) -> str:
    """The limits an approved job keeps to, in one line."""
    if constraints is None:
        return ""
    budgets = constraints.budgets
    said = [
        f"{text} {value}"
        for text, value in (
            ("runtime ms ≤", budgets.max_runtime_ms),
            ("retries ≤", budgets.max_retries),
            ("artifact bytes ≤", budgets.max_artifact_bytes),
            ("jobs at once ≤", budgets.max_concurrent_jobs),
            ("redaction", constraints.redaction_level),
        )
        if value
    ]
    if constraints.sandbox.isolated:
        said.append("sandboxed")
    if constraints.toolchain.allowed_tools:
        said.append(f"tools: {', '.join(constraints.toolchain.allowed_tools)}")
    return "; ".join(said)[:_TEXT]


def context_status(record: JobRecord, context: bytes | None, shown: object) -> str:
    """Whether the input is there to be looked at."""
    if context is None:
        return "missing"
    if not context:
        return "absent"
    return "available" if isinstance(shown, dict | list) else "malformed"


def _facts(context: object) -> Mapping[str, Any]:
    """What the caller said about the job: its own context, else the document around it."""
    inner = _part(context, "context") or _part(context, "decision")
    return inner or (context if isinstance(context, dict) else {})


def _part(context: object, name: str) -> Mapping[str, Any]:
    part = context.get(name) if isinstance(context, dict) else None
    return part if isinstance(part, dict) else {}


def _kind(context: object) -> str:
    return _text(context.get("kind")) if isinstance(context, dict) else ""


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _named(known: Mapping[str, Any], names: tuple[str, ...]) -> list[str]:
    values = (known.get(name) for name in names)
    items = [item for value in values for item in (value if isinstance(value, list) else [value])]
    found = [str(item)[:_TEXT] for item in items if isinstance(item, str | int) and not isinstance(item, bool) and item]
    return list(dict.fromkeys(found))[:_MOST]


def as_json(constraints: Constraints | None) -> object:
    """Constraints as the API shows them, None when there are none."""
    return None if constraints is None else msgspec.to_builtins(constraints)
