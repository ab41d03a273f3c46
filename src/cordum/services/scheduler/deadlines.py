"""Until when a job must have ended by another word than its own: the `total_timeout_seconds` of its workflow.

A scheduler does not run workflows. What it knows of a run are its jobs: those of one workflow with the same label
`run_id`, or, where they have none, of one trace. The run's time begins with the first of them that is placed; each job
gets what is left of it as its deadline, and one that comes too late is not placed any more.
"""

from typing import Final

import msgspec

from cordum.core.ids import Micros
from cordum.core.jobs.record import JobRecord
from cordum.services.scheduler.clock_watch import ClockWatch
from cordum.services.scheduler.routing import LiveRoutes
from cordum.store import Store

RUN_LABEL: Final = "run_id"
MOST_RUNS: Final = 10_000
"""Beginnings of runs kept at hand."""


class Deadlines:
    """Knows the deadlines of jobs that wait to be placed."""

    def __init__(self, store: Store, routes: LiveRoutes, watch: ClockWatch) -> None:
        self._store = store
        self._routes = routes
        self._watch = watch
        self._begun: dict[tuple[str, str, str], Micros] = {}

    async def timed(self, record: JobRecord) -> JobRecord:
        """The record with the deadline of its run, if that comes before its own. Costs nothing without such a limit.

        Raises:
            StoreError: the beginning of the run is not known.
        """
        limit = self._routes.now.timeouts.total_timeout(record.workflow_id)
        if not limit:
            return record
        run = record.labels.get(RUN_LABEL) or record.trace_id or record.id
        name = (record.tenant, record.workflow_id, run)
        begun = self._begun.get(name)
        if begun is None:
            at = record.created_at or record.updated_at
            begun = await self._store.run_times.begun(record.tenant, record.workflow_id, run, at, limit)
            if len(self._begun) >= MOST_RUNS:
                del self._begun[next(iter(self._begun))]
            self._begun[name] = begun
        until = Micros(begun + int(limit * 1_000_000))
        if 0 < record.deadline_unix <= until:
            return record
        return msgspec.structs.replace(record, deadline_unix=until)

    def passed(self, record: JobRecord, deadline: Micros) -> bool:
        """Whether a waiting job's deadline has passed."""
        return self._watch.overdue(msgspec.structs.replace(record, deadline_unix=deadline)) if deadline else False
