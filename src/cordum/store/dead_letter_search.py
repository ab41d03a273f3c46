"""Pages of dead letters, as filters want them: full while there are matches, and never the same letter twice."""

from collections.abc import AsyncIterator
from typing import Final

import msgspec

from cordum.core.ids import JobId, Micros, TenantId
from cordum.core.jobs.triage import ADVICE
from cordum.runtime.clock import Clock
from cordum.store import keys
from cordum.store.batch import Batcher
from cordum.store.dead_letter import DeadLetter, read_entry
from cordum.store.link import Command, Payload
from cordum.store.pages import Page

CHUNK: Final = 250
"""Letters read at once."""
NEWBORN: Final = 60_000_000
"""Microseconds an index may be ahead of an entry before it counts as a leftover: on a cluster they are on two nodes."""
_TIE_ROOM: Final = 8


class LetterQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which letters of a tenant; empty means any.

    Attributes:
        reason: what the reason begins with, such as a group of the runbook; or a code.
        topic, code: exactly these.
    """

    tenant: TenantId
    reason: str = ""
    code: str = ""
    topic: str = ""

    def matches(self, entry: DeadLetter) -> bool:
        return (
            entry.tenant == self.tenant
            and (not self.topic or entry.topic == self.topic)
            and (not self.code or entry.reason_code == self.code)
            and (not self.reason or self._has_reason(entry))
        )

    def _has_reason(self, entry: DeadLetter) -> bool:
        if self.reason in ADVICE:
            return entry.group == self.reason
        return entry.reason.startswith(self.reason) or self.reason in (entry.reason_code, entry.group)

    @property
    def indexes(self) -> list[str]:
        """The indexes that each hold every match; the smallest is searched."""
        found = [keys.dlq_tenant_index(self.tenant)]
        if self.topic:
            found.append(keys.dlq_index_by("topic", self.tenant, self.topic))
        if self.code:
            found.append(keys.dlq_index_by("code", self.tenant, self.code))
        if self.reason in ADVICE:
            found.append(keys.dlq_index_by("group", self.tenant, self.reason))
        return found

    @property
    def has_index(self) -> bool:
        """Whether one of the indexes holds the matches and nothing else."""
        return [bool(self.topic), bool(self.code), bool(self.reason)].count(True) == len(self.indexes) - 1 <= 1


class LetterSearch:
    """Reads pages. Every method raises StoreUnavailableError when Redis does not answer in time."""

    def __init__(self, batcher: Batcher, clock: Clock) -> None:
        self._batcher = batcher
        self._clock = clock

    async def page(self, query: LetterQuery, limit: int, cursor: Micros | None = None) -> Page[DeadLetter]:
        """The matches, newest first; see Page for the cursor. At most every letter of the tenant is looked at."""
        size = limit + _TIE_ROOM if query.has_index else max(CHUNK, limit + _TIE_ROOM)
        found: list[tuple[Micros, DeadLetter]] = []
        upper = cursor
        async for chunk, rest in self._chunks(query, size, upper):
            found += [(at, entry) for at, entry in chunk if query.matches(entry)]
            if len(found) > limit or (rest is None and len(found) == limit):
                break
        end = min(limit, len(found))
        # The next cursor is a time: letters of one microsecond must not be torn apart. A chunk never tears them.
        while 0 < end < len(found) and found[end][0] == found[end - 1][0]:
            end += 1
        more = end < len(found)
        return Page(tuple(entry for _, entry in found[:end]), Micros(found[end - 1][0] - 1) if more and end else None)

    async def walk(self, query: LetterQuery, cursor: Micros | None = None) -> AsyncIterator[DeadLetter]:
        """Every match, newest first."""
        async for chunk, _ in self._chunks(query, CHUNK, cursor):
            for _, entry in chunk:
                if query.matches(entry):
                    yield entry

    async def count(self, query: LetterQuery, cursor: Micros | None = None) -> int:
        """How many match, from the cursor on."""
        if not query.has_index:
            return len([entry async for entry in self.walk(query, cursor)])
        highest: Micros | str = "+inf" if cursor is None else cursor
        count = (await self._batcher.submit([("ZCOUNT", query.indexes[-1], "-inf", highest)]))[0]
        return count if isinstance(count, int) else 0

    async def _chunks(
        self, query: LetterQuery, size: int, upper: Micros | None
    ) -> AsyncIterator[tuple[list[tuple[Micros, DeadLetter]], Micros | None]]:
        """Letters of the smallest index with their times, newest first, and where the next chunk begins, if anywhere.

        No microsecond is split between two chunks.
        """
        index = await self._smallest(query.indexes)
        room = size
        while True:
            highest: Micros | str = "+inf" if upper is None else upper
            listing: Command = ("ZREVRANGEBYSCORE", index, highest, "-inf", "WITHSCORES", "LIMIT", 0, room)
            reply = (await self._batcher.submit([listing]))[0]
            texts = [str(text) for text in reply] if isinstance(reply, list) else []
            times = [Micros(int(float(text))) for text in texts[1::2]]
            job_ids = [JobId(text) for text in texts[::2]]
            rest: Micros | None = None
            if len(job_ids) == room:
                whole = sum(at > times[-1] for at in times)
                if not whole:
                    room *= 2  # all of one microsecond, and perhaps more of them
                    continue
                rest, times, job_ids = times[-1], times[:whole], job_ids[:whole]
            room = size
            reads = [Payload(("GET", keys.dlq_entry(job_id))) for job_id in job_ids]
            entries = [read_entry(reply) for reply in (await self._batcher.submit(reads) if reads else ())]
            settled = self._clock.now() * 1_000_000 - NEWBORN
            gone = [
                job_id for job_id, at, entry in zip(job_ids, times, entries, strict=True) if not entry and at < settled
            ]
            if gone:
                # They ran out, or were dropped.
                await self._batcher.submit([("ZREM", index, *gone), ("ZREM", keys.DLQ_INDEX, *gone)])
            yield [(at, entry) for at, entry in zip(times, entries, strict=True) if entry is not None], rest
            if rest is None:
                return
            upper = rest

    async def _smallest(self, indexes: list[str]) -> str:
        if len(indexes) == 1:
            return indexes[0]
        counts = await self._batcher.submit([("ZCARD", index) for index in indexes])
        return min(zip(counts, indexes, strict=True), key=lambda pair: pair[0] if isinstance(pair[0], int) else 0)[1]
