"""Many dead letters at once: `POST /dlq/retry` and `POST /dlq/delete` (spec-gateway section 16, weakness 12).

A call does a bounded number of letters within a bounded time and says how many it did, how many are left, and which
failed and why. It may be repeated: a letter that is dealt with is gone, and a retry makes one job, however often.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from cordum.bus import messages
from cordum.core.errors import CordumError
from cordum.core.ids import JobId, Micros
from cordum.core.jobs.output_moves import QUARANTINED_CODE
from cordum.core.jobs.record import JobRecord
from cordum.services.gateway.answer import Answer, answer
from cordum.services.gateway.call import Call
from cordum.services.gateway.errors import ApiError, from_exception, invalid
from cordum.services.gateway.paging import Cursor, cursor_of
from cordum.services.gateway.parts import Parts
from cordum.store import DeadLetter, LetterQuery
from cordum.store.dead_letter import written_at

MOST: Final = 500
"""Letters a call deals with."""
AT_ONCE: Final = 16
SECONDS: Final = 8.0
"""After so long no more letters are begun: an answer must come before the connection is given up."""

Text = Annotated[str, Meta(max_length=512)]


class BulkRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Which letters: those of `job_ids`, those that match the filters, or `all` of them.

    A member nobody knows is refused: a mistyped filter must not mean more letters than were meant.
    """

    job_ids: Annotated[list[Annotated[str, Meta(max_length=512)]], Meta(max_length=MOST)] | None = None
    reason: Text = ""
    code: Text = ""
    topic: Text = ""
    all: bool = False
    limit: Annotated[int, Meta(ge=1, le=MOST)] = 100
    cursor: Cursor | None = None
    dry_run: bool = False
    note: Text = ""
    """Why; it is written to the audit log."""


class Failed(msgspec.Struct):
    """A letter that is still there, and why."""

    job_id: str
    code: str
    error: str


class Done(msgspec.Struct, omit_defaults=True):
    """A letter that was dealt with (or would be), and the job it is tried again as."""

    job_id: str
    new_job_id: str = ""


class BulkAnswer(msgspec.Struct):
    """What came of a call.

    Attributes:
        gone: of `job_ids`, those there is no letter of (any more).
        left: letters that match and were not looked at; pass `next_cursor` as `cursor` to go on with them.
    """

    action: str
    dry_run: bool
    done: int
    left: int
    gone: int
    failed: list[Failed]
    items: list[Done]
    next_cursor: int | None = None


Act = Callable[[Parts, Call, DeadLetter, str], Awaitable[Done]]


async def retry_many(parts: Parts, call: Call) -> Answer:
    """Runs dead jobs again, each as a new one."""
    return await _many(parts, call, "retry", retry_one)


async def delete_many(parts: Parts, call: Call) -> Answer:
    """Removes dead letters; the jobs' records stay."""
    return await _many(parts, call, "delete", delete_one)


async def retry_one(parts: Parts, call: Call, entry: DeadLetter, note: str) -> Done:
    """Runs one dead job again; see `retry`."""
    record = await retry(parts, call, entry.job_id, note)
    return Done(job_id=entry.job_id, new_job_id=record.id)


async def retry(parts: Parts, call: Call, job_id: JobId, note: str) -> JobRecord:
    """Writes the new job, removes the letter, publishes, and writes down who did it; answers the new job.

    Raises:
        ApiError: see DeadLetterBox.retry; 503 when it could not be written down.
    """
    record, job = await parts.dead_letters.retry(call.tenant, job_id, call.caller)
    if not record.state.is_terminal:
        await parts.submitter.resubmit(job, record.trace_id, msg_id=messages.msg_id_submit(record.id))
    await parts.auditor.record(
        call.caller,
        "retry",
        resource_type="dlq",
        resource_id=job_id,
        job_id=record.id,
        reason=note,
        tenant=call.tenant,
    )
    return record


async def delete_one(parts: Parts, call: Call, entry: DeadLetter, note: str) -> Done:
    """Removes one letter; of a quarantined job it confirms the quarantine. Raises ApiError: 404, or 503."""
    job_id = entry.job_id
    if entry.reason_code == QUARANTINED_CODE:
        await parts.quarantine.confirm(call.tenant, job_id, call.caller)
    if not await parts.store.dead_letters.remove(call.tenant, job_id):
        raise ApiError("dlq_entry_not_found")
    await parts.auditor.record(
        call.caller, "delete", resource_type="dlq", resource_id=job_id, job_id=job_id, reason=note, tenant=call.tenant
    )
    return Done(job_id=job_id)


async def _many(parts: Parts, call: Call, action: str, act: Act) -> Answer:
    wanted: BulkRequest = call.body
    by_ids = bool(wanted.job_ids)
    filtered = bool(wanted.reason or wanted.code or wanted.topic)
    if [by_ids, filtered, wanted.all].count(True) != 1:
        raise invalid("name job_ids, or filters (reason, code, topic), or all: true; one of them", "dlq_nothing_named")
    query = LetterQuery(tenant=call.tenant, reason=wanted.reason, code=wanted.code, topic=wanted.topic)
    store, cursor = parts.store.dead_letters, cursor_of(wanted.cursor)
    if by_ids:
        ids = list(dict.fromkeys(JobId(job_id) for job_id in wanted.job_ids or ()))
        found = await store.entries(ids)
        entries = [entry for entry in found if entry is not None and entry.tenant == call.tenant]
        gone, rest = len(ids) - len(entries), None
    else:
        page = await store.search(query, wanted.limit, cursor)
        entries, gone, rest = list(page.items), 0, page.next_cursor
    done, failed = [Done(job_id=entry.job_id) for entry in entries], list[Failed]()
    looked_at = 0 if wanted.dry_run else len(entries)
    if not wanted.dry_run:
        done, failed, looked_at = await _each(parts, call, entries, act, wanted.note.strip())
        gone += sum(failure.code == "dlq_entry_not_found" for failure in failed)
        failed = [failure for failure in failed if failure.code != "dlq_entry_not_found"]
    left = len(entries) - looked_at
    if rest is not None:
        left += await store.count_of(query, rest)
    if not by_ids and 0 < looked_at < len(entries):
        # What is written is rounded to microseconds, and its place in the index may be the one before or behind.
        rest = Micros(written_at(entries[looked_at]) + 1)
    made = BulkAnswer(
        action=action,
        dry_run=wanted.dry_run,
        done=0 if wanted.dry_run else len(done),
        left=left,
        gone=gone,
        failed=failed,
        items=done,
        next_cursor=rest,
    )
    if not wanted.dry_run and entries:
        await _write_down(parts, call, wanted, made)
    return answer(made)


async def _each(
    parts: Parts, call: Call, entries: list[DeadLetter], act: Act, note: str
) -> tuple[list[Done], list[Failed], int]:
    """Does letter after letter, some at a time, until all are done or time is up; says how many were looked at."""
    done: list[Done] = []
    failed: list[Failed] = []
    until = parts.clock.monotonic() + SECONDS
    at = 0
    while at < len(entries) and (not at or parts.clock.monotonic() < until):
        some = entries[at : at + AT_ONCE]
        results = await asyncio.gather(*(act(parts, call, entry, note) for entry in some), return_exceptions=True)
        for entry, result in zip(some, results, strict=True):
            if isinstance(result, Done):
                done.append(result)
            elif isinstance(result, CordumError):
                error = from_exception(result)
                failed.append(Failed(job_id=entry.job_id, code=error.slug, error=error.message))
            else:
                raise result
        at += len(some)
    return done, failed, at


async def _write_down(parts: Parts, call: Call, wanted: BulkRequest, made: BulkAnswer) -> None:
    """Each letter has its own audit event; this one tells that they were meant together, and by which words."""
    await parts.auditor.record(
        call.caller,
        f"{made.action}_bulk",
        resource_type="dlq",
        reason=wanted.note.strip(),
        message=f"{made.done} done, {len(made.failed)} failed, {made.left} left",
        extra={
            name: value
            for name, value in (
                ("filter_reason", wanted.reason),
                ("filter_code", wanted.code),
                ("filter_topic", wanted.topic),
                ("all", "true" if wanted.all else ""),
                ("job_ids", str(len(wanted.job_ids)) if wanted.job_ids else ""),
            )
            if value
        },
        tenant=call.tenant,
    )
