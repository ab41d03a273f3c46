"""Every move of a job, as data: a pure function per event, answering with the `Change` the store is to make.

A `Change` is applied by one compare-and-set on `job:meta:<id>` (architecture, "How"): it says from which states it may
start, which fields must still hold what we read (the fence), and what to write. Whoever loses the race changes nothing.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from cordum.core.ids import DispatchId, Micros, PoolName, WorkerId
from cordum.core.jobs.record import JobRecord, verdict_fields
from cordum.core.jobs.states import ACTIVE, WAITING, WITH_WORKER, JobState, states_before
from cordum.core.policy.decision import Verdict

MAX_SCHEDULING_ATTEMPTS: Final = 50
"""A job placed this often without an end is given up (spec-scheduler 8.2 step 7)."""

_PLACED: Final = ("pending_reason", "placement_tries")
"""What a job loses once it waits for a worker no more."""

_RELEASED: Final = (
    "dispatch_id",
    "worker_id",
    "pool",
    "dispatched_at",
    "deadline_unix",
    "pending_reason",
    "output_held",
)
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
        # An approval is good for one dispatch: this one.
        | ({"approval_dispatch_id": dispatch_id} if record.approval_status == "approved" else {})
        | ({"deadline_unix": str(deadline)} if deadline else {}),
        clear=_PLACED,
        trail=(JobState.SCHEDULED, JobState.DISPATCHED, JobState.RUNNING),
        deadline=deadline,
    )


def undo_dispatch(record: JobRecord, dispatch_id: DispatchId) -> Change:
    """The dispatch could not be published: the job is placed again, neither attempt nor approval were used."""
    return Change(
        to=JobState.PENDING,
        allowed_from=WITH_WORKER,
        fence={"dispatch_id": dispatch_id},
        fields={"attempts": str(record.attempts)}
        | ({"approval_dispatch_id": record.approval_dispatch_id} if record.approval_status == "approved" else {}),
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
        fence=held_by(worker, dispatch_id),
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
        fence=held_by(worker, dispatch_id),
        fields=_failure(reason, code, status) | ({"result_ptr": result_ptr} if result_ptr else {}),
        clear=_RELEASED if to is JobState.RETRYING else ("pending_reason",),
        trail=(to,),
    )


def held_by(worker: WorkerId, dispatch_id: DispatchId) -> dict[str, str]:
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
    """The worker that held the job went silent: try again, or fail when the tries are used up.

    Not while its result waits for the output policy: then the worker has done its work.
    """
    reason = f"worker_lost: worker {record.worker_id} went silent while it held the job"
    if record.attempts < max_attempts:
        return Change(
            to=JobState.PENDING,
            allowed_from=WITH_WORKER,
            fence={"dispatch_id": record.dispatch_id, "output_held": ""},
            fields={"failure_reason": reason},
            clear=_RELEASED,
            trail=(JobState.RETRYING, JobState.PENDING),
        )
    return Change(
        to=JobState.FAILED,
        allowed_from=WITH_WORKER,
        fence={"dispatch_id": record.dispatch_id, "output_held": ""},
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


def _failure(reason: str, code: str, status: str) -> dict[str, str]:
    return {"failure_reason": reason, "error_code": code, "error_status": status}
