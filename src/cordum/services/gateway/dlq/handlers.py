"""`/api/v1/dlq` (spec-gateway section 4)."""

from typing import Annotated

import msgspec
from msgspec import Meta

from cordum.core.ids import JobId
from cordum.core.jobs.triage import Group, Letter, groups
from cordum.services.gateway.answer import NO_CONTENT, Answer, answer, page
from cordum.services.gateway.call import Call
from cordum.services.gateway.dlq import bulk
from cordum.services.gateway.dlq.letters import shown
from cordum.services.gateway.errors import ApiError
from cordum.services.gateway.paging import Cursor, Limit, cursor_of, limit_of
from cordum.services.gateway.parts import Parts
from cordum.store import DeadLetter, LetterQuery, Page

Filter = Annotated[str, Meta(max_length=512)]


class LetterFilters(msgspec.Struct):
    """Query of whatever is about some of the letters."""

    reason: Annotated[
        str, Meta(max_length=512, description="What the reason begins with: `timeout: running exceeded`; or a code")
    ] = ""
    code: Annotated[str, Meta(max_length=512, description="The `reason_code`")] = ""
    topic: Filter = ""


class DlqQuery(LetterFilters):
    """Query of the list and of its pages."""

    limit: Limit = 100
    cursor: Cursor | None = None


class RetryWord(msgspec.Struct):
    """Why a dead job is run again."""

    reason: Annotated[str, Meta(max_length=512)] = ""


class Retried(msgspec.Struct):
    """The job that was made from a dead letter."""

    job_id: str
    trace_id: str
    retry_of: str
    status: str = "accepted"


class Triage(msgspec.Struct):
    """The letters by group, the largest first."""

    total: int
    groups: list[Group]


async def list_entries(parts: Parts, call: Call) -> Answer:
    """The newest entries of the tenant."""
    found = await _found(parts, call)
    return page(call, msgspec.json.encode({"items": [shown(entry) for entry in found.items]}), found.next_cursor)


async def list_page(parts: Parts, call: Call) -> Answer:
    """The same with the cursor of the next page in the body."""
    found = await _found(parts, call)
    body = {"items": [shown(entry) for entry in found.items], "next_cursor": found.next_cursor}
    return page(call, msgspec.json.encode(body), found.next_cursor)


async def _found(parts: Parts, call: Call) -> Page[DeadLetter]:
    query: DlqQuery = call.query
    return await parts.store.dead_letters.search(_wanted(call), limit_of(query.limit), cursor_of(query.cursor))


def _wanted(call: Call) -> LetterQuery:
    filters: LetterFilters = call.query
    return LetterQuery(tenant=call.tenant, reason=filters.reason, code=filters.code, topic=filters.topic)


async def show(parts: Parts, call: Call) -> Answer:
    """One entry."""
    return Answer((await _entry(parts, call)).to_json())


async def triage(parts: Parts, call: Call) -> Answer:
    """All entries of the tenant, sorted as the runbook does."""
    letters = [
        Letter(reason=entry.reason, code=entry.reason_code, topic=entry.topic, created_at=entry.created_at)
        async for entry in parts.store.dead_letters.walk(_wanted(call))
    ]
    return answer(Triage(total=len(letters), groups=groups(letters)))


async def retry(parts: Parts, call: Call) -> Answer:
    """Runs a dead job again, as a new one."""
    old_id = JobId(call.params["job_id"])
    word: RetryWord = call.body or RetryWord()
    record = await bulk.retry(parts, call, old_id, word.reason.strip())
    retried = Retried(job_id=record.id, trace_id=record.trace_id, retry_of=old_id)
    return answer(retried, headers=(("X-Trace-Id", record.trace_id),))


async def delete(parts: Parts, call: Call) -> Answer:
    """Removes an entry; the job's record stays. Of a quarantined job it confirms the quarantine."""
    await bulk.delete_one(parts, call, await _entry(parts, call), "")
    return NO_CONTENT


async def _entry(parts: Parts, call: Call) -> DeadLetter:
    entry = await parts.store.dead_letters.get(call.tenant, JobId(call.params["job_id"]))
    if entry is None:
        raise ApiError("dlq_entry_not_found")
    return entry
