"""Trying a denied job again in a way its policy offers (spec-safety section 10, spec-gateway section 3)."""

from typing import Final

import msgspec
from cap.pb.cordum.agent.v1 import job_pb2

from cordum.bus import messages
from cordum.core.access.caller import Caller
from cordum.core.ids import JobId, Micros, TenantId, Topic, TraceId
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.core.policy.decision import Remediation
from cordum.runtime.clock import Clock, unix_micros
from cordum.runtime.ids import Ids
from cordum.runtime.logging import get_logger
from cordum.services.gateway import protojson
from cordum.services.gateway.errors import ApiError, invalid
from cordum.services.gateway.topics import TopicRegistry
from cordum.store import NewJob, Store

log = get_logger(__name__)

OF_LABEL: Final = "remediation_of"
ID_LABEL: Final = "remediation_id"
_CONTROL: Final = ("_", "approval_", "cordum.", "safety_bypass")
"""Labels of the control plane: no remediation gives or takes them, and those of the old job's way stay behind."""


class Remediator:
    """Makes new jobs out of denied ones."""

    def __init__(self, store: Store, topics: TopicRegistry, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._topics = topics
        self._clock = clock
        self._ids = ids

    async def remediate(
        self, tenant: TenantId, job_id: JobId, remediation_id: str, caller: Caller
    ) -> tuple[JobRecord, job_pb2.JobRequest]:
        """Writes the new job, for the caller to publish; the policy of today decides it like any other.

        Raises:
            ApiError: 404 for no such job or remediation; 409 when the job is not denied, none is offered, or its
                request is no longer kept; 400 when several are offered and none is named.
        """
        detail = await self._store.jobs.get_detail(job_id)
        if detail is None or detail.record.tenant != tenant:
            raise ApiError("job_not_found")
        remedy = chosen(detail.record, remediation_id)
        stored = await self._store.jobs.request(job_id)
        if stored is None or detail.context is None:
            raise ApiError("dlq_not_retryable")
        new_id = JobId(f"{job_id}-remedy-{self._ids.token(4)}")
        job = remedied(protojson.decode(stored), remedy, job_id, new_id)
        await self._topics.check(tenant, Topic(job.topic))
        record = self._record(detail.record, job, new_id, caller)
        await self._store.jobs.create(NewJob(record=record, request=protojson.encode_any(job), context=detail.context))
        log.info(
            "denied job remediated",
            event="job_remediated",
            job_id=job_id,
            new_job_id=new_id,
            remediation_id=remedy.id,
            by=caller.name,
        )
        return record, job

    def _record(self, old: JobRecord, job: job_pb2.JobRequest, new_id: JobId, caller: Caller) -> JobRecord:
        now = unix_micros(self._clock)
        return JobRecord(
            id=new_id,
            state=JobState.PENDING,
            created_at=now,
            updated_at=now,
            topic=Topic(job.topic),
            tenant=old.tenant,
            team=old.team,
            principal=old.principal,
            trace_id=TraceId(self._ids.new()),
            memory_id=old.memory_id,
            actor_id=old.actor_id,
            actor_type=old.actor_type,
            capability=job.meta.capability,
            pack_id=old.pack_id,
            risk_tags=old.risk_tags,
            requires=old.requires,
            labels=dict(job.labels),
            workflow_id=old.workflow_id,
            compensation=old.compensation,
            # Whoever asks for the change asks for the job, and is the one who must not approve it.
            submitted_by=caller.identity,
            deadline_unix=Micros(now + job.budget.deadline_ms * 1000) if job.budget.deadline_ms else Micros(0),
        )


def chosen(record: JobRecord, remediation_id: str) -> Remediation:
    """The remediation that is meant; raises ApiError (409, 404, 400) when there is none such."""
    offered = record.safety_remediations
    if record.state is not JobState.DENIED or not offered:
        raise ApiError("no_remediation")
    if remediation_id:
        for remedy in offered:
            if remedy.id == remediation_id:
                return remedy
        raise ApiError("remediation_not_found", extra={"available": [remedy.id for remedy in offered]})
    if len(offered) > 1:
        ids = [remedy.id for remedy in offered]
        raise invalid(
            "several remediations are offered: name one in remediation_id", "remediation_ambiguous", available=ids
        )
    return offered[0]


def remedied(job: job_pb2.JobRequest, remedy: Remediation, old_id: JobId, new_id: JobId) -> job_pb2.JobRequest:
    """The old request, changed as the remediation says, under a new id."""
    labels = {name: value for name, value in job.labels.items() if name not in remedy.remove_labels}
    labels |= {name: value for name, value in remedy.add_labels.items() if not name.lower().startswith(_CONTROL)}
    kept = {name: value for name, value in labels.items() if not name.lower().startswith(_CONTROL[1:])}
    job.labels.clear()
    job.labels.update({**kept, OF_LABEL: old_id, ID_LABEL: remedy.id})
    for name in ("dispatch", "identity"):
        job.ClearField(name)
    for name in [messages.EFFECTIVE_CONFIG_ENV, *(name for name in job.env if name.startswith("CORDUM_"))]:
        job.env.pop(name, None)
    job.parent_job_id = old_id
    job.job_id = new_id
    job.context_ptr = f"redis://ctx:{new_id}"
    job.topic = remedy.replacement_topic or job.topic
    job.meta.capability = remedy.replacement_capability or job.meta.capability
    # The key belongs to the first submit; the new job must not be taken for its repetition.
    job.meta.idempotency_key = ""
    for name in [name for name in remedy.remove_labels if name in job.meta.labels]:
        del job.meta.labels[name]
    return job


class RemediationChoice(msgspec.Struct):
    """The body of `POST /jobs/{id}/remediate`."""

    remediation_id: str = ""
