"""What a policy's constraints do to a job that is dispatched (spec-scheduler 8.2 step 11)."""

from functools import lru_cache
from typing import Final

from cap.pb.cordum.agent.v1 import job_pb2
from google.protobuf.json_format import MessageToJson

from cordum.core.ids import Micros
from cordum.core.jobs.record import JobRecord
from cordum.core.policy.decision import Constraints
from cordum.core.routing.timeouts import TimeoutsConfig
from cordum.rpc.convert import constraints_to_proto

CONSTRAINTS_ENV: Final = "CORDUM_POLICY_CONSTRAINTS"
REDACTION_ENV: Final = "CORDUM_REDACTION_LEVEL"
MAX_ARTIFACT_ENV: Final = "CORDUM_MAX_ARTIFACT_BYTES"
MAX_CONCURRENT_ENV: Final = "CORDUM_MAX_CONCURRENT_JOBS"
MAX_RETRIES_ENV: Final = "CORDUM_MAX_RETRIES"
OURS: Final = (CONSTRAINTS_ENV, REDACTION_ENV, MAX_ARTIFACT_ENV, MAX_CONCURRENT_ENV, MAX_RETRIES_ENV)
"""Environment names only the control plane sets; whatever a submitter put there is removed."""


def constrain(request: job_pb2.JobRequest, constraints: Constraints) -> None:
    """Writes the constraints into the request that goes to the worker; a limit of 0 is none."""
    env = request.env
    for name in OURS:
        if name in env:
            del env[name]
    if constraints.is_empty:
        return
    budgets = constraints.budgets
    env[CONSTRAINTS_ENV] = _protojson(constraints)
    if constraints.redaction_level:
        env[REDACTION_ENV] = constraints.redaction_level
    for name, limit in (
        (MAX_ARTIFACT_ENV, budgets.max_artifact_bytes),
        (MAX_CONCURRENT_ENV, budgets.max_concurrent_jobs),
        (MAX_RETRIES_ENV, budgets.max_retries),
    ):
        if limit:
            env[name] = str(limit)
    if budgets.max_runtime_ms:
        asked = request.budget.deadline_ms
        request.budget.deadline_ms = min(asked, budgets.max_runtime_ms) if asked > 0 else budgets.max_runtime_ms


def deadline_at_dispatch(
    record: JobRecord, request: job_pb2.JobRequest, constraints: Constraints, now: Micros
) -> Micros:
    """When the job must have ended: the earliest of what it asked for itself and what its policy allows; 0 for never.

    A job's own deadline counts from its submission, a policy's runtime from this dispatch.
    """
    own = own_deadline(record, request)
    if not constraints.budgets.max_runtime_ms:
        return own
    allowed = Micros(now + constraints.budgets.max_runtime_ms * 1000)
    return min(own, allowed) if own else allowed


def own_deadline(record: JobRecord, request: job_pb2.JobRequest) -> Micros:
    """When the job itself asked to have ended, 0 for never: on record, or (a job tried again loses it) as requested."""
    if record.deadline_unix or request.budget.deadline_ms <= 0 or not record.created_at:
        return record.deadline_unix
    return Micros(record.created_at + request.budget.deadline_ms * 1000)


def tries_of(record: JobRecord, constraints: Constraints | None, timeouts: TimeoutsConfig) -> int:
    """How often a job may be tried in all: what its policy says, else its workflow, its topic, the default."""
    limit = constraints.budgets.max_retries if constraints is not None else 0
    return limit + 1 if limit else timeouts.tries(record.topic, record.workflow_id)


@lru_cache(maxsize=256)
def _protojson(constraints: Constraints) -> str:
    """The constraints as protobuf's JSON; policies have few different ones, and making the text is slow."""
    return MessageToJson(constraints_to_proto(constraints), indent=None)
