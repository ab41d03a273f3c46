"""The job that is made from a dead one: it asks for the same, and knows nothing of what became of the first."""

import hashlib
from typing import Final

from cap.pb.cordum.agent.v1 import job_pb2

from cordum.bus import messages
from cordum.core.access.caller import Caller
from cordum.core.ids import JobId, Micros, Topic, TraceId
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.store import DeadLetter

RETRY_OF: Final = "retry_of_job"
_LEFT_BEHIND: Final = ("approval_", "safety_bypass", messages.BUS_MSG_ID_LABEL)
"""Labels of the old job's way through the control plane; the new one goes its own."""


def retry_id(entry: DeadLetter) -> JobId:
    """The id of the job a letter is retried as: the same one, however often and by whomever it is asked for."""
    digest = hashlib.sha256(f"{entry.job_id}\n{entry.created_at}".encode()).hexdigest()
    return JobId(f"{entry.job_id}-retry-{digest[:8]}")


def brings_context(job: job_pb2.JobRequest) -> bool:
    """Whether the job's input is its own and has to be copied; else it points at somebody else's, or at none."""
    return bool(job.context_ptr == f"redis://ctx:{job.job_id}")


def request_again(job: job_pb2.JobRequest, new_id: JobId) -> job_pb2.JobRequest:
    """The old request under a new id: priority, budget, hints, memory, compensation and workflow stay as they were."""
    old_id = job.job_id
    if brings_context(job):
        job.context_ptr = f"redis://ctx:{new_id}"
    for labels in (job.labels, job.meta.labels):
        for name in [name for name in labels if name.lower().startswith(_LEFT_BEHIND)]:
            del labels[name]
    for name in ("dispatch", "identity"):
        job.ClearField(name)
    for name in [name for name in job.env if name.startswith("CORDUM_")]:
        job.env.pop(name, None)
    job.job_id = new_id
    # The key belongs to the first submit; the new job must not be taken for its repetition.
    job.meta.idempotency_key = ""
    job.labels["retry"] = "true"
    job.labels["dlq_entry"] = old_id
    job.labels[RETRY_OF] = old_id
    job.env[RETRY_OF] = old_id
    return job


def record_again(old: JobRecord, job: job_pb2.JobRequest, caller: Caller, now: Micros) -> JobRecord:
    """The record of the new job.

    Args:
        old: the dead job.
        job: the new job's request.
        caller: who tries it again.
    """
    return JobRecord(
        id=JobId(job.job_id),
        state=JobState.PENDING,
        created_at=now,
        updated_at=now,
        topic=Topic(job.topic),
        tenant=old.tenant,
        team=old.team,
        principal=old.principal,
        trace_id=TraceId(f"dlq-retry-{old.id}"),
        memory_id=old.memory_id,
        actor_id=old.actor_id,
        actor_type=old.actor_type,
        capability=old.capability,
        pack_id=old.pack_id,
        risk_tags=old.risk_tags,
        requires=old.requires,
        labels={**job.meta.labels, **job.labels},
        workflow_id=old.workflow_id,
        compensation=old.compensation,
        # Still the first submitter's wish: whoever sees the failure and tries again does not make it their own.
        submitted_by=old.submitted_by or caller.identity,
        deadline_unix=Micros(now + job.budget.deadline_ms * 1000) if job.budget.deadline_ms else Micros(0),
    )
