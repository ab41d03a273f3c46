"""Who holds which job: slots are taken when a job is dispatched and given back when it ends (architecture, "How").

Heartbeats come every few seconds and a burst of jobs lasts less, so load is what was handed out, not what was reported.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import msgspec

from cordum.core.ids import DispatchId, JobId, PoolName, TenantId, WorkerId

_NONE: Final[Mapping[JobId, "Hold"]] = {}


class Hold(msgspec.Struct, frozen=True):
    """One job in the hands of one worker.

    Attributes:
        since: seconds of the caller's steady clock.
        ours: whether this process dispatched it; otherwise a peer did and we overheard it.
        limited: whether its policy limits how many of its tenant's jobs run at once, so that its end has to be told.
    """

    job_id: JobId
    dispatch_id: DispatchId
    worker_id: WorkerId
    pool: PoolName
    tenant: TenantId
    since: float
    ours: bool
    limited: bool = False


def _nobody(_worker_id: WorkerId) -> None:
    pass


class Slots:
    """Every hold, by job, worker and tenant. At most one a job: the newest dispatch replaces an older one."""

    def __init__(self, on_change: Callable[[WorkerId], None] = _nobody) -> None:
        """`on_change` is told of each worker that holds more or fewer jobs than before."""
        self._on_change = on_change
        self._by_job: dict[JobId, Hold] = {}
        self._by_worker: dict[WorkerId, dict[JobId, Hold]] = {}
        self._by_tenant: dict[TenantId, int] = {}

    def __len__(self) -> int:
        return len(self._by_job)

    def __iter__(self) -> Iterator[Hold]:
        return iter(tuple(self._by_job.values()))

    def take(self, hold: Hold) -> None:
        """Records that a worker holds a job."""
        if hold.job_id in self._by_job:
            self.release(hold.job_id)
        self._by_job[hold.job_id] = hold
        self._by_worker.setdefault(hold.worker_id, {})[hold.job_id] = hold
        self._by_tenant[hold.tenant] = self._by_tenant.get(hold.tenant, 0) + 1
        self._on_change(hold.worker_id)

    def get(self, job_id: JobId) -> Hold | None:
        return self._by_job.get(job_id)

    def release(self, job_id: JobId, dispatch_id: DispatchId | None = None) -> Hold | None:
        """Gives a slot back.

        Args:
            dispatch_id: when given, only this very dispatch is released, not a newer one of the same job.

        Returns:
            The hold that ended, or None when there was none to end.
        """
        hold = self._by_job.get(job_id)
        if hold is None or (dispatch_id is not None and hold.dispatch_id != dispatch_id):
            return None
        del self._by_job[job_id]
        of_worker = self._by_worker[hold.worker_id]
        del of_worker[job_id]
        if not of_worker:
            del self._by_worker[hold.worker_id]
        left = self._by_tenant[hold.tenant] - 1
        if left:
            self._by_tenant[hold.tenant] = left
        else:
            del self._by_tenant[hold.tenant]
        self._on_change(hold.worker_id)
        return hold

    def held_by(self, worker_id: WorkerId) -> Mapping[JobId, Hold]:
        """The jobs a worker holds."""
        return self._by_worker.get(worker_id, _NONE)

    def holders(self) -> Iterable[WorkerId]:
        """The workers that hold jobs."""
        return tuple(self._by_worker)

    def of_tenant(self, tenant: TenantId) -> int:
        """How many jobs of a tenant are with workers."""
        return self._by_tenant.get(tenant, 0)
