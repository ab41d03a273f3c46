"""From a checked submission to what travels and is stored: CAP request, record, context (spec-scheduler 3, 4)."""

from typing import Final

import msgspec
from cap.pb.cordum.agent.v1 import job_pb2

from cordum.core.ids import JobId, Micros, PrincipalId, TenantId, Topic, TraceId
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.core.policy.decision import Verdict
from cordum.services.gateway.submit.submission import Submission
from cordum.services.gateway.times import rfc3339

DEFAULT_INPUT_TOKENS: Final = 8000
DEFAULT_OUTPUT_TOKENS: Final = 1024

_PRIORITIES: Final = {
    "batch": job_pb2.JOB_PRIORITY_BATCH,
    "interactive": job_pb2.JOB_PRIORITY_INTERACTIVE,
    "critical": job_pb2.JOB_PRIORITY_CRITICAL,
}
_ACTORS: Final = {"human": job_pb2.ACTOR_TYPE_HUMAN, "service": job_pb2.ACTOR_TYPE_SERVICE}


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A submission that has passed every check which needs no look at the world."""

    job_id: JobId
    trace_id: TraceId
    tenant: TenantId
    principal: PrincipalId
    submitted_by: str
    topic: Topic
    prompt: str
    labels: dict[str, str]
    risk_tags: tuple[str, ...]
    context: bytes
    """The caller's own context as JSON, b"" for none."""
    idempotency_key: str
    wanted: Submission


class _Context(msgspec.Struct, omit_defaults=True):
    """`ctx:<id>`: what the worker gets to read."""

    adapter_id: str
    created_at: str
    priority: str
    prompt: str
    tenant_id: str
    topic: str
    context: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_ENCODER: Final = msgspec.json.Encoder()


def context_document(draft: Draft, now: float) -> bytes:
    """The JSON behind the job's context pointer."""
    wanted = draft.wanted
    return _ENCODER.encode(
        _Context(
            adapter_id=wanted.adapter_id or "",
            created_at=rfc3339(now),
            priority=wanted.priority or "",
            prompt=draft.prompt,
            tenant_id=draft.tenant,
            topic=draft.topic,
            context=msgspec.Raw(draft.context) if draft.context else msgspec.UNSET,
        )
    )


def job_request(draft: Draft) -> job_pb2.JobRequest:
    """The job as it travels on the bus."""
    wanted = draft.wanted
    max_input = DEFAULT_INPUT_TOKENS if wanted.max_input_tokens is None else wanted.max_input_tokens
    max_output = DEFAULT_OUTPUT_TOKENS if wanted.max_output_tokens is None else wanted.max_output_tokens
    memory_id = wanted.memory_id or draft.job_id
    env = {
        "max_input_tokens": str(max_input),
        "max_output_tokens": str(max_output),
        "memory_id": memory_id,
        "tenant_id": draft.tenant,
    }
    for name in ("team_id", "project_id", "context_mode"):
        if value := getattr(wanted, name):
            env[name] = value
    if wanted.max_total_tokens:
        env["max_total_tokens"] = str(wanted.max_total_tokens)
    return job_pb2.JobRequest(
        job_id=draft.job_id,
        topic=draft.topic,
        priority=_PRIORITIES[wanted.priority or "interactive"],
        context_ptr=f"redis://ctx:{draft.job_id}",
        adapter_id=wanted.adapter_id or "",
        env=env,
        memory_id=memory_id,
        context_hints=job_pb2.ContextHints(
            max_input_tokens=min(max_input, 2**31 - 1),
            allow_summarization=bool(wanted.allow_summarization),
            allow_retrieval=bool(wanted.allow_retrieval),
            tags=wanted.tags or (),
        ),
        budget=job_pb2.Budget(
            max_input_tokens=max_input,
            max_output_tokens=max_output,
            max_total_tokens=wanted.max_total_tokens or 0,
            deadline_ms=wanted.deadline_ms or 0,
        ),
        tenant_id=draft.tenant,
        principal_id=draft.principal,
        labels=draft.labels,
        meta=job_pb2.JobMetadata(
            tenant_id=draft.tenant,
            actor_id=wanted.actor_id or draft.principal,
            actor_type=_ACTORS.get(wanted.actor_type or "", job_pb2.ACTOR_TYPE_UNSPECIFIED),
            idempotency_key=draft.idempotency_key,
            capability=wanted.capability or "",
            risk_tags=draft.risk_tags,
            requires=wanted.requires or (),
            pack_id=wanted.pack_id or "",
        ),
    )


def job_record(draft: Draft, verdict: Verdict | None, now: Micros, *, pending_reason: str = "") -> JobRecord:
    """The record of a job that waits to be dispatched; `verdict` is None when nobody has decided yet."""
    wanted = draft.wanted
    record = JobRecord(
        id=draft.job_id,
        state=JobState.PENDING,
        created_at=now,
        updated_at=now,
        topic=draft.topic,
        tenant=draft.tenant,
        team=wanted.team_id or "",
        principal=draft.principal,
        trace_id=draft.trace_id,
        memory_id=wanted.memory_id or draft.job_id,
        actor_id=wanted.actor_id or draft.principal,
        actor_type=wanted.actor_type or "",
        idempotency_key=draft.idempotency_key,
        capability=wanted.capability or "",
        pack_id=wanted.pack_id or "",
        risk_tags=draft.risk_tags,
        requires=tuple(wanted.requires or ()),
        labels=draft.labels,
        workflow_id=draft.labels.get("workflow_id", ""),
        submitted_by=draft.submitted_by,
        deadline_unix=Micros(now + wanted.deadline_ms * 1000) if wanted.deadline_ms else Micros(0),
        pending_reason=pending_reason,
    )
    return record if verdict is None else with_verdict(record, verdict)


def with_verdict(record: JobRecord, verdict: Verdict) -> JobRecord:
    """The record as it reads once this verdict is written down."""
    return msgspec.structs.replace(
        record,
        safety_decision=verdict.decision.value,
        safety_reason=verdict.reason,
        safety_rule_id=verdict.rule_id,
        safety_snapshot=verdict.snapshot,
        safety_checked_at=verdict.checked_at,
        safety_constraints=None if verdict.constraints.is_empty else verdict.constraints,
        safety_remediations=verdict.remediations,
    )
