"""Cancels on their way: whoever cancels a job writes that down first, and strikes it off once everybody was told
(spec-scheduler section 10)."""

from cordum.core.ids import JobId, Micros
from cordum.store import keys
from cordum.store.batch import Batcher


class Cancels:
    """Every method raises StoreUnavailableError when Redis does not answer in time."""

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher

    async def begin(self, job_id: JobId, now: Micros) -> None:
        """Somebody is about to cancel this job."""
        await self._batcher.submit([("ZADD", keys.CANCELS_UNTOLD, now, job_id)])

    async def told(self, *job_ids: JobId) -> None:
        """Worker, schedulers and engines were told of these cancels, or there was nothing to tell."""
        if job_ids:
            await self._batcher.submit([("ZREM", keys.CANCELS_UNTOLD, *job_ids)])

    async def untold(self, until: Micros, limit: int) -> list[JobId]:
        """Jobs whose cancel began up to a moment and is not known to have been told, the oldest first."""
        found = (
            await self._batcher.submit([("ZRANGEBYSCORE", keys.CANCELS_UNTOLD, "-inf", until, "LIMIT", 0, limit)])
        )[0]
        return [JobId(str(job_id)) for job_id in found] if isinstance(found, list) else []
