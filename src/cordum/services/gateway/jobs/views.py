"""A job as the API shows it: the short form of lists, the long form of one job (spec-gateway section 3)."""

from typing import Any, Final

import msgspec

from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.services.gateway.jobs.quarantine import output_members, verified
from cordum.store import Page

_ENCODER: Final = msgspec.json.Encoder()
_FAILED: Final = frozenset({JobState.FAILED, JobState.TIMEOUT, JobState.OUTPUT_QUARANTINED})
_FOR_THE_DEAD: Final = frozenset({JobState.FAILED, JobState.TIMEOUT, JobState.DENIED})
"""Ends that make a dead letter."""
_ENDED_BADLY: Final = _FAILED | {JobState.DENIED, JobState.CANCELLED}

_SHORT_FIELDS: Final = (
    "worker_id",
    "trace_id",
    "topic",
    "tenant",
    "team",
    "principal",
    "actor_id",
    "actor_type",
    "idempotency_key",
    "capability",
    "pack_id",
    "attempts",
    "safety_decision",
    "safety_reason",
    "safety_rule_id",
    "safety_snapshot",
    "deadline_unix",
    "pending_reason",
    "failure_reason",
    "error_code",
    "created_at",
)


def short_form(record: JobRecord) -> dict[str, Any]:
    """The JobRecord of lists: what is empty is left out. Times are microseconds."""
    shown: dict[str, Any] = {"id": record.id, "job_id": record.id, "state": record.state.value}
    shown["updated_at"] = record.updated_at
    shown["tenant_id"] = record.tenant
    for name in _SHORT_FIELDS:
        if value := getattr(record, name):
            shown[name] = value
    if record.risk_tags:
        shown["risk_tags"] = record.risk_tags
    if record.requires:
        shown["requires"] = record.requires
    if "pending_reason" in shown and record.state.is_terminal:
        del shown["pending_reason"]
    return shown


class RenderedRecords:
    """Short forms as JSON bytes, rendered once per version of a record.

    The store hands out the same record object as long as a job has not changed, so the object itself is the version.
    """

    def __init__(self, most: int = 20_000) -> None:
        self._most = most
        self._rendered: dict[str, tuple[JobRecord, bytes]] = {}
        self._last: tuple[Page[JobRecord], bytes] | None = None

    def of(self, record: JobRecord) -> bytes:
        known = self._rendered.get(record.id)
        if known is not None and known[0] is record:
            return known[1]
        rendered = _ENCODER.encode(short_form(record))
        if known is None and len(self._rendered) >= self._most:
            # The oldest tenth goes: dictionaries remember the order in which keys came.
            for job_id in list(self._rendered)[: self._most // 10]:
                del self._rendered[job_id]
        self._rendered[record.id] = (record, rendered)
        return rendered

    def page(self, found: Page[JobRecord]) -> bytes:
        """`{"items": [...], "next_cursor": n}`. The store hands out the same page too while nothing on it changes."""
        if self._last is not None and self._last[0] is found:
            return self._last[1]
        items = b",".join([self.of(record) for record in found.items])
        cursor = b"null" if found.next_cursor is None else str(found.next_cursor).encode()
        body = b'{"items":[' + items + b'],"next_cursor":' + cursor + b"}"
        self._last = (found, body)
        return body


def payload(data: bytes | None) -> object:
    """A stored payload inside an answer: JSON as it is, other text as a string, nothing as null."""
    if not data:
        return None
    try:
        msgspec.json.decode(data)
        if not data.isascii():
            data.decode()
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return data.decode(errors="replace")
    return msgspec.Raw(data)


def _error_body(record: JobRecord) -> dict[str, Any]:
    """What stands in place of a result where a job has none because it failed: clients look for its error there."""
    return {
        "job_id": record.id,
        "status": record.error_status,
        "error": {"code": record.error_code, "message": record.failure_reason},
    }


def _result(record: JobRecord, result: bytes | None) -> object:
    if result is None and record.state in _FOR_THE_DEAD and record.failure_reason and not record.output_decision:
        return _error_body(record)
    return payload(verified(record, result))


def long_form(record: JobRecord, context: bytes | None, result: bytes | None) -> bytes:
    """The JobDetail: these members are always there, empty or not."""
    labels = record.labels
    shown: dict[str, Any] = {
        "id": record.id,
        "job_id": record.id,
        "state": record.state.value,
        "trace_id": record.trace_id,
        "topic": record.topic,
        "tenant": record.tenant,
        "tenant_id": record.tenant,
        "team": record.team,
        "principal": record.principal,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "context_ptr": f"redis://ctx:{record.id}",
        "context": payload(context),
        "result_ptr": record.result_ptr,
        "result": _result(record, result),
        "actor_id": record.actor_id,
        "actor_type": record.actor_type,
        "idempotency_key": record.idempotency_key,
        "capability": record.capability,
        "pack_id": record.pack_id,
        "risk_tags": record.risk_tags,
        "requires": record.requires,
        "labels": labels,
        "attempts": record.attempts,
        "worker_id": record.worker_id,
        "pool": record.pool,
        "pending_reason": "" if record.state.is_terminal else record.pending_reason,
        "failure_reason": record.failure_reason,
        "deadline_unix": record.deadline_unix,
        "submitted_by": record.submitted_by,
        "safety_decision": record.safety_decision,
        "safety_reason": record.safety_reason,
        "safety_rule_id": record.safety_rule_id,
        "safety_snapshot": record.safety_snapshot,
        "safety_constraints": record.safety_constraints,
        "safety_remediations": record.safety_remediations,
        "safety_job_hash": record.safety_job_hash,
        "approval_required": record.safety_approval_required,
        "approval_ref": record.safety_approval_ref,
        "agent_id": "",
        "agent_name": "",
        "agent_risk_tier": "",
        "workflow_id": record.workflow_id or labels.get("workflow_id", ""),
        "run_id": labels.get("run_id", ""),
        "step_id": labels.get("step_id", ""),
    }
    if record.state in _ENDED_BADLY:
        shown["error_message"] = record.failure_reason
        shown["error_status"] = record.error_status
        shown["error_code"] = record.error_code
        shown["last_state"] = record.last_state
    if record.approval_status:
        shown |= approval_members(record)
    shown |= output_members(record)
    return _ENCODER.encode(shown)


def approval_members(record: JobRecord) -> dict[str, Any]:
    """What is known about a job's approval; times are microseconds, 0 for not yet."""
    return {
        "approval_status": record.approval_status,
        "approval_actionability": record.approval_actionability,
        "approval_revision": record.approval_revision,
        "approval_decision": record.approval_decision,
        "approval_by": record.approval_by,
        "approval_role": record.approval_role,
        "approval_at": record.approval_at,
        "approval_reason": record.approval_reason,
        "approval_note": record.approval_note,
        "approval_policy_snapshot": record.approval_policy_snapshot,
        "approval_job_hash": record.approval_job_hash,
    }
