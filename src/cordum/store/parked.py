"""Jobs that cannot be placed now: a queue per lane (see core.routing.lanes), by the time each is to be tried again.

A due time is an even number of microseconds while the job waits, and odd while a scheduler has taken it: so a wake-up
can take jobs early without taking again what a peer is just placing. What was taken and not removed comes back by
itself.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from cordum.core.ids import JobId, Micros
from cordum.store import keys, scripts
from cordum.store.batch import Batcher
from cordum.store.link import Command

_MOST: Final = 1000


class Queue(msgspec.Struct, frozen=True):
    """How many jobs stand in a lane, those included that somebody has just taken, and how many of them are due."""

    count: int
    due: int


class Parked:
    """The queues of all lanes. Every method raises StoreUnavailableError when Redis does not answer in time."""

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher

    async def park(self, lane: str, job_id: JobId, due: Micros) -> None:
        """Puts a job into the queue, or gives it a new time."""
        listed: Command = ("SADD", keys.PARKED_LANES, lane)
        # Listed before and after: in a lane that is on no list, because the connection broke in between or the lane was
        # being forgotten, a job would never be seen.
        await self._batcher.submit([listed, ("ZADD", keys.parked(lane), due - due % 2, job_id), listed])

    async def take_due(self, lane: str, now: Micros, limit: int, lease_s: float) -> list[JobId]:
        """Takes up to `limit` jobs whose time has come, the longest due first; they are ours for `lease_s` seconds."""
        return await self._take(lane, now, now, limit, lease_s)

    async def take_waiting(self, lane: str, now: Micros, limit: int, lease_s: float) -> list[JobId]:
        """Takes jobs whether or not their time has come, because a worker became free."""
        return await self._take(lane, now, "+inf", limit, lease_s)

    async def _take(self, lane: str, now: Micros, until: int | str, limit: int, lease_s: float) -> list[JobId]:
        leased_until = now + int(lease_s * 1_000_000) | 1
        call: Command = (
            "EVALSHA",
            scripts.TAKE_PARKED.sha,
            1,
            keys.parked(lane),
            now,
            until,
            min(limit, _MOST),
            leased_until,
        )
        taken = (await self._batcher.submit([call]))[0]
        return [JobId(str(job_id)) for job_id in taken] if isinstance(taken, list) else []

    async def remove(self, lane: str, job_id: JobId) -> None:
        """The job was placed, or has ended."""
        await self._batcher.submit([("ZREM", keys.parked(lane), job_id)])

    async def leave(self, job_id: JobId) -> None:
        """A job has ended while it waited: it leaves every lane."""
        lanes = (await self._batcher.submit([("SMEMBERS", keys.PARKED_LANES)]))[0]
        if isinstance(lanes, list) and lanes:
            await self._batcher.submit([("ZREM", keys.parked(str(lane)), job_id) for lane in lanes])

    async def count(self, lane: str) -> int:
        """Jobs in a lane's queue, taken ones included."""
        count = (await self._batcher.submit([("ZCARD", keys.parked(lane))]))[0]
        return count if isinstance(count, int) else 0

    async def queues(self, now: Micros) -> dict[str, Queue]:
        """Every lane that ever had a parked job and was not forgotten, and what stands in it."""
        members = (await self._batcher.submit([("SMEMBERS", keys.PARKED_LANES)]))[0]
        names = sorted(str(member) for member in members) if isinstance(members, list) else []
        if not names:
            return {}
        commands: list[Command] = []
        for name in names:
            commands += [("ZCARD", keys.parked(name)), ("ZCOUNT", keys.parked(name), "-inf", now)]
        found = await self._batcher.submit(commands)
        numbers = [number if isinstance(number, int) else 0 for number in found]
        return {name: Queue(numbers[2 * at], numbers[2 * at + 1]) for at, name in enumerate(names)}

    async def forget(self, lanes: Iterable[str]) -> None:
        """Strikes empty lanes off the list.

        A job that is parked in one of them just then puts it back, or we do, whose look comes after.
        """
        names = list(lanes)
        if not names:
            return
        await self._batcher.submit([("SREM", keys.PARKED_LANES, *names)])
        counts = await self._batcher.submit([("ZCARD", keys.parked(name)) for name in names])
        back = [name for name, count in zip(names, counts, strict=True) if count != 0]
        if back:
            await self._batcher.submit([("SADD", keys.PARKED_LANES, *back)])
