"""Every Redis key, in one place (spec-scheduler section 5, spec-gateway section 4).

No command and no script ever touches two of them at once: in a cluster they live on different nodes.
"""

import hashlib
from typing import Final

from cordum.core.ids import JobId, PoolName, TenantId, TraceId
from cordum.core.jobs.states import JobState

JOB_RECENT: Final = "job:recent"
JOB_DEADLINE: Final = "job:deadline"
PARKED_POOLS: Final = "job:parked"
DLQ_INDEX: Final = "dlq:index"
WORKER_SNAPSHOT: Final = "sys:workers:snapshot"

RECONCILER_LOCK: Final = "cordum:reconciler:default"
REPLAYER_LOCK: Final = "cordum:replayer:pending"
SNAPSHOT_LOCK: Final = "cordum:scheduler:snapshot:writer"
DLQ_CLEANUP_LOCK: Final = "cordum:dlq:cleanup"

STATE_INDEX: Final = {state: f"job:index:{state.label}" for state in JobState}
"""One sorted set per state: job id at `updated_at`."""


def job_meta(job_id: JobId) -> str:
    """The authoritative record, a hash."""
    return f"job:meta:{job_id}"


def job_state(job_id: JobId) -> str:
    """Mirror of the record's state, for people and older tools; never read by us."""
    return f"job:state:{job_id}"


def job_request(job_id: JobId) -> str:
    return f"job:req:{job_id}"


def job_result_pointer(job_id: JobId) -> str:
    return f"job:result_ptr:{job_id}"


def job_events(job_id: JobId) -> str:
    return f"job:events:{job_id}"


def job_decisions(job_id: JobId) -> str:
    return f"job:decisions:{job_id}"


def job_tenant_index(tenant: TenantId) -> str:
    """All jobs of a tenant at `updated_at`."""
    return f"job:index:tenant:{tenant}"


def job_tenant_active(tenant: TenantId) -> str:
    """The jobs of a tenant that have not ended."""
    return f"job:tenant:active:{tenant}"


def job_idempotency(tenant: TenantId, key: str) -> str:
    return f"job:idempotency:{tenant}:{key}"


def job_lock(job_id: JobId) -> str:
    return f"cordum:scheduler:job:{job_id}"


def parked(pool: PoolName) -> str:
    return f"job:parked:{pool}"


def velocity(rule_id: str, key: str) -> str:
    """The requests in a velocity rule's window. What two keys have in common when they are made legible, a digest tells
    apart."""
    return f"cordum:velocity:{_one_part(rule_id)}:{_one_part(key)}"


def trace(trace_id: TraceId) -> str:
    return f"trace:{trace_id}"


def context(job_id: JobId) -> str:
    return f"ctx:{job_id}"


def result(job_id: JobId) -> str:
    return f"res:{job_id}"


def dlq_entry(job_id: JobId) -> str:
    return f"dlq:entry:{job_id}"


def dlq_tenant_index(tenant: TenantId) -> str:
    """A tenant's dead letters, at microseconds (the index of all of them keeps seconds)."""
    return f"dlq:index:{tenant}"


def config(scope: str, scope_id: str) -> str:
    return f"cfg:{scope}:{scope_id}"


def instance(service: str, instance_id: str) -> str:
    return f"cordum:instance:{service}:{instance_id}"


POINTER_SCHEME: Final = "redis://"
_PAYLOADS: Final = ("res:", "ctx:", "art:", "mem:")


def pointer(key: str) -> str:
    """A pointer to a payload, as messages and records carry it."""
    return POINTER_SCHEME + key


def payload_key(ptr: str) -> str:
    """The key behind a pointer, or "" for one we do not follow.

    A worker chooses the pointers it sends, so only payload keys are ever followed (spec-scheduler 3.4): never a
    configuration, a session or a job record.
    """
    key = ptr.removeprefix(POINTER_SCHEME)
    return key if key != ptr and key.startswith(_PAYLOADS) else ""


_LONGEST_PART: Final = 80


def _one_part(text: str) -> str:
    """A text as one part of a key: itself where it can be, else legible and with a digest of what it was."""
    legible = "_".join(text.replace(":", " ").split())[:_LONGEST_PART]
    if legible == text and text:
        return text
    return f"{legible}~{hashlib.sha256(text.encode()).hexdigest()[:16]}"
