"""Walks through the jobs of a state, or with a deadline, oldest first, without holding them all or any twice."""

from collections.abc import AsyncIterator
from typing import Final

from cordum.core.ids import Micros
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.store import Store

BEGINNING: Final = Micros(0)

FOREVER: Final = Micros(2**52)
"""A moment no stamp lies behind; sorted sets keep every whole number up to there."""

BATCH: Final = 200
MAX_BATCHES: Final = 100
"""Jobs read at once, and how many times per walk."""


async def jobs_in_state(
    store: Store, state: JobState, *, until: Micros, since: Micros = BEGINNING
) -> AsyncIterator[list[JobRecord]]:
    """The jobs that came to stand in `state` between two moments, a batch at a time.

    Index entries that their records do not bear out are mended on the way.

    Raises:
        StoreError: the store does not answer.
    """
    seen: set[str] = set()
    for _ in range(MAX_BATCHES):
        ids = await store.jobs.ids_in_state(state, until, BATCH + len(seen), newer_than=since)
        fresh = [job_id for job_id in ids if job_id not in seen]
        if not fresh:
            return
        records = await store.jobs.get_many(fresh)
        standing = [record for record in records if record is not None and record.state is state]
        if len(standing) < len(fresh):
            found = {record.id for record in standing}
            await store.jobs.repair_indexes([job_id for job_id in fresh if job_id not in found])
        if standing:
            yield standing
            # Many jobs may share the last moment: the next batch begins with it, and these are left out of it.
            last = max(record.updated_at for record in standing)
            since = max(since, last)
            seen = {record.id for record in standing if record.updated_at == last}
        if len(fresh) < BATCH:
            return


async def jobs_with_deadline(store: Store, *, until: Micros) -> AsyncIterator[list[JobRecord]]:
    """The active jobs whose deadline lies before a moment, the earliest first, a batch at a time.

    Deadlines that belong to no active job, or to another moment, are mended on the way.

    Raises:
        StoreError: the store does not answer.
    """
    seen: set[str] = set()
    since = BEGINNING
    for _ in range(MAX_BATCHES):
        ids = await store.jobs.due_deadlines(until, BATCH + len(seen), newer_than=since)
        fresh = [job_id for job_id in ids if job_id not in seen]
        if not fresh:
            return
        records = await store.jobs.get_many(fresh)
        standing = [
            record
            for record in records
            if record is not None and not record.state.is_terminal and since <= record.deadline_unix <= until
        ]
        if len(standing) < len(fresh):
            found = {record.id for record in standing}
            await store.jobs.repair_indexes([job_id for job_id in fresh if job_id not in found])
        if standing:
            yield standing
            last = max(record.deadline_unix for record in standing)
            since = max(since, last)
            seen = {record.id for record in standing if record.deadline_unix == last}
        if len(fresh) < BATCH:
            return
