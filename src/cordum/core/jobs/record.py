"""The job record: what the hash `job:meta:<id>` holds (spec-scheduler section 4.1)."""

from collections.abc import Mapping
from typing import Any

import msgspec

from cordum.core.errors import CordumError
from cordum.core.ids import (
    DispatchId,
    JobId,
    Micros,
    PoolName,
    PrincipalId,
    RuleId,
    SnapshotId,
    TenantId,
    Topic,
    TraceId,
    WorkerId,
)
from cordum.core.jobs.output import OutputSafety
from cordum.core.jobs.quorum import Vote
from cordum.core.jobs.states import JobState
from cordum.core.policy.decision import ApprovalTerms, Constraints, Decision, Remediation, Verdict


class BadRecordError(CordumError):
    """A stored job record cannot be read."""

    code = "job_record_unreadable"


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One job. Field names are those of the Redis hash; times are microseconds since the epoch."""

    id: JobId
    state: JobState
    updated_at: Micros = Micros(0)
    created_at: Micros = Micros(0)
    attempts: int = 0

    topic: Topic = Topic("")
    tenant: TenantId = TenantId("")
    team: str = ""
    principal: PrincipalId = PrincipalId("")
    trace_id: TraceId = TraceId("")
    memory_id: str = ""
    actor_id: str = ""
    actor_type: str = ""
    idempotency_key: str = ""
    capability: str = ""
    pack_id: str = ""
    risk_tags: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    workflow_id: str = ""
    """The workflow the job is a step of; its limits in `config/timeouts.yaml` hold for it."""
    compensation: str = ""
    """Topic of the job that undoes it, should its workflow fail (spec-scheduler 15); "" = none does."""
    submitted_by: str = ""
    deadline_unix: Micros = Micros(0)

    worker_id: WorkerId = WorkerId("")
    pool: PoolName = PoolName("")
    dispatch_id: DispatchId = DispatchId("")
    dispatched_at: Micros = Micros(0)
    pending_reason: str = ""
    """Why a waiting job waits: no_pool_mapping, no_workers, pool_overloaded, tenant_limit, throttled, ..."""
    placement_tries: int = 0
    """How often no worker was found for it since it was last placed."""
    result_ptr: str = ""
    failure_reason: str = ""
    error_code: str = ""
    error_status: str = ""
    last_state: str = ""

    safety_decision: str = ""
    safety_reason: str = ""
    safety_rule_id: str = ""
    safety_snapshot: str = ""
    safety_checked_at: Micros = Micros(0)
    safety_constraints: Constraints | None = None
    safety_remediations: tuple[Remediation, ...] = ()
    safety_approval_required: bool = False
    safety_approval_ref: str = ""
    safety_job_hash: str = ""

    approval_status: str = ""
    approval_actionability: str = ""
    approval_decision: str = ""
    approval_revision: int = 0
    approval_by: str = ""
    approval_role: str = ""
    approval_at: Micros = Micros(0)
    approval_reason: str = ""
    approval_note: str = ""
    approval_policy_snapshot: str = ""
    approval_job_hash: str = ""
    approval_publish_status: str = ""
    approval_publish_target: str = ""
    approval_published_at: Micros = Micros(0)
    approval_terms: ApprovalTerms | None = None
    approval_votes: tuple[Vote, ...] = ()
    approval_requested_at: Micros = Micros(0)
    approval_expires_at: Micros = Micros(0)
    approval_escalate_at: Micros = Micros(0)
    approval_escalated_at: Micros = Micros(0)
    approval_dispatch_id: DispatchId = DispatchId("")
    """The one dispatch the approval was used for."""

    output_held: Micros = Micros(0)
    """Since when a result waits for the output policy; 0 = none does."""
    output_decision: str = ""
    output_safety: OutputSafety | None = None
    output_digest: str = ""
    """SHA-256 (hex) of the result that was released: content that is not this one was not checked."""


_JSON_FIELDS = frozenset(
    {
        *("risk_tags", "requires", "labels", "safety_constraints", "safety_remediations"),
        *("approval_terms", "approval_votes", "output_safety"),
    }
)
_FIELDS = frozenset(JobRecord.__struct_fields__) - {"id"}


def record_from_hash(job_id: JobId, stored: Mapping[str, str]) -> JobRecord:
    """Reads a `job:meta` hash; fields we do not know are left alone, an empty value means the default.

    Raises:
        BadRecordError: the hash has no legal state, or a field is not of its type.
    """
    values: dict[str, Any] = {"id": job_id}
    try:
        for name, text in stored.items():
            if text and name in _FIELDS:
                values[name] = msgspec.json.decode(text) if name in _JSON_FIELDS else text
        return msgspec.convert(values, JobRecord, strict=False)
    except msgspec.MsgspecError as error:
        raise BadRecordError(f"job {job_id}: its stored record cannot be read: {error}") from error


def record_to_hash(record: JobRecord) -> dict[str, str]:
    """The hash fields of a record; what has its default value is left out."""
    fields: dict[str, str] = {}
    for name in JobRecord.__struct_fields__:
        value = getattr(record, name)
        if name == "id" or not value:
            continue
        fields[name] = hash_value(value)
    return fields


def hash_value(value: object) -> str:
    """One value as a hash field holds it: text and numbers plainly, truth as `true`, the rest as JSON."""
    if isinstance(value, str):
        return value
    if value is True:
        return "true"
    if isinstance(value, int):
        return str(value)
    return msgspec.json.encode(value).decode()


def verdict_fields(verdict: Verdict) -> dict[str, str]:
    """The `safety_*` fields that record a verdict; empty ones too, so that an older verdict leaves no trace."""
    return {
        "safety_decision": verdict.decision.value,
        "safety_reason": verdict.reason,
        "safety_rule_id": verdict.rule_id,
        "safety_snapshot": verdict.snapshot,
        "safety_checked_at": str(verdict.checked_at),
        "safety_constraints": "" if verdict.constraints.is_empty else hash_value(verdict.constraints),
        "safety_remediations": hash_value(verdict.remediations) if verdict.remediations else "",
        "safety_approval_required": "true" if verdict.decision is Decision.REQUIRE_APPROVAL else "",
    }


def recorded_verdict(record: JobRecord) -> Verdict | None:
    """The last verdict about a job, or None when it was never decided."""
    if not record.safety_decision:
        return None
    return Verdict(
        decision=Decision(record.safety_decision),
        reason=record.safety_reason,
        rule_id=RuleId(record.safety_rule_id),
        snapshot=SnapshotId(record.safety_snapshot),
        constraints=record.safety_constraints or Constraints(),
        remediations=record.safety_remediations,
        checked_at=record.safety_checked_at,
    )
