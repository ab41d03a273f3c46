"""Jobs that cannot be placed now: a queue per pool, by the time each is to be tried again.

A due time is an even number of microseconds while the job waits, and odd while a scheduler has taken it: so a wake-up
can take jobs early without taking again what a peer is just placing. What was taken and not removed comes back by
itself.
"""

from typing import Final

from cordum.core.ids import JobId, Micros, PoolName
from cordum.store import keys, scripts
from cordum.store.batch import Batcher
from cordum.store.link import Command

_MOST: Final = 1000


class Parked:
    """The queues of all pools. Every method raises StoreUnavailableError when Redis does not answer in time."""

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher

    async def park(self, pool: PoolName, job_id: JobId, due: Micros) -> None:
        """Puts a job into the queue, or gives it a new time."""
        await self._batcher.submit(
            [("ZADD", keys.parked(pool), due - due % 2, job_id), ("SADD", keys.PARKED_POOLS, pool)]
        )

    async def take_due(self, pool: PoolName, now: Micros, limit: int, lease_s: float) -> list[JobId]:
        """Takes up to `limit` jobs whose time has come, the longest due first; they are ours for `lease_s` seconds."""
        return await self._take(pool, now, now, limit, lease_s)

    async def take_waiting(self, pool: PoolName, now: Micros, limit: int, lease_s: float) -> list[JobId]:
        """Takes jobs whether or not their time has come, because a worker became free."""
        return await self._take(pool, now, "+inf", limit, lease_s)

    async def _take(self, pool: PoolName, now: Micros, until: int | str, limit: int, lease_s: float) -> list[JobId]:
        leased_until = now + int(lease_s * 1_000_000) | 1
        call: Command = (
            "EVALSHA",
            scripts.TAKE_PARKED.sha,
            1,
            keys.parked(pool),
            now,
            until,
            min(limit, _MOST),
            leased_until,
        )
        taken = (await self._batcher.submit([call]))[0]
        return [JobId(str(job_id)) for job_id in taken] if isinstance(taken, list) else []

    async def remove(self, pool: PoolName, job_id: JobId) -> None:
        """The job was placed, or has ended."""
        await self._batcher.submit([("ZREM", keys.parked(pool), job_id)])

    async def count(self, pool: PoolName) -> int:
        """Jobs in a pool's queue, taken ones included."""
        count = (await self._batcher.submit([("ZCARD", keys.parked(pool))]))[0]
        return count if isinstance(count, int) else 0

    async def pools(self) -> dict[PoolName, int]:
        """The pools that have parked jobs, and how many."""
        members = (await self._batcher.submit([("SMEMBERS", keys.PARKED_POOLS)]))[0]
        names = sorted(PoolName(str(member)) for member in members) if isinstance(members, list) else []
        if not names:
            return {}
        counts = await self._batcher.submit([("ZCARD", keys.parked(name)) for name in names])
        return {name: count for name, count in zip(names, counts, strict=True) if isinstance(count, int) and count}
