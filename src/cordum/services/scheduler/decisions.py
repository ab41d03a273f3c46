"""The list of decisions about a job, `job:decisions:<id>` (spec-scheduler 5)."""

from datetime import UTC, datetime
from typing import Final

import msgspec

from cordum.core.jobs.record import JobRecord
from cordum.core.policy.decision import Constraints, Decision, Remediation, Verdict

_ENCODER: Final = msgspec.json.Encoder()


class DecisionEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One decision, under the names the API shows."""

    decision: str
    reason: str = ""
    rule_id: str = ""
    policy_snapshot: str = ""
    constraints: Constraints | None = None
    approval_required: bool = False
    approval_ref: str = ""
    remediations: tuple[Remediation, ...] = ()
    checked_at: int = 0
    action: str = ""
    evaluated_at: str = ""


def is_news(record: JobRecord, verdict: Verdict) -> bool:
    """Whether a verdict says something else than the last one on record; the same word again needs no entry."""
    return (record.safety_decision, record.safety_rule_id, record.safety_snapshot) != (
        verdict.decision.value,
        verdict.rule_id,
        verdict.snapshot,
    )


def decision_entry(record: JobRecord, verdict: Verdict) -> str:
    """The entry for a verdict, as JSON."""
    waits = verdict.decision is Decision.REQUIRE_APPROVAL
    moment = datetime.fromtimestamp(verdict.checked_at / 1_000_000, UTC).isoformat(timespec="microseconds")
    entry = DecisionEntry(
        decision=verdict.decision.value,
        reason=verdict.reason,
        rule_id=verdict.rule_id,
        policy_snapshot=verdict.snapshot,
        constraints=None if verdict.constraints.is_empty else verdict.constraints,
        approval_required=waits,
        approval_ref=record.id if waits else "",
        remediations=verdict.remediations,
        checked_at=verdict.checked_at,
        action=verdict.decision.value,
        evaluated_at=moment.replace("+00:00", "Z"),
    )
    return _ENCODER.encode(entry).decode()
