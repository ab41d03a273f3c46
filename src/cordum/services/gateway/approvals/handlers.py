"""`/api/v1/approvals` (spec-gateway section 5)."""

import asyncio
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from cordum.core.ids import JobId
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.services.gateway.answer import Answer, answer, page
from cordum.services.gateway.approvals.views import approval_item
from cordum.services.gateway.call import Call
from cordum.services.gateway.paging import Cursor, Limit, cursor_of, limit_of
from cordum.services.gateway.parts import Parts

RECENT_JOBS: Final = 500
"""Resolved approvals are shown as far back as they are among so many of the tenant's latest jobs."""
_PENDING: Final = frozenset({JobState.APPROVAL_REQUIRED})


class ApprovalsQuery(msgspec.Struct):
    """Query of the list."""

    limit: Limit = 100
    cursor: Cursor | None = None
    include_resolved: bool = True


class Word(msgspec.Struct, forbid_unknown_fields=True):
    """What the person who decides has to say; the body may be empty."""

    reason: Annotated[str, Meta(max_length=4096, description="Kept up to 512 bytes")] | None = None
    note: Annotated[str, Meta(max_length=4096, description="Kept up to 512 bytes")] | None = None


class Approved(msgspec.Struct, omit_defaults=True):
    """An approval that was given, now or before."""

    job_id: str
    trace_id: str
    status: str
    approved_by: str = ""
    approved_at: int = 0
    publish_deferred: bool = False


class Rejected(msgspec.Struct, omit_defaults=True):
    """An approval that was refused, now or before."""

    job_id: str
    trace_id: str
    status: str
    rejected_by: str = ""
    rejected_at: int = 0


async def list_approvals(parts: Parts, call: Call) -> Answer:
    """Jobs that wait for approval, newest first; on the first page also those resolved lately."""
    query: ApprovalsQuery = call.query
    limit = limit_of(query.limit)
    jobs = parts.store.jobs
    found = await jobs.list_page(call.tenant, states=_PENDING, limit=limit, cursor=cursor_of(query.cursor))
    records: list[JobRecord] = list(found.items)
    if query.include_resolved and query.cursor is None and len(records) < limit:
        recent = await jobs.list_page(call.tenant, limit=RECENT_JOBS)
        resolved = [
            record
            for record in recent.items
            if record.approval_status and record.state is not JobState.APPROVAL_REQUIRED
        ]
        records += resolved[: limit - len(records)]
    contexts = await asyncio.gather(*(jobs.context(record.id) for record in records))
    items = [approval_item(record, context) for record, context in zip(records, contexts, strict=True)]
    return page(call, msgspec.json.encode({"items": items, "next_cursor": found.next_cursor}), found.next_cursor)


async def approve(parts: Parts, call: Call) -> Answer:
    """Lets a parked job go on."""
    word: Word = call.body or Word()
    resolved = await parts.resolver.approve(
        call.tenant, JobId(call.params["job_id"]), call.caller, reason=word.reason or "", note=word.note or ""
    )
    record = resolved.record
    return answer(
        Approved(
            job_id=record.id,
            trace_id=record.trace_id,
            status="already_approved" if resolved.repeated else "approved",
            approved_by=record.approval_by if resolved.repeated else call.caller.name,
            approved_at=record.approval_at,
            publish_deferred=resolved.deferred,
        )
    )


async def reject(parts: Parts, call: Call) -> Answer:
    """Refuses a parked job."""
    word: Word = call.body or Word()
    resolved = await parts.resolver.reject(
        call.tenant, JobId(call.params["job_id"]), call.caller, reason=word.reason or "", note=word.note or ""
    )
    record = resolved.record
    return answer(
        Rejected(
            job_id=record.id,
            trace_id=record.trace_id,
            status="already_rejected" if resolved.repeated else "rejected",
            rejected_by=record.approval_by if resolved.repeated else call.caller.name,
            rejected_at=record.approval_at,
        )
    )
