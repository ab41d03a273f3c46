"""An approval as the API shows it: one superset for the dashboard, cordumctl and the guard (spec-gateway section 5)."""

from typing import Any

from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.services.gateway.jobs.views import payload, short_form
from cordum.services.gateway.times import rfc3339_micros


def approval_item(record: JobRecord, context: bytes | None) -> dict[str, Any]:
    """The item of a job that waits, or waited, for approval; texts and lists are never null."""
    why = record.safety_reason
    created_at = rfc3339_micros(record.created_at or record.safety_checked_at)
    decided_at = rfc3339_micros(record.approval_at)
    title = f"Review {record.topic}"
    return {
        "job_id": record.id,
        "topic": record.topic,
        "tenant_id": record.tenant,
        "risk_tags": record.risk_tags,
        "capability": record.capability,
        "reason": why,
        "created_at": created_at,
        "requested_at": created_at,
        "decided_at": decided_at,
        "decided_by": record.approval_by,
        "job": short_form(record),
        "decision": record.safety_decision or "REQUIRE_APPROVAL",
        "policy_snapshot": record.safety_snapshot,
        "policy_rule_id": record.safety_rule_id,
        "policy_reason": why,
        "constraints": record.safety_constraints,
        "job_hash": record.safety_job_hash,
        "approval_required": record.state is JobState.APPROVAL_REQUIRED,
        "approval_ref": record.safety_approval_ref or record.id,
        "approval_status": record.approval_status,
        "approval_actionability": record.approval_actionability,
        "approval_revision": record.approval_revision,
        "approval_decision": record.approval_decision,
        "submitted_by": record.submitted_by,
        "resolution": record.approval_decision,
        "resolved_by": record.approval_by,
        "resolved_comment": record.approval_note or record.approval_reason,
        "resolved_at": record.approval_at,
        "workflow_id": record.labels.get("workflow_id", ""),
        "workflow_run_id": record.labels.get("run_id", ""),
        "workflow_step_id": record.labels.get("step_id", ""),
        "gate_type": record.labels.get("gate_type", ""),
        "context_ptr": f"redis://ctx:{record.id}",
        "job_input": payload(context),
        "decision_summary": {
            "source": "policy_only",
            "completeness": "partial" if context else "minimal",
            "context_status": "available" if context else "missing",
            "title": title,
            "subject": title,
            "why": why,
            "next_effect": "the job is dispatched to a worker",
            "missing_fields": ["business_context"],
        },
        "blast_radius": {
            "systems": [],
            "namespaces": [],
            "resources": [],
            "scope_description": f"Topic: {record.topic}",
        },
        "rollback_hint": "",
        "policy_snapshot_summary": {
            "policy_version": record.safety_snapshot,
            "rule_count": 1 if record.safety_rule_id else 0,
            "matched_rule": {
                "id": record.safety_rule_id,
                "description": why,
                "decision": record.safety_decision,
                "constraints_summary": "",
            },
        },
    }
