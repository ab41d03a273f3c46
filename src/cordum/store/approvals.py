"""What finds approvals again: those that were resolved, and those whose outcome was not published (spec-safety 11)."""

from collections.abc import Callable, Sequence
from typing import Final, cast

import msgspec

from cordum.core.ids import JobId, Micros, TenantId
from cordum.core.jobs.approvals import RESOLVED, Window
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.store import keys
from cordum.store.batch import Batcher
from cordum.store.jobs import Jobs
from cordum.store.link import Payload
from cordum.store.options import StoreOptions
from cordum.store.pages import Page

_TIE_ROOM: Final = 64
"""Approvals resolved in the same microsecond are never torn apart, if they are not more than so many."""
_ROUNDS: Final = 20
_WAITING_SHARE: Final = 0.9
"""Of the time a record is kept: whoever parks a job must live to see it expire."""
_LARGEST_RUN: Final = 16 * 1024 * 1024  # bytes of a workflow run we are ready to read


class Approvals:
    """Every method raises StoreUnavailableError when Redis does not answer in time."""

    def __init__(self, batcher: Batcher, jobs: Jobs, options: StoreOptions) -> None:
        self._batcher = batcher
        self._jobs = jobs
        self.window = Window(usual=options.approval_ttl, longest=options.meta_ttl * _WAITING_SHARE)
        """How long a request for approval stays open."""

    async def resolved_page(
        self,
        tenant: TenantId,
        *,
        limit: int,
        cursor: Micros | None = None,
        wanted: Callable[[JobRecord], bool] = lambda record: True,
    ) -> Page[JobRecord]:
        """A tenant's resolved approvals, the latest first, as long as their records are kept.

        Args:
            cursor: the latest moment of resolution to show.
            wanted: picks records; a page may be short of them when very few match.
        """
        upper = cursor
        found: list[tuple[Micros, JobRecord]] = []
        for _ in range(_ROUNDS):
            entries = await self._entries(tenant, upper, limit + _TIE_ROOM)
            records = await self._jobs.get_many([job_id for job_id, _ in entries])
            await self._forget(tenant, [entry[0] for entry, record in zip(entries, records, strict=True) if not record])
            found += [
                (at, record)
                for (_, at), record in zip(entries, records, strict=True)
                if record is not None and _is_resolved(record, tenant) and wanted(record)
            ]
            exhausted = len(entries) < limit + _TIE_ROOM
            end = _end_of_page(found, limit)
            if exhausted or end < len(found):
                more = end < len(found)
                return Page(tuple(record for _, record in found[:end]), Micros(found[end - 1][0] - 1) if more else None)
            upper = Micros(entries[-1][1] - 1)
        return Page(tuple(record for _, record in found[:limit]), upper)

    async def _entries(self, tenant: TenantId, upper: Micros | None, count: int) -> list[tuple[JobId, Micros]]:
        highest = "+inf" if upper is None else upper
        key = keys.approvals_resolved(tenant)
        reply = (
            await self._batcher.submit([("ZREVRANGEBYSCORE", key, highest, "-inf", "WITHSCORES", "LIMIT", 0, count)])
        )[0]
        flat = iter(cast("list[str]", reply or []))
        return [(JobId(job_id), Micros(int(float(stamp)))) for job_id, stamp in zip(flat, flat, strict=True)]

    async def _forget(self, tenant: TenantId, gone: Sequence[JobId]) -> None:
        if gone:
            await self._batcher.submit([("ZREM", keys.approvals_resolved(tenant), *gone)])

    async def unpublished(self, until: Micros, limit: int) -> list[JobId]:
        """Jobs whose resolution was written up to a moment and is not known to be published, the oldest first."""
        reply = (
            await self._batcher.submit(
                [("ZRANGEBYSCORE", keys.APPROVALS_UNPUBLISHED, "-inf", until, "LIMIT", 0, limit)]
            )
        )[0]
        return [JobId(str(job_id)) for job_id in reply] if isinstance(reply, list) else []

    async def mark_published(self, job_id: JobId, fields: dict[str, str]) -> None:
        """The outcome is on the bus; the job may stand anywhere by now, for the mark belongs to the approval."""
        await self._jobs.annotate(job_id, fields, allowed_from=frozenset(JobState))
        await self.forget_unpublished(job_id)

    async def forget_unpublished(self, job_id: JobId) -> None:
        """There is nothing (more) to publish for this job."""
        await self._batcher.submit([("ZREM", keys.APPROVALS_UNPUBLISHED, job_id)])

    async def is_locked(self, job_id: JobId) -> bool:
        """Whether somebody holds the job's lock: an older scheduler, or a repair that is under way."""
        return (await self._batcher.submit([("GET", keys.job_lock(job_id))]))[0] is not None

    async def run_status(self, run_id: str) -> str:
        """The status of a workflow run, lower case; "" when the run is not known."""
        reply = (await self._batcher.submit([Payload(("GET", keys.workflow_run(run_id)))]))[0]
        if not isinstance(reply, bytes) or len(reply) > _LARGEST_RUN:
            return ""
        try:
            return msgspec.json.decode(reply, type=_Run).status.lower()
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return ""


class _Run(msgspec.Struct):
    status: str = ""


def _is_resolved(record: JobRecord, tenant: TenantId) -> bool:
    # A request may have been opened again since: then it is among those that wait.
    return record.tenant == tenant and record.approval_status in RESOLVED


def _end_of_page(found: Sequence[tuple[Micros, JobRecord]], limit: int) -> int:
    """Where a page ends: the next cursor is a time, so those of the same microsecond stay together."""
    end = min(limit, len(found))
    while 0 < end < len(found) and found[end][0] == found[end - 1][0]:
        end += 1
    return end
