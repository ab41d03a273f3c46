"""An approval as the API shows it: one superset for the dashboard, cordumctl and the guard (spec-gateway section 5)."""

from typing import Any

from cordum.core.ids import Micros
from cordum.core.jobs.approval_use import votes_of
from cordum.core.jobs.approvals import lapses_at, terms_of
from cordum.core.jobs.quorum import deciding_roles
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.services.gateway.approvals import summary
from cordum.services.gateway.approvals.inputs import ALONE, LISTED, shown_input
from cordum.services.gateway.jobs.views import short_form
from cordum.services.gateway.times import rfc3339_micros


def approval_item(record: JobRecord, context: bytes | None, now: Micros) -> dict[str, Any]:
    """The item of a job that waits, or waited, for approval; texts and lists are never null."""
    why = record.safety_reason
    shown = shown_input(context, LISTED)
    status = summary.context_status(record, context, shown)
    created_at = rfc3339_micros(record.created_at or record.safety_checked_at)
    return {
        "job_id": record.id,
        "topic": record.topic,
        "tenant_id": record.tenant,
        "risk_tags": record.risk_tags,
        "capability": record.capability,
        "reason": why,
        "created_at": created_at,
        "requested_at": rfc3339_micros(record.approval_requested_at) or created_at,
        "decided_at": rfc3339_micros(record.approval_at),
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
        **progress(record, now),
        "workflow_id": record.labels.get("workflow_id", ""),
        "workflow_run_id": record.labels.get("run_id", ""),
        "workflow_step_id": record.labels.get("step_id", ""),
        "workflow_name": record.labels.get("workflow_name", ""),
        "step_name": record.labels.get("step_name", ""),
        "gate_type": record.labels.get("gate_type", ""),
        "context_ptr": f"redis://ctx:{record.id}",
        "job_input": shown,
        "decision_summary": summary.decision_summary(record, shown, status=status),
        "blast_radius": summary.blast_radius(record, shown),
        "rollback_hint": summary.rollback_hint(record, shown),
        "policy_snapshot_summary": summary.policy_summary(record),
    }


def progress(record: JobRecord, now: Micros) -> dict[str, Any]:
    """How far an approval has come: who has said yes, how many it takes, until when, and whose word counts."""
    terms = terms_of(record)
    votes = votes_of(record)
    return {
        "approvals": len(votes),
        "required": terms.required,
        "approvers": [
            {"by": vote.by, "role": vote.role, "at": int(vote.at or 0), "reason": vote.reason} for vote in votes
        ],
        "roles": deciding_roles(terms, record.approval_escalated_at),
        "expires_at": rfc3339_micros(lapses_at(record)),
        "time_remaining_ms": time_remaining_ms(record, now),
        "escalates_at": rfc3339_micros(record.approval_escalate_at),
        "escalated": bool(record.approval_escalated_at),
        "escalated_at": rfc3339_micros(record.approval_escalated_at),
        "approval_publish_status": record.approval_publish_status,
    }


def time_remaining_ms(record: JobRecord, now: Micros) -> int | None:
    """Milliseconds until an open request ends by itself; None when it does not, or has been decided."""
    at = lapses_at(record)
    return max(0, (at - now) // 1000) if at and record.approval_status == "pending" else None


def approval_context(
    record: JobRecord, context: bytes | None, prior: list[dict[str, Any]], now: Micros
) -> dict[str, Any]:
    """One approval with everything around it."""
    shown = shown_input(context, ALONE)
    item = approval_item(record, context, now) | {"state": record.state.value, "job_input": shown}
    return {
        "approval": item,
        "blast_radius": summary.blast_radius(record, shown),
        "prior_approvals": prior,
        "rollback_hint": summary.rollback_hint(record, shown),
        "policy_snapshot_summary": summary.policy_summary(record),
        "time_remaining_ms": time_remaining_ms(record, now),
        "constraints": summary.as_json(record.safety_constraints),
    }


def prior_approval(record: JobRecord) -> dict[str, Any]:
    """An earlier approval of the same kind, in a line."""
    return {
        "job_id": record.id,
        "topic": record.topic,
        "tenant": record.tenant,
        "decision": record.approval_decision,
        "resolved_by": record.approval_by,
        "resolved_at": record.approval_at,
        "was_approved": record.approval_status == "approved",
    }
