"""The slots of the fleet, shared with what waits for them: taking one, giving it back and waking whoever can use it."""

from collections.abc import Callable
from typing import Final

from cap.pb.cordum.agent.v1 import job_pb2

from cordum.core.ids import DispatchId, JobId, WorkerId
from cordum.core.jobs.record import JobRecord
from cordum.core.routing.fleet import Fleet
from cordum.core.routing.slots import Hold
from cordum.runtime.clock import Clock

REMEMBERED: Final = 20_000
"""Records of dispatched jobs kept at hand, so that a result needs no read; older ones are read again."""

_IN_PROGRESS: Final = frozenset(
    {
        job_pb2.JOB_STATUS_UNSPECIFIED,
        job_pb2.JOB_STATUS_PENDING,
        job_pb2.JOB_STATUS_SCHEDULED,
        job_pb2.JOB_STATUS_DISPATCHED,
        job_pb2.JOB_STATUS_RUNNING,
    }
)

OnFree = Callable[[Hold], None]


def is_end(result: job_pb2.JobResult) -> bool:
    """Whether a result ends an attempt; the other statuses only tell how it is going."""
    return result.status not in _IN_PROGRESS


class Holding:
    """Slots, and the records of the jobs that hold them."""

    def __init__(self, fleet: Fleet, clock: Clock) -> None:
        self._fleet = fleet
        self._clock = clock
        self._records: dict[JobId, JobRecord] = {}
        self._on_free: list[OnFree] = []

    def on_free(self, call: OnFree) -> None:
        """Calls back with the hold that ended whenever a slot becomes free."""
        self._on_free.append(call)

    def take(self, record: JobRecord, *, ours: bool, since: float | None = None) -> None:
        """A worker holds this job now: `worker_id`, `dispatch_id` and `pool` of the record say which."""
        constraints = record.safety_constraints
        self._fleet.slots.take(
            Hold(
                job_id=record.id,
                dispatch_id=record.dispatch_id,
                worker_id=record.worker_id,
                pool=record.pool,
                tenant=record.tenant,
                since=self._clock.monotonic() if since is None else since,
                ours=ours,
                limited=constraints is not None and constraints.budgets.max_concurrent_jobs > 0,
            )
        )

    def remember(self, record: JobRecord) -> None:
        """Keeps the record of a dispatched job until its result comes."""
        records = self._records
        if len(records) >= REMEMBERED:
            del records[next(iter(records))]
        records[record.id] = record

    def recall(self, job_id: JobId) -> JobRecord | None:
        """The record as it was written at dispatch, if it is at hand."""
        return self._records.get(job_id)

    def forget(self, job_id: JobId) -> None:
        self._records.pop(job_id, None)

    def release(self, job_id: JobId, dispatch_id: DispatchId | None = None) -> Hold | None:
        """Gives a job's slot back (only of this dispatch, when given) and tells who waits for one."""
        hold = self._fleet.slots.release(job_id, dispatch_id)
        if hold is not None:
            for call in self._on_free:
                call(hold)
        return hold

    def ended_by(self, result: job_pb2.JobResult) -> None:
        """A result went by: if it comes from the worker that holds the job, the slot is free again."""
        hold = self._fleet.slots.get(JobId(result.job_id))
        if hold is None:
            self._fleet.finished_unknown(WorkerId(result.worker_id))
            return
        if hold.worker_id != result.worker_id:
            return
        echoed = result.dispatch.dispatch_id
        if echoed and echoed != hold.dispatch_id:
            return
        self.release(hold.job_id)
