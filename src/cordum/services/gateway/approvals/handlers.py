"""`/api/v1/approvals` (spec-gateway section 5)."""

import asyncio
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from cordum.core.ids import JobId, Micros
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.runtime.clock import unix_micros
from cordum.services.gateway.answer import Answer, answer, page
from cordum.services.gateway.approvals.inputs import without_secrets
from cordum.services.gateway.approvals.repairer import Examined
from cordum.services.gateway.approvals.views import approval_context, approval_item, prior_approval
from cordum.services.gateway.call import Call
from cordum.services.gateway.errors import ApiError
from cordum.services.gateway.paging import Cursor, Limit, cursor_of, limit_of
from cordum.services.gateway.parts import Parts

PRIOR: Final = 10
"""Earlier approvals of the same topic that are shown with one."""
_PENDING: Final = frozenset({JobState.APPROVAL_REQUIRED})
_RESOLVED_FROM: Final = 4_000_000_000_000_000
"""Cursors from here on go through the resolved approvals: a moment in microseconds, moved out of the way of moments of
this century, and still a number that JavaScript holds exactly."""
_RESOLVED_UNTIL: Final = 9_000_000_000_000_000

_Text = Annotated[str, Meta(max_length=4096, description="Kept up to 512 bytes, secrets replaced")]


class ApprovalsQuery(msgspec.Struct):
    """Query of the list."""

    limit: Limit = 100
    cursor: Cursor | None = None
    include_resolved: bool = True


class Word(msgspec.Struct, forbid_unknown_fields=True):
    """What the person who decides has to say; the body may be empty."""

    reason: _Text | None = None
    note: _Text | None = None


class RepairWish(msgspec.Struct, forbid_unknown_fields=True):
    """Whether to mend what is found; the body may be empty."""

    apply: bool = False
    note: _Text | None = None


class Approved(msgspec.Struct, omit_defaults=True):
    """A yes: `approved` when it was the last one needed, `approval_recorded` when more are, `already_approved`."""

    job_id: str
    trace_id: str
    status: str
    approved_by: str = ""
    approved_at: int = 0
    approvals: int = 0
    required: int = 0
    publish_deferred: bool = False


class Rejected(msgspec.Struct, omit_defaults=True):
    """An approval that was refused, now or before."""

    job_id: str
    trace_id: str
    status: str
    rejected_by: str = ""
    rejected_at: int = 0
    publish_deferred: bool = False


async def list_approvals(parts: Parts, call: Call) -> Answer:
    """Jobs that wait for approval, newest first, then the resolved ones, the latest first; page by page to the end."""
    query: ApprovalsQuery = call.query
    limit = limit_of(query.limit)
    jobs = parts.store.jobs
    records: list[JobRecord] = []
    following: int | None = None
    resolved_from: Micros | None = None
    through_resolved = query.cursor is not None and _RESOLVED_FROM <= query.cursor < _RESOLVED_UNTIL
    if through_resolved and query.cursor is not None:
        resolved_from = Micros(query.cursor - _RESOLVED_FROM)
    else:
        waiting = await jobs.list_page(call.tenant, states=_PENDING, limit=limit, cursor=cursor_of(query.cursor))
        records += waiting.items
        following = waiting.next_cursor
    if query.include_resolved and following is None:
        if len(records) < limit:
            resolved = await parts.store.approvals.resolved_page(
                call.tenant, limit=limit - len(records), cursor=resolved_from
            )
            records += resolved.items
            following = None if resolved.next_cursor is None else resolved.next_cursor + _RESOLVED_FROM
        else:
            following = unix_micros(parts.clock) + _RESOLVED_FROM
    contexts = await asyncio.gather(*(jobs.context(record.id) for record in records))
    now = unix_micros(parts.clock)
    items = [approval_item(record, context, now) for record, context in zip(records, contexts, strict=True)]
    cursor = None if following is None else Micros(following)
    return page(call, msgspec.json.encode({"items": items, "next_cursor": cursor}), cursor)


async def approve(parts: Parts, call: Call) -> Answer:
    """Says yes to a parked job; with the last yes needed it goes on."""
    reason, note = _said(call.body or Word())
    resolved = await parts.resolver.approve(
        call.tenant, JobId(call.params["job_id"]), call.caller, reason=reason, note=note
    )
    record = resolved.record
    status = "approved" if resolved.approvals >= resolved.required else "approval_recorded"
    return answer(
        Approved(
            job_id=record.id,
            trace_id=record.trace_id,
            status="already_approved" if resolved.repeated else status,
            approved_by=record.approval_by if resolved.repeated else call.caller.name,
            approved_at=record.approval_at,
            approvals=resolved.approvals,
            required=resolved.required,
            publish_deferred=resolved.deferred,
        )
    )


async def reject(parts: Parts, call: Call) -> Answer:
    """Refuses a parked job."""
    reason, note = _said(call.body or Word())
    resolved = await parts.resolver.reject(
        call.tenant, JobId(call.params["job_id"]), call.caller, reason=reason, note=note
    )
    record = resolved.record
    return answer(
        Rejected(
            job_id=record.id,
            trace_id=record.trace_id,
            status="already_rejected" if resolved.repeated else "rejected",
            rejected_by=record.approval_by if resolved.repeated else call.caller.name,
            rejected_at=record.approval_at,
            publish_deferred=resolved.deferred,
        )
    )


async def show_context(parts: Parts, call: Call) -> Answer:
    """One approval with what came before it, what it may touch and how long there is to decide."""
    job_id = JobId(call.params["job_id"])
    detail = await parts.store.jobs.get_detail(job_id)
    if detail is None or detail.record.tenant != call.tenant or not detail.record.approval_status:
        raise ApiError("approval_not_found")
    record = detail.record

    def alike(other: JobRecord) -> bool:
        return other.topic == record.topic and other.id != record.id

    prior = await parts.store.approvals.resolved_page(call.tenant, limit=PRIOR, wanted=alike)
    shown = [prior_approval(other) for other in prior.items[:PRIOR]]
    return answer(approval_context(record, detail.context, shown, unix_micros(parts.clock)))


async def repair(parts: Parts, call: Call) -> Answer:
    """Says what is wrong with an approval, and mends it when asked to."""
    wish: RepairWish = call.body or RepairWish()
    job_id = JobId(call.params["job_id"])
    if wish.apply:
        found = await parts.repairer.repair(call.tenant, job_id, call.caller, without_secrets(wish.note or ""))
    else:
        found = await parts.repairer.examine(call.tenant, job_id)
    context = await parts.store.jobs.context(job_id)
    return answer(_repaired(found, context, unix_micros(parts.clock), applying=wish.apply))


def _repaired(found: Examined, context: bytes | None, now: Micros, *, applying: bool) -> dict[str, Any]:
    record = found.record
    body: dict[str, Any] = {
        "job_id": record.id,
        "apply": applying,
        "applied": found.applied,
        "repairable": found.plan is not None,
        "state": record.state.value,
        "trace_id": record.trace_id,
        "approval": approval_item(record, context, now),
        "plan": {"kind": found.plan.kind.value, "reason": found.plan.reason} if found.plan else {"kind": "none"},
    }
    if not found.published:
        body["publish_deferred"] = True
        body["publish_error"] = "the outcome is written and could not be published: the scheduler does it"
    return body


def _said(word: Word) -> tuple[str, str]:
    return without_secrets(word.reason or ""), without_secrets(word.note or "")
