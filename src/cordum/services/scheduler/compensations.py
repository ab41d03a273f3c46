"""The request that undoes a job: as it waits in the saga, and as it is submitted (spec-scheduler section 15)."""

from typing import Final

from cap.pb.cordum.agent.v1 import job_pb2
from google.protobuf.message import DecodeError

from cordum.bus import BadPacketError
from cordum.core.ids import JobId, TenantId
from cordum.core.jobs import saga
from cordum.core.jobs.saga import ForeignCompensationError, Saga

_REPLACED: Final = ("context_ptr", "adapter_id", "memory_id", "principal_id")
"""Members a compensation takes over from its job unless it brings its own."""
_META: Final = ("actor_id", "capability", "pack_id")


def left_by(request: job_pb2.JobRequest) -> str:
    """The topic of the compensation a request leaves when it succeeds; "" = none."""
    if not request.HasField("compensation"):
        return ""
    workflow = saga.workflow_of(request.workflow_id, request.labels)
    return saga.left_by(request.compensation.topic, workflow, request.labels)


def check(compensation: job_pb2.Compensation, tenant: TenantId) -> None:
    """Refuses a compensation that would leave its job's tenant.

    Raises:
        BadPacketError: it names another one.
    """
    named = (compensation.tenant_id, compensation.meta.tenant_id, compensation.env.get("tenant_id", ""))
    try:
        saga.check_tenant(tenant, *named)
    except ForeignCompensationError as error:
        raise BadPacketError(error.message) from error


def template(request: job_pb2.JobRequest, wanted: Saga, job_id: JobId) -> bytes:
    """What waits in the saga for a job that has succeeded: the job's own request, turned into what undoes it.

    The same job always gives the same bytes.

    Raises:
        BadPacketError: the compensation would leave the job's tenant.
    """
    asked = request.compensation
    check(asked, wanted.tenant)
    made = job_pb2.JobRequest()
    made.CopyFrom(request)
    for name in ("compensation", "job_id", "dispatch", "identity", "context_ref"):
        made.ClearField(name)
    made.parent_job_id = job_id
    made.workflow_id = wanted.workflow
    made.topic = saga.topic_of(asked.topic)
    made.priority = job_pb2.JOB_PRIORITY_CRITICAL
    made.tenant_id = wanted.tenant
    for name in _REPLACED:
        if value := getattr(asked, name):
            setattr(made, name, value)
    if asked.HasField("context_ref"):
        made.context_ref.CopyFrom(asked.context_ref)
    for name in ("context_hints", "budget"):
        if asked.HasField(name):
            getattr(made, name).CopyFrom(getattr(asked, name))
    env = {**saga.inherited_env(request.env), **saga.inherited_env(asked.env), "tenant_id": wanted.tenant}
    labels = {**saga.inherited_labels(request.labels), **saga.inherited_labels(asked.labels)}
    for field, values in ((made.env, env), (made.labels, labels)):
        field.clear()
        field.update(values)
    _merge_meta(made, request.meta, asked.meta, wanted.tenant)
    made.meta.idempotency_key = asked.meta.idempotency_key or saga.idempotency_key(
        wanted.workflow, job_id, made.topic, made.meta.capability, request.step_index
    )
    return bytes(made.SerializeToString(deterministic=True))


def _merge_meta(
    made: job_pb2.JobRequest, own: job_pb2.JobMetadata, asked: job_pb2.JobMetadata, tenant: TenantId
) -> None:
    meta = made.meta
    for name in _META:
        if value := getattr(asked, name):
            setattr(meta, name, value)
    if asked.actor_type:
        meta.actor_type = asked.actor_type
    for name in ("risk_tags", "requires"):
        merged = dict.fromkeys((*getattr(own, name), *getattr(asked, name)))
        meta.ClearField(name)
        getattr(meta, name).extend(merged)
    labels = {**saga.inherited_labels(own.labels), **saga.inherited_labels(asked.labels)}
    meta.labels.clear()
    meta.labels.update(labels)
    meta.tenant_id = tenant


def submission(entry: bytes, wanted: Saga) -> job_pb2.JobRequest:
    """The job that an entry of a saga stands for.

    Raises:
        BadPacketError: the entry cannot be read, is not of this saga's tenant, or says not what it undoes.
    """
    request = job_pb2.JobRequest()
    try:
        request.ParseFromString(entry)
    except (DecodeError, ValueError, TypeError) as error:
        raise BadPacketError(f"a compensation cannot be read: {error}") from error
    if not request.parent_job_id or not request.topic:
        raise BadPacketError("a compensation says not what it undoes, or how")
    named = (request.tenant_id or "(none)", request.meta.tenant_id, request.env.get("tenant_id", ""))
    try:
        saga.check_tenant(wanted.tenant, *named)
    except ForeignCompensationError as error:
        raise BadPacketError(error.message) from error
    request.job_id = saga.compensation_id(wanted, request.parent_job_id)
    marks = saga.run_labels(wanted)
    request.labels.update(marks)
    request.env.update(marks)
    return request
