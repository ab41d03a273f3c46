"""Dead letters: jobs that did not end as they should, kept until somebody has looked (spec-gateway section 4).

The entry is the truth. The indexes follow from it: one of all entries, one of each tenant's, and of these one by topic,
one by code and one by group of reasons, so that a filter has an index of its own. Whatever is in an index and has no
entry is taken out by whoever meets it, and once an hour by `tidy`, which also puts back what is missing.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from cordum.core.ids import JobId, Micros, TenantId
from cordum.runtime.clock import Clock
from cordum.store import keys
from cordum.store.batch import Batcher
from cordum.store.dead_letter import DeadLetter, indexes_of, read_entry, written_at
from cordum.store.dead_letter_search import CHUNK, NEWBORN, LetterQuery, LetterSearch
from cordum.store.link import Command, Payload
from cordum.store.options import DAY, StoreOptions
from cordum.store.pages import Page

REMEMBERED: Final = 7 * DAY
"""Seconds for which a letter that was taken away does not come back: as long as the bus keeps messages."""


class DeadLetters:
    """The dead letters of all tenants. Every method raises StoreUnavailableError when Redis does not answer in time."""

    def __init__(self, batcher: Batcher, options: StoreOptions, clock: Clock) -> None:
        self._batcher = batcher
        self._ttl = options.dead_letter_ttl
        self._kept = options.dead_letters_kept
        self._input_ttl = max(options.meta_ttl, options.data_ttl)
        self._clock = clock
        self._search = LetterSearch(batcher, clock)

    async def add(self, entry: DeadLetter) -> bool:
        """Keeps an entry. False: there is one for this job already, and the first one stands.

        Beyond the greatest number kept, the oldest entries give way. The job's input is kept as long as its record, so
        that it can be tried again.
        """
        now = self._clock.now()
        if not entry.created_at:
            moment = datetime.fromtimestamp(now, UTC).isoformat().replace("+00:00", "Z")
            entry = msgspec.structs.replace(entry, created_at=moment)
        at = int(now * 1_000_000)
        oldest = at - self._ttl * 1_000_000
        replies = await self._batcher.submit(
            [
                ("SET", keys.dlq_entry(entry.job_id), entry.to_json(), "NX", "EX", self._ttl),
                # NX here too: a second report does not make the entry younger.
                *self._index(entry, at),
                ("ZREMRANGEBYSCORE", keys.dlq_tenant_index(entry.tenant), "-inf", oldest),
                ("ZREMRANGEBYSCORE", keys.DLQ_INDEX, "-inf", int(now) - self._ttl),
                ("EXPIRE", keys.context(entry.job_id), self._input_ttl),
                ("ZCARD", keys.DLQ_INDEX),
            ]
        )
        count = replies[-1]
        if isinstance(count, int) and count > self._kept:
            await self._drop_oldest(count - self._kept)
        return replies[0] == "OK"

    def _index(self, entry: DeadLetter, at: int) -> list[Command]:
        """The index entries of a letter; `at` in microseconds."""
        commands: list[Command] = [("ZADD", keys.DLQ_INDEX, "NX", at // 1_000_000, entry.job_id)]
        indexes = indexes_of(entry)
        for index in indexes:
            commands.append(("ZADD", index, "NX", at, entry.job_id))
            commands.append(("EXPIRE", index, self._ttl + DAY))
        commands.append(("SADD", keys.DLQ_INDEXES, *indexes))
        return commands

    async def _drop_oldest(self, number: int) -> None:
        found = (await self._batcher.submit([("ZRANGE", keys.DLQ_INDEX, 0, number - 1)]))[0]
        job_ids = [JobId(str(job_id)) for job_id in found] if isinstance(found, list) else []
        if not job_ids:
            return
        commands: list[Command] = []
        for job_id, entry in zip(job_ids, await self.entries(job_ids), strict=True):
            if entry is not None:
                commands += [("ZREM", index, job_id) for index in indexes_of(entry)]
            commands.append(("DEL", keys.dlq_entry(job_id)))
        await self._batcher.submit([*commands, ("ZREM", keys.DLQ_INDEX, *job_ids)])

    async def entries(self, job_ids: Sequence[JobId]) -> list[DeadLetter | None]:
        """The entries of jobs, whoever's they are, in the order of the ids."""
        if not job_ids:
            return []
        replies = await self._batcher.submit([Payload(("GET", keys.dlq_entry(job_id))) for job_id in job_ids])
        return [read_entry(reply) for reply in replies]

    async def get(self, tenant: TenantId, job_id: JobId) -> DeadLetter | None:
        """The entry of a job, if it is this tenant's."""
        entry = (await self.entries([job_id]))[0]
        return entry if entry is not None and entry.tenant == tenant else None

    async def page(
        self,
        tenant: TenantId,
        limit: int,
        cursor: Micros | None = None,
        *,
        reason: str = "",
        code: str = "",
        topic: str = "",
    ) -> Page[DeadLetter]:
        """A tenant's entries, newest first; see LetterQuery for the filters and Page for the cursor."""
        return await self._search.page(LetterQuery(tenant=tenant, reason=reason, code=code, topic=topic), limit, cursor)

    async def search(self, query: LetterQuery, limit: int, cursor: Micros | None = None) -> Page[DeadLetter]:
        """The entries that match, newest first; pages are full while there are any."""
        return await self._search.page(query, limit, cursor)

    async def count_of(self, query: LetterQuery, cursor: Micros | None = None) -> int:
        """How many entries match, from the cursor on."""
        return await self._search.count(query, cursor)

    def walk(self, query: LetterQuery, cursor: Micros | None = None) -> AsyncIterator[DeadLetter]:
        """Every entry that matches, newest first, a few at a time."""
        return self._search.walk(query, cursor)

    async def remove(self, tenant: TenantId, job_id: JobId) -> bool:
        """Removes an entry of this tenant. Of several who try, one gets True."""
        entry = await self.get(tenant, job_id)
        if entry is None:
            return False
        replies = await self._batcher.submit(
            [
                ("SET", keys.dlq_removed(job_id), "1", "EX", REMEMBERED),
                ("DEL", keys.dlq_entry(job_id)),
                ("ZREM", keys.DLQ_INDEX, job_id),
                *(("ZREM", index, job_id) for index in indexes_of(entry)),
            ]
        )
        return replies[1] == 1

    async def knows(self, job_id: JobId) -> bool:
        """Whether there is an entry for this job, or was one that somebody took away while messages about it may still
        travel."""
        commands: list[Command] = [("EXISTS", keys.dlq_entry(job_id)), ("EXISTS", keys.dlq_removed(job_id))]
        return 1 in await self._batcher.submit(commands)

    async def count(self) -> int:
        """Entries of all tenants that are not too old."""
        oldest = int(self._clock.now()) - self._ttl
        count = (await self._batcher.submit([("ZCOUNT", keys.DLQ_INDEX, f"({oldest}", "+inf")]))[0]
        return count if isinstance(count, int) else 0

    async def tidy(self) -> int:
        """Takes out of the indexes what has no entry, and puts in what they lack; for one process, now and then.

        Returns:
            How many members without an entry there were.
        """
        dropped = 0
        for index in (keys.DLQ_INDEX, *await self._index_names()):
            dropped += await self._tidy(index)
        return dropped

    async def _index_names(self) -> list[str]:
        found = (await self._batcher.submit([("SMEMBERS", keys.DLQ_INDEXES)]))[0]
        return sorted(str(name) for name in found) if isinstance(found, list) else []

    async def _tidy(self, index: str) -> int:
        dropped, at = 0, 0
        unit = 1_000_000 if index == keys.DLQ_INDEX else 1
        settled = self._clock.now() * 1_000_000 - NEWBORN
        while True:
            found = (await self._batcher.submit([("ZRANGE", index, at, at + CHUNK - 1, "WITHSCORES")]))[0]
            texts = [str(text) for text in found] if isinstance(found, list) else []
            job_ids = [JobId(text) for text in texts[::2]]
            if not job_ids:
                if at == 0 and index != keys.DLQ_INDEX:
                    await self._batcher.submit([("SREM", keys.DLQ_INDEXES, index)])
                return dropped
            entries = await self.entries(job_ids)
            gone = [
                job_id
                for job_id, score, entry in zip(job_ids, texts[1::2], entries, strict=True)
                if entry is None and float(score) * unit < settled
            ]
            commands: list[Command] = [("ZREM", index, *gone)] if gone else []
            if index == keys.DLQ_INDEX:
                for entry in entries:
                    if entry is not None:
                        commands += self._index(entry, written_at(entry))
            if commands:
                await self._batcher.submit(commands)
            dropped += len(gone)
            at += len(job_ids) - len(gone)
