"""Every Redis key, in one place (spec-scheduler section 5, spec-gateway section 4).

No command and no script ever touches two of them at once: in a cluster they live on different nodes.
"""

import hashlib
from typing import Final

from cordum.core.ids import DEFAULT_TENANT, JobId, TenantId, TraceId
from cordum.core.jobs.saga import Saga
from cordum.core.jobs.states import JobState

JOB_RECENT: Final = "job:recent"
JOB_DEADLINE: Final = "job:deadline"
PARKED_LANES: Final = "job:parked"
"""The lanes that have parked jobs, a set."""
DLQ_INDEX: Final = "dlq:index"
DLQ_INDEXES: Final = "dlq:indexes"
"""The names of all other indexes of dead letters, for tidying up."""
APPROVALS_UNPUBLISHED: Final = "approval:unpublished"
"""Jobs whose approval was resolved and whose outcome is not known to be published, at the time of the move."""
ENDINGS_UNTOLD: Final = "job:untold"
"""`<state> <job id>`: ends somebody is making and is not known to have told of, at the time of the attempt."""
SAGA_ROLLBACKS: Final = "saga:rollbacks"
"""Sagas that are to be rolled back and are not through, at the time it was asked for."""
WORKER_SNAPSHOT: Final = "sys:workers:snapshot"
WORKER_CREDENTIALS: Final = "worker:credentials"
"""The workers that have, or had, a credential: a set."""
WORKER_CREDENTIALS_REVISION: Final = "worker:credentials:revision"
POLICY_SNAPSHOT_IDS: Final = "cordum:safety:snapshots"
"""Ids of the policies the kernels had in force, a list, newest first."""
POLICIES: Final = "cordum:policies"
"""Copy of the policy bundles in force, for the backup of the guide."""

RECONCILER_LOCK: Final = "cordum:reconciler:default"
REPLAYER_LOCK: Final = "cordum:replayer:pending"
SNAPSHOT_LOCK: Final = "cordum:scheduler:snapshot:writer"
UNFINISHED_LOCK: Final = "cordum:scheduler:unfinished"
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


def approvals_resolved(tenant: TenantId) -> str:
    """A tenant's resolved approvals at the time of their resolution."""
    return f"approval:index:resolved:{tenant}"


def workflow_run(run_id: str) -> str:
    """A workflow run, JSON."""
    return f"wf:run:{run_id}"


def run_begun(tenant: TenantId, workflow_id: str, run_id: str) -> str:
    """When a scheduler first placed a job of this run, microseconds."""
    return f"wf:begun:{tenant}:{_one_part(workflow_id)}:{_one_part(run_id)}"


def job_idempotency(tenant: TenantId, key: str) -> str:
    return f"job:idempotency:{tenant}:{key}"


def job_lock(job_id: JobId) -> str:
    return f"cordum:scheduler:job:{job_id}"


def parked(lane: str) -> str:
    """The jobs of one lane by the time of their next try."""
    return f"job:parked:{lane}"


def running(scope: str) -> str:
    """The jobs that count against a limit of how many may run at once, by the time at which they count no more."""
    return f"job:running:{scope}"


def saga_stack(saga: Saga) -> str:
    """The compensations of a workflow, the latest first."""
    return f"saga:{_saga_name(saga)}:stack"


def saga_lock(saga: Saga) -> str:
    """Who rolls a workflow back."""
    return f"saga:{_saga_name(saga)}:lock"


def _saga_name(saga: Saga) -> str:
    """The workflow, with its tenant before it: two tenants may have workflows of one name."""
    workflow = _one_part(saga.workflow)
    return workflow if saga.tenant == DEFAULT_TENANT else f"{saga.tenant}:{workflow}"


def velocity(rule_id: str, key: str) -> str:
    """The requests in a velocity rule's window. What two keys have in common when they are made legible, a digest tells
    apart."""
    return f"cordum:velocity:{_one_part(rule_id)}:{_one_part(key)}"


SHADOW_TENANTS: Final = "policy:shadow:tenants"
"""The tenants that have shadow policies."""


def shadow_results(tenant: TenantId, bundle_id: str) -> str:
    """What a shadow policy was compared on."""
    return f"policy:shadow:results:{tenant}:{bundle_id}"


def output_stats(tenant: TenantId, hour: int) -> str:
    """What the output policy did in one hour since the epoch."""
    return f"policy:output:stats:{tenant}:{hour}"


def audit_chain(tenant: TenantId) -> str:
    """A tenant's audit events, a stream in which each carries the hash of the one before it."""
    return f"audit:chain:{{{tenant}}}"


def decision(tenant: TenantId, entry_id: str) -> str:
    """One decision of the decision log. The braces keep all of a tenant's on one node of a cluster."""
    return f"gov:dec:{{{tenant}}}:rec:{entry_id}"


def decision_index(tenant: TenantId, kind: str, value: str = "") -> str:
    """Decisions by time; those of one rule, agent, topic or verdict."""
    return f"gov:dec:{{{tenant}}}:idx:{kind}:{value}" if value else f"gov:dec:{{{tenant}}}:idx:{kind}"


def trace(trace_id: TraceId) -> str:
    return f"trace:{trace_id}"


def context(job_id: JobId) -> str:
    return f"ctx:{job_id}"


def result(job_id: JobId) -> str:
    return f"res:{job_id}"


def held_output(job_id: JobId) -> str:
    """The original of a redacted or quarantined result, a hash. Not a payload key, so no pointer is followed to it."""
    return f"quarantine:{job_id}"


def job_output_decision(job_id: JobId) -> str:
    return f"job:{job_id}:output_decision"


def dlq_entry(job_id: JobId) -> str:
    return f"dlq:entry:{job_id}"


def dlq_tenant_index(tenant: TenantId) -> str:
    """A tenant's dead letters, at microseconds (the index of all of them keeps seconds)."""
    return f"dlq:index:{tenant}"


def dlq_index_by(kind: str, tenant: TenantId, value: str) -> str:
    """A tenant's dead letters of one topic, code or group of reasons, at microseconds."""
    return f"dlq:by:{kind}:{tenant}:{_one_part(value)}"


def dlq_removed(job_id: JobId) -> str:
    """Says that somebody has taken this dead letter away: what still travels on the bus must not bring it back."""
    return f"dlq:removed:{job_id}"


def config(scope: str, scope_id: str) -> str:
    return f"cfg:{scope}:{scope_id}"


def worker_credential(worker_id: str) -> str:
    """One worker's credential, a hash."""
    return f"worker:credential:{worker_id}"


def worker_session(worker_id: str) -> str:
    """The session a worker has now."""
    return f"session:worker:{worker_id}"


def revoked_session(tenant: str, jti: str) -> str:
    """A session that holds no more although its time is not up."""
    return f"session:revoked:{tenant}:{jti}"


def handshake_nonce(tenant: str, nonce: str) -> str:
    """A nonce a worker has used."""
    return f"session:nonce:{tenant}:{nonce}"


def handshake_challenge(challenge_id: str) -> str:
    """A challenge that waits for its answer."""
    return f"session:challenge:{challenge_id}"


def boundary_events(bucket: int) -> str:
    """What the boundary checks refused in five minutes, a hash."""
    return f"cordum:boundary:events:{bucket}"


SCHEMA_INDEX: Final = "schema:index"
"""Ids of the registered schemas at the time of their registration."""


def schema(schema_id: str) -> str:
    """A registered JSON Schema, its text."""
    return f"schema:{schema_id}"


def schema_url(url: str) -> str:
    """The id of the schema that others refer to by this URL, its `$id`."""
    return f"schema:url:{url}"


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


_OUTPUTS: Final = ("res:", "art:")


def output_key(ptr: str) -> str:
    """The key behind a pointer to a result, or "": a worker's answer is a result or an artifact, nothing else."""
    key = payload_key(ptr)
    return key if key.startswith(_OUTPUTS) else ""
