"""Every move of a job, as data: a pure function per event, answering with the `Change` the store is to make.

A `Change` is applied by one compare-and-set on `job:meta:<id>` (architecture, "How"): it says from which states it may
start, which fields must still hold what we read (the fence), and what to write. Whoever loses the race changes nothing.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from cordum.core.ids import DispatchId, Micros, PoolName, WorkerId
from cordum.core.jobs.record import JobRecord, hash_value, verdict_fields
from cordum.core.jobs.states import ACTIVE, WAITING, WITH_WORKER, JobState, states_before
from cordum.core.policy.decision import Verdict

MAX_SCHEDULING_ATTEMPTS: Final = 50
"""A job placed this often without an end is given up (spec-scheduler 8.2 step 7)."""

_PLACED: Final = ("pending_reason", "placement_tries")
"""What a job loses once it waits for a worker no more."""

_RELEASED: Final = ("dispatch_id", "worker_id", "pool", "dispatched_at", "deadline_unix", "pending_reason")
"""What a job loses when no worker holds it any more and it is to be placed again."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One move of one job.

    Attributes:
        to: the state afterwards.
        allowed_from: the states it may start from; any other leaves the record untouched.
        fence: fields that must still hold these values ("" also matches a missing field).
        fields: what to write. The store adds `state` and `updated_at`.
        clear: fields to remove.
        trail: states passed on the way, `to` last; each becomes an entry of `job:events:<id>`.
        deadline: when the job must have ended, microseconds; 0 leaves `job:deadline` as it is.
    """

    to: JobState
    allowed_from: frozenset[JobState]
    fence: Mapping[str, str] = {}
    fields: Mapping[str, str] = {}
    clear: tuple[str, ...] = ()
    trail: tuple[JobState, ...] = ()
    deadline: Micros = Micros(0)


def deny(verdict: Verdict) -> Change:
    """Policy said no. Nothing denies a job that already runs; a deny rule stops what has not started."""
    return Change(
        to=JobState.DENIED,
        allowed_from=states_before(JobState.DENIED),
        fields=verdict_fields(verdict)
        | {
            "failure_reason": f"safety: denied: {verdict.reason}" if verdict.reason else "safety: denied",
            "error_code": "safety_denied",
            "error_status": "JOB_STATUS_DENIED",
        },
        clear=("pending_reason",),
        trail=(JobState.DENIED,),
    )


def require_approval(record: JobRecord, verdict: Verdict, job_hash: str) -> Change:
    """Policy wants a person's word: the job is parked, bound to what it asks for and to the policy that asked."""
    return Change(
        to=JobState.APPROVAL_REQUIRED,
        allowed_from=states_before(JobState.APPROVAL_REQUIRED),
        fields=verdict_fields(verdict) | approval_request_fields(record, job_hash),
        clear=("pending_reason",),
        trail=(JobState.APPROVAL_REQUIRED,),
    )


def approval_request_fields(record: JobRecord, job_hash: str) -> dict[str, str]:
    """The fields of a fresh, open approval request (spec-safety section 11)."""
    return {
        "safety_approval_required": "true",
        "safety_approval_ref": record.id,
        "safety_job_hash": job_hash,
        "approval_status": "pending",
        "approval_actionability": "actionable",
        "approval_revision": str(record.approval_revision + 1),
        "approval_decision": "",
        "approval_by": "",
        "approval_at": "",
    }


class Resolution(msgspec.Struct, frozen=True, kw_only=True):
    """A person's word on a parked job."""

    by: str
    role: str
    reason: str = ""
    note: str = ""
    at: Micros


def approve(record: JobRecord, resolution: Resolution) -> Change:
    """The parked job may go on; the scheduler checks it once more before it runs."""
    return Change(
        to=JobState.PENDING,
        allowed_from=frozenset({JobState.APPROVAL_REQUIRED}),
        fence=_open_request(record),
        fields=_resolution_fields(record, resolution)
        | {
            "approval_status": "approved",
            "approval_decision": "approve",
            "approval_publish_status": "pending",
            "approval_publish_target": "submit",
            "safety_approval_required": "",
        },
        trail=(JobState.PENDING,),
    )


def reject(record: JobRecord, resolution: Resolution) -> Change:
    """The parked job is refused for good."""
    return Change(
        to=JobState.DENIED,
        allowed_from=frozenset({JobState.APPROVAL_REQUIRED}),
        fence=_open_request(record),
        fields=_resolution_fields(record, resolution)
        | {
            "approval_status": "rejected",
            "approval_decision": "reject",
            "approval_publish_status": "pending",
            "approval_publish_target": "dlq",
            "safety_approval_required": "",
            "failure_reason": f"approval rejected: {resolution.reason}" if resolution.reason else "approval rejected",
            "error_code": "approval_rejected",
            "error_status": "JOB_STATUS_DENIED",
        },
        trail=(JobState.DENIED,),
    )


def _open_request(record: JobRecord) -> dict[str, str]:
    return {"approval_status": "pending", "approval_revision": str(record.approval_revision or "")}


def _resolution_fields(record: JobRecord, resolution: Resolution) -> dict[str, str]:
    return {
        "approval_by": resolution.by,
        "approval_role": resolution.role,
        "approval_at": str(resolution.at),
        "approval_reason": resolution.reason,
        "approval_note": resolution.note,
        "approval_policy_snapshot": record.safety_snapshot,
        "approval_job_hash": record.safety_job_hash,
        "approval_actionability": "resolved",
    }


def approval_covers(record: JobRecord, verdict: Verdict, job_hash: str) -> bool:
    """Whether a person has approved this very job under this very demand for approval.

    Bound to the job's hash and to the policy: the same snapshot, or a newer one in which the same rule asks again. Any
    other verdict than REQUIRE_APPROVAL is never overruled by an approval.
    """
    return (
        record.approval_status == "approved"
        and bool(job_hash)
        and record.approval_job_hash == job_hash
        and (record.approval_policy_snapshot == verdict.snapshot or record.safety_rule_id == verdict.rule_id != "")
    )


def dispatch(
    record: JobRecord,
    verdict: Verdict,
    *,
    worker: WorkerId,
    pool: PoolName,
    dispatch_id: DispatchId,
    now: Micros,
    deadline: Micros,
) -> Change:
    """A worker was chosen: the job runs from here on, under a new dispatch id and attempt.

    Written before the message is published: a crash between the two is mended by the redelivered submit, which finds
    the same dispatch id and publishes again under the same message id.
    """
    return Change(
        to=JobState.RUNNING,
        allowed_from=WAITING,
        fence={"attempts": str(record.attempts or ""), "dispatch_id": record.dispatch_id},
        fields=verdict_fields(verdict)
        | {
            "attempts": str(record.attempts + 1),
            "worker_id": worker,
            "pool": pool,
            "dispatch_id": dispatch_id,
            "dispatched_at": str(now),
        }
        | ({"deadline_unix": str(deadline)} if deadline else {}),
        clear=_PLACED,
        trail=(JobState.SCHEDULED, JobState.DISPATCHED, JobState.RUNNING),
        deadline=deadline,
    )


def undo_dispatch(record: JobRecord, dispatch_id: DispatchId) -> Change:
    """The dispatch could not be published: the job is placed again, the attempt does not count."""
    return Change(
        to=JobState.PENDING,
        allowed_from=WITH_WORKER,
        fence={"dispatch_id": dispatch_id},
        fields={"attempts": str(record.attempts)},
        clear=_RELEASED,
        trail=(JobState.PENDING,),
    )


def wait(reason: str, attempts: int | None = None) -> Change:
    """The job cannot run yet; `reason` is shown to whoever asks."""
    fields = {"pending_reason": reason}
    if attempts is not None:
        fields["attempts"] = str(attempts)
    return Change(to=JobState.PENDING, allowed_from=WAITING, fields=fields)


def park(record: JobRecord, reason: str, tries: int, verdict: Verdict | None = None) -> Change:
    """The job waits among the parked, `reason` says for what; `tries` placements have found no worker so far."""
    return Change(
        to=record.state if record.state is JobState.RETRYING else JobState.PENDING,
        allowed_from=WAITING,
        fence={"attempts": str(record.attempts or ""), "dispatch_id": record.dispatch_id},
        fields={"pending_reason": reason, "placement_tries": str(tries)}
        | (verdict_fields(verdict) if verdict is not None else {}),
    )


def complete(record: JobRecord, verdict: Verdict) -> Change:
    """Nobody has to work on this job: being allowed is its whole success (approval gates, guards)."""
    return Change(
        to=JobState.SUCCEEDED,
        allowed_from=WAITING,
        fence={"attempts": str(record.attempts or ""), "dispatch_id": record.dispatch_id},
        fields=verdict_fields(verdict),
        clear=(*_PLACED, "failure_reason"),
        trail=(JobState.SUCCEEDED,),
    )


def succeed(*, worker: WorkerId, dispatch_id: DispatchId, result_ptr: str) -> Change:
    """The worker that holds the job delivered its result."""
    return Change(
        to=JobState.SUCCEEDED,
        allowed_from=WITH_WORKER,
        fence=_held_by(worker, dispatch_id),
        fields={"result_ptr": result_ptr} if result_ptr else {},
        clear=("pending_reason", "failure_reason"),
        trail=(JobState.SUCCEEDED,),
    )


def end_by_worker(
    to: JobState,
    *,
    worker: WorkerId,
    dispatch_id: DispatchId,
    status: str,
    reason: str,
    code: str,
    result_ptr: str = "",
) -> Change:
    """The worker that holds the job reported another end than success, or asks for another try (RETRYING)."""
    return Change(
        to=to,
        allowed_from=WITH_WORKER,
        fence=_held_by(worker, dispatch_id),
        fields=_failure(reason, code, status) | ({"result_ptr": result_ptr} if result_ptr else {}),
        clear=_RELEASED if to is JobState.RETRYING else ("pending_reason",),
        trail=(to,),
    )


def _held_by(worker: WorkerId, dispatch_id: DispatchId) -> dict[str, str]:
    """A result counts only from the worker the job was given to and, where it says so, for the current dispatch."""
    fence = {"worker_id": str(worker)}
    if dispatch_id:
        fence["dispatch_id"] = dispatch_id
    return fence


def fail(reason: str, code: str) -> Change:
    """The scheduler gives a job up that no worker holds."""
    return Change(
        to=JobState.FAILED,
        allowed_from=WAITING | {JobState.APPROVAL_REQUIRED},
        fields=_failure(reason, code, "JOB_STATUS_FAILED"),
        clear=("pending_reason",),
        trail=(JobState.FAILED,),
    )


def time_out(record: JobRecord, reason: str) -> Change:
    """The job is in the same state, under the same dispatch, for longer than it may be."""
    return Change(
        to=JobState.TIMEOUT,
        allowed_from=frozenset({record.state}),
        fence={"dispatch_id": record.dispatch_id},
        fields=_failure(reason, "timeout", "JOB_STATUS_TIMEOUT") | {"last_state": record.state.value},
        clear=("pending_reason",),
        trail=(JobState.TIMEOUT,),
    )


def lose_worker(record: JobRecord, max_attempts: int) -> Change:
    """The worker that held the job went silent: try again, or fail when the tries are used up."""
    reason = f"worker_lost: worker {record.worker_id} went silent while it held the job"
    if record.attempts < max_attempts:
        return Change(
            to=JobState.PENDING,
            allowed_from=WITH_WORKER,
            fence={"dispatch_id": record.dispatch_id},
            fields={"failure_reason": reason},
            clear=_RELEASED,
            trail=(JobState.RETRYING, JobState.PENDING),
        )
    return Change(
        to=JobState.FAILED,
        allowed_from=WITH_WORKER,
        fence={"dispatch_id": record.dispatch_id},
        fields=_failure(reason, "worker_lost", "JOB_STATUS_FAILED") | {"last_state": record.state.value},
        clear=("pending_reason",),
        trail=(JobState.FAILED,),
    )


def cancel(reason: str) -> Change:
    """Somebody wants the job stopped; whatever has not ended, ends here."""
    return Change(
        to=JobState.CANCELLED,
        allowed_from=ACTIVE,
        fields=_failure(reason, "cancelled", "JOB_STATUS_CANCELLED") if reason else {},
        clear=("pending_reason",),
        trail=(JobState.CANCELLED,),
    )


def approval_published(at: Micros) -> dict[str, str]:
    """Fields to write once an approval's outcome is on the bus."""
    return {"approval_publish_status": "published", "approval_published_at": hash_value(at)}


def _failure(reason: str, code: str, status: str) -> dict[str, str]:
    return {"failure_reason": reason, "error_code": code, "error_status": status}
