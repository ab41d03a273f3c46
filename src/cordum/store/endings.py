"""Ends of jobs on their way to those who wait for them: whoever is about to end a job by his own word (a cancel, a time
that ran out, a denial) writes that down first, and strikes it off once all were told (spec-scheduler sections 9, 10).
"""

from cordum.core.ids import JobId, Micros
from cordum.core.jobs.states import JobState
from cordum.runtime.logging import get_logger
from cordum.store import keys
from cordum.store.batch import Batcher

log = get_logger(__name__)


class Endings:
    """Every method raises StoreUnavailableError when Redis does not answer in time."""

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher

    async def begin(self, job_id: JobId, end: JobState, now: Micros) -> None:
        """Somebody is about to end this job so. Another end of the same job is a note of its own."""
        await self._batcher.submit([("ZADD", keys.ENDINGS_UNTOLD, now, _note(job_id, end))])

    async def told(self, job_id: JobId, end: JobState) -> None:
        """Workers, schedulers and engines were told of this end, or there was nothing to tell."""
        await self._batcher.submit([("ZREM", keys.ENDINGS_UNTOLD, _note(job_id, end))])

    async def untold(self, until: Micros, limit: int) -> list[tuple[JobId, JobState]]:
        """Ends that began up to a moment and are not known to have been told, the oldest first."""
        command = ("ZRANGEBYSCORE", keys.ENDINGS_UNTOLD, "-inf", until, "LIMIT", 0, limit)
        notes = (await self._batcher.submit([command]))[0]
        found, unreadable = [], []
        for note in notes if isinstance(notes, list) else []:
            end, _, job_id = str(note).partition(" ")
            try:
                found.append((JobId(job_id), JobState(end)))
            except ValueError:
                unreadable.append(str(note))
        if unreadable:
            log.error("notes of ends cannot be read and are dropped", event="endings_unreadable", notes=unreadable)
            await self._batcher.submit([("ZREM", keys.ENDINGS_UNTOLD, *unreadable)])
        return found


def _note(job_id: JobId, end: JobState) -> str:
    return f"{end.value} {job_id}"
