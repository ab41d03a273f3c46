"""One entry of `job:decisions:<id>`: what was decided about a job, as stored and as shown (spec-gateway section 3)."""

from typing import Any, Final

import msgspec

from cordum.core.ids import Micros
from cordum.core.jobs.record import JobRecord
from cordum.core.policy.decision import Constraints, Remediation
from cordum.services.gateway.times import rfc3339_micros
from cordum.store.decision_log import LoggedDecision


class DecisionEntry(msgspec.Struct, kw_only=True):
    """A safety decision. Timestamps in microseconds; `action` and `evaluated_at` are names some clients look for."""

    decision: str
    reason: str = ""
    rule_id: str = ""
    policy_snapshot: str = ""
    constraints: Constraints | None = None
    approval_required: bool = False
    approval_ref: str = ""
    job_hash: str = ""
    remediations: tuple[Remediation, ...] | None = None
    checked_at: int = 0
    approval_status: str = ""
    approval_actionability: str = ""
    approval_revision: int = 0
    approval_decision: str = ""
    action: str = ""
    evaluated_at: str = ""


_ENCODER: Final = msgspec.json.Encoder()


def decision_entry(record: JobRecord) -> bytes:
    """The entry for the verdict a record carries."""
    return _ENCODER.encode(entry_of(record))


def entry_of(record: JobRecord) -> DecisionEntry:
    return DecisionEntry(
        decision=record.safety_decision,
        reason=record.safety_reason,
        rule_id=record.safety_rule_id,
        policy_snapshot=record.safety_snapshot,
        constraints=record.safety_constraints,
        approval_required=record.safety_approval_required,
        approval_ref=record.safety_approval_ref,
        job_hash=record.safety_job_hash,
        remediations=record.safety_remediations or None,
        checked_at=record.safety_checked_at,
        approval_status=record.approval_status,
        approval_actionability=record.approval_actionability,
        approval_revision=record.approval_revision,
        approval_decision=record.approval_decision,
        action=record.safety_decision,
        evaluated_at=rfc3339_micros(record.safety_checked_at),
    )


def logged(record: JobRecord) -> LoggedDecision:
    """The verdict a record carries, one that does not let the job run, for the decision log and the job's own list."""
    return LoggedDecision(
        tenant=record.tenant,
        job_id=record.id,
        topic=record.topic,
        decision=record.safety_decision,
        at=record.safety_checked_at,
        rule_id=record.safety_rule_id,
        reason=record.safety_reason,
        snapshot=record.safety_snapshot,
        constraints=record.safety_constraints,
        agent_id=record.labels.get("agent_id", ""),
        principal=record.principal,
        approval_status=record.approval_status,
        for_job=decision_entry(record).decode(),
    )


def shown(stored: bytes | str) -> dict[str, Any] | None:
    """A stored entry as the API shows it, whichever process wrote it; None when it cannot be read."""
    try:
        entry = msgspec.json.decode(stored, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    decision = entry.get("decision")
    if not isinstance(decision, str):
        return None
    checked_at = entry.get("checked_at")
    entry["action"] = decision
    entry["evaluated_at"] = rfc3339_micros(Micros(checked_at)) if isinstance(checked_at, int) else ""
    return entry
