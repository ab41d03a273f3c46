"""Lists of jobs: pages of a tenant's jobs, newest first, cut from sorted sets and filled from memory where possible.

A list never shows what the record does not say: an index is only a hint where to look. Every candidate's record is
compared with the query: an entry that lags behind its record is passed over, another tenant's job is never shown.
"""

from collections.abc import Sequence
from typing import Final, cast

import msgspec

from cordum.core.ids import JobId, Micros, TenantId, TraceId
from cordum.core.jobs.record import BadRecordError, JobRecord, record_from_hash
from cordum.core.jobs.states import JobState
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.store import keys
from cordum.store.batch import Batcher
from cordum.store.job_cache import RecordCache
from cordum.store.link import Command, Reply
from cordum.store.pages import Page

MAX_LIMIT: Final = 500
_CHUNK: Final = 200
_CHUNKS: Final = 20
"""A search that matches little looks through at most this many chunks per page."""
_TIE_ROOM: Final = 8
_TRACE_ROOM: Final = 2000
"""A trace of up to so many jobs is read whole; a larger one is searched for in the tenant's index."""
_NEWBORN: Final = 60_000_000
"""Microseconds an index entry may be ahead of its record before it counts as a leftover."""
_PAGES_KEPT: Final = 512

log = get_logger(__name__)


class JobQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What to list. Empty means any; times are inclusive."""

    tenant: TenantId
    states: frozenset[JobState] = frozenset()
    topic: str = ""
    team: str = ""
    trace_id: TraceId = TraceId("")
    worker_id: str = ""
    updated_after: Micros | None = None
    updated_before: Micros | None = None
    limit: int = 50
    cursor: Micros | None = None

    @property
    def upper(self) -> Micros | None:
        """The newest time to look at."""
        bounds = [bound for bound in (self.cursor, self.updated_before) if bound is not None]
        return min(bounds) if bounds else None

    @property
    def takes_all(self) -> bool:
        return not (self.topic or self.team or self.trace_id or self.worker_id or self.states)

    def matches(self, record: JobRecord) -> bool:
        return (
            record.tenant == self.tenant
            and (not self.states or record.state in self.states)
            and (not self.topic or record.topic == self.topic)
            and (not self.team or record.team == self.team)
            and (not self.trace_id or record.trace_id == self.trace_id)
            and (not self.worker_id or record.worker_id == self.worker_id)
        )


Entry = tuple[str, str]
"""A job id and its time, as the index spells them."""


class JobLists:
    """Reads pages of jobs."""

    def __init__(self, batcher: Batcher, cache: RecordCache, clock: Clock) -> None:
        self._batcher = batcher
        self._cache = cache
        self._clock = clock
        self._pages: dict[JobQuery, tuple[Reply, Page[JobRecord]]] = {}

    async def page(self, query: JobQuery) -> Page[JobRecord]:
        """One page, never short while more matches exist (unless the search hits its bound: then it has a cursor).

        The same version of a record is the same object from page to page, and the same page is the same object while
        nothing on it changed, so a caller may keep what it made of either.
        """
        limit = min(max(query.limit, 1), MAX_LIMIT)
        if query.trace_id:
            members = await self._trace_members(query.trace_id)
            if members is not None:
                return await self._page_of(query, members, limit)
        sources = await self._sources(query)
        chunk = limit + _TIE_ROOM if query.takes_all else max(_CHUNK, limit + _TIE_ROOM)
        upper: Micros | None = query.upper
        found: list[tuple[Micros, JobRecord]] = []
        first: Reply = None
        for turn in range(_CHUNKS):
            replies = await self._batcher.submit(
                [_range(source, upper, query.updated_after, chunk) for source in sources]
            )
            if turn == 0 and query.takes_all:
                first = replies[0]
                kept = self._pages.get(query)
                if kept is not None and kept[0] == first:
                    return kept[1]
            entries, upper = _frontier(replies, chunk)
            records = await self._records(entries, sources, query.tenant)
            found += [
                (Micros(int(stamp)), record)
                for (_, stamp), record in zip(entries, records, strict=True)
                if record is not None and query.matches(record)
            ]
            page = _cut(found, limit, upper)
            if page is not None:
                if turn == 0 and query.takes_all and all(at == record.updated_at for at, record in found):
                    self._keep(query, first, page)
                return page
        return Page(tuple(record for _, record in found), upper)

    def _keep(self, query: JobQuery, reply: Reply, page: Page[JobRecord]) -> None:
        if len(self._pages) >= _PAGES_KEPT:
            del self._pages[next(iter(self._pages))]
        self._pages[query] = (reply, page)

    async def _sources(self, query: JobQuery) -> list[str]:
        """The indexes to look through: the tenant's, or those of the wanted states if they are smaller."""
        of_tenant = keys.job_tenant_index(query.tenant)
        if not query.states:
            return [of_tenant]
        of_states = [keys.STATE_INDEX[state] for state in sorted(query.states)]
        total, *parts = await self._batcher.submit([("ZCARD", key) for key in (of_tenant, *of_states)])
        counts = [part for part in parts if isinstance(part, int)]
        return of_states if isinstance(total, int) and sum(counts) <= total else [of_tenant]

    async def _records(
        self, entries: Sequence[Entry], sources: Sequence[str], tenant: TenantId
    ) -> list[JobRecord | None]:
        cached = self._cache.get
        records = [cached(job_id, stamp) for job_id, stamp in entries]
        missing = [at for at, record in enumerate(records) if record is None]
        if not missing:
            return records
        replies = await self._batcher.submit([("HGETALL", keys.job_meta(JobId(entries[at][0]))) for at in missing])
        gone: list[str] = []
        horizon = int(self._clock.now() * 1_000_000) - _NEWBORN
        for at, reply in zip(missing, replies, strict=True):
            job_id, stamp = entries[at]
            if isinstance(reply, list) and reply:
                records[at] = self._read(JobId(job_id), reply)
            elif int(stamp) < horizon:
                gone.append(job_id)
        if gone:
            # Records run out by themselves; what pointed to them goes when somebody notices.
            await self._batcher.submit([("ZREM", key, *gone) for key in {*sources, keys.job_tenant_index(tenant)}])
        return records

    def _read(self, job_id: JobId, reply: Sequence[Reply]) -> JobRecord | None:
        """One record; None, and a warning, when it cannot be read: it must not spoil the list for the others."""
        try:
            return self._cache.put(record_from_hash(job_id, pairs(reply)))
        except BadRecordError as error:
            log.warning("a stored job cannot be read", event="job_record_unreadable", job_id=job_id, error=str(error))
            return None

    async def _trace_members(self, trace_id: TraceId) -> list[JobId] | None:
        key = keys.trace(trace_id)
        count = (await self._batcher.submit([("SCARD", key)]))[0]
        if not isinstance(count, int) or count > _TRACE_ROOM:
            return None
        members = (await self._batcher.submit([("SMEMBERS", key)]))[0]
        return [JobId(str(member)) for member in members] if isinstance(members, list) else []

    async def _page_of(self, query: JobQuery, job_ids: Sequence[JobId], limit: int) -> Page[JobRecord]:
        """A page of a set of jobs small enough to be read whole."""
        if not job_ids:
            return Page(())
        replies = await self._batcher.submit([("HGETALL", keys.job_meta(job_id)) for job_id in job_ids])
        found: list[tuple[Micros, JobRecord]] = []
        upper, lower = query.upper, query.updated_after
        for job_id, reply in zip(job_ids, replies, strict=True):
            if not isinstance(reply, list) or not reply:
                continue
            record = self._read(job_id, reply)
            if record is None:
                continue
            at = record.updated_at
            if query.matches(record) and (upper is None or at <= upper) and (lower is None or at >= lower):
                found.append((at, record))
        found.sort(key=lambda pair: (-pair[0], pair[1].id))
        return _cut(found, limit, None) or Page(())


def pairs(reply: Sequence[Reply]) -> dict[str, str]:
    """The flat answer of HGETALL as a mapping."""
    alternating = iter(cast("Sequence[str]", reply))
    return dict(zip(alternating, alternating, strict=True))


def _range(source: str, upper: Micros | None, lower: Micros | None, chunk: int) -> Command:
    highest = "+inf" if upper is None else upper
    lowest = "-inf" if lower is None else lower
    return ("ZREVRANGEBYSCORE", source, highest, lowest, "WITHSCORES", "LIMIT", 0, chunk)


def _frontier(replies: Sequence[Reply], chunk: int) -> tuple[list[Entry], Micros | None]:
    """Merges the chunks of several indexes, newest first, as far down as all of them have been read.

    Answers the entries and where the next chunk begins (None = all indexes are exhausted). A time is never split
    between two chunks, unless a chunk holds nothing else.
    """
    edges: list[int] = []
    merged: list[Entry] = []
    for reply in replies:
        alternating = iter(cast("list[str]", reply or []))
        entries: list[Entry] = list(zip(alternating, alternating, strict=True))
        if len(entries) >= chunk:
            edges.append(int(entries[-1][1]))
        merged += entries
    if len(replies) > 1:
        # A job on its way from one state to another may be in both indexes; its later entry counts.
        merged.sort(key=lambda entry: int(entry[1]), reverse=True)
        seen: dict[str, Entry] = {}
        for entry in merged:
            seen.setdefault(entry[0], entry)
        merged = list(seen.values())
    if not edges:
        return merged, None
    edge = max(edges)
    whole = len(merged)
    while whole and int(merged[whole - 1][1]) <= edge:
        whole -= 1
    if whole:
        return merged[:whole], Micros(edge)
    return [entry for entry in merged if int(entry[1]) >= edge], Micros(edge - 1)


def _cut(found: Sequence[tuple[Micros, JobRecord]], limit: int, upper: Micros | None) -> Page[JobRecord] | None:
    """The page, if what was found fills one or there is nothing more to find."""
    end = min(limit, len(found))
    # The next cursor is a time, so jobs of the very same microsecond must not be torn apart.
    while 0 < end < len(found) and found[end][0] == found[end - 1][0]:
        end += 1
    if end < limit and upper is not None:
        return None
    last = found[end - 1][0] if end else Micros(0)
    more = end < len(found) or upper is not None
    return Page(tuple(record for _, record in found[:end]), Micros(last - 1) if more and end else None)
