"""How many jobs of a tenant, or of the whole installation, run at once: counted in Redis, so it holds over replicas.

One sorted set per scope: the job at the moment from which it counts no more. Whoever holds the job renews its place;
what nobody renews runs out. So no crash leaves a place taken for longer than that, and nothing can block for ever.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from cordum.core.ids import JobId, Micros, TenantId
from cordum.store import keys, scripts
from cordum.store.batch import Batcher
from cordum.store.errors import StoreUnavailableError
from cordum.store.link import Command

LEASE: Final = 30.0
"""Seconds a place is kept that nobody renews."""

INSTALLATION: Final = "installation"


def tenant_scope(tenant: TenantId) -> str:
    """The scope of a tenant's limit."""
    return f"tenant:{tenant}"


class Limit(msgspec.Struct, frozen=True):
    """At most so many jobs of this scope at once; more than 0."""

    scope: str
    most: int


class Concurrency:
    """The places. Every method raises StoreUnavailableError when Redis does not answer in time."""

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher

    async def enter(self, limits: Sequence[Limit], job_id: JobId, now: Micros) -> Limit | None:
        """Takes a place under every limit, or under none. One round trip, two when it is refused.

        A job that has its places already keeps them: it never counts against itself.

        Returns:
            The first limit that is reached; None when the job may run.
        """
        until = _until(now)
        calls: list[Command] = [
            ("EVALSHA", scripts.ENTER.sha, 1, keys.running(limit.scope), now, until, limit.most, job_id)
            for limit in limits
        ]
        answers = await self._batcher.submit(calls)
        refused = [limit for limit, answer in zip(limits, answers, strict=True) if not _admitted(answer)]
        if not refused:
            return None
        await self.leave([limit.scope for limit in limits if limit not in refused], [job_id])
        return refused[0]

    async def leave(self, scopes: Iterable[str], job_ids: Sequence[JobId]) -> None:
        """These jobs run no more."""
        calls: list[Command] = [("ZREM", keys.running(scope), *job_ids) for scope in scopes]
        if calls and job_ids:
            await self._batcher.submit(calls)

    async def renew(self, held: Mapping[str, Iterable[JobId]], now: Micros) -> None:
        """These jobs still run: their places are kept, or taken again should they have run out."""
        await self._extend(held, now, ())

    async def renew_kept(self, held: Mapping[str, Iterable[JobId]], now: Micros) -> None:
        """The same, for jobs of which we only heard: a place that was given up is not taken again."""
        await self._extend(held, now, ("XX",))

    async def _extend(self, held: Mapping[str, Iterable[JobId]], now: Micros, how: tuple[str, ...]) -> None:
        until = _until(now)
        calls: list[Command] = []
        for scope, job_ids in held.items():
            places = [part for job_id in job_ids for part in (until, job_id)]
            if places:
                key = keys.running(scope)
                calls += [("ZADD", key, *how, *places), ("PEXPIREAT", key, until // 1000 + 60_000)]
        if calls:
            await self._batcher.submit(calls)

    async def count(self, scope: str, now: Micros) -> int:
        """Jobs that count in a scope at this moment."""
        count = (await self._batcher.submit([("ZCOUNT", keys.running(scope), f"({now}", "+inf")]))[0]
        return count if isinstance(count, int) else 0


def _until(now: Micros) -> int:
    return now + int(LEASE * 1_000_000)


def _admitted(answer: object) -> bool:
    if isinstance(answer, list) and len(answer) == 2 and isinstance(answer[0], int):
        return answer[0] != 0
    raise StoreUnavailableError("the store's answer about a limit makes no sense")
