"""`/api/v1/dlq` (spec-gateway section 4)."""

from typing import Annotated

import msgspec
from msgspec import Meta

from cordum.bus import messages
from cordum.core.ids import JobId
from cordum.core.jobs.output_moves import QUARANTINED_CODE
from cordum.services.gateway.answer import NO_CONTENT, Answer, answer, page
from cordum.services.gateway.call import Call
from cordum.services.gateway.dlq.letters import shown
from cordum.services.gateway.errors import ApiError
from cordum.services.gateway.paging import Cursor, Limit, cursor_of, limit_of
from cordum.services.gateway.parts import Parts


class DlqQuery(msgspec.Struct):
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


async def list_entries(parts: Parts, call: Call) -> Answer:
    """The newest entries of the tenant."""
    query: DlqQuery = call.query
    found = await parts.store.dead_letters.page(call.tenant, limit_of(query.limit), cursor_of(query.cursor))
    return page(call, msgspec.json.encode({"items": [shown(entry) for entry in found.items]}), found.next_cursor)


async def list_page(parts: Parts, call: Call) -> Answer:
    """The same with the cursor of the next page in the body."""
    query: DlqQuery = call.query
    found = await parts.store.dead_letters.page(call.tenant, limit_of(query.limit), cursor_of(query.cursor))
    body = {"items": [shown(entry) for entry in found.items], "next_cursor": found.next_cursor}
    return page(call, msgspec.json.encode(body), found.next_cursor)


async def retry(parts: Parts, call: Call) -> Answer:
    """Runs a dead job again, as a new one."""
    old_id = JobId(call.params["job_id"])
    record, job = await parts.dead_letters.retry(call.tenant, old_id, call.caller)
    await parts.submitter.resubmit(job, record.trace_id, msg_id=messages.msg_id_submit(record.id))
    word: RetryWord = call.body or RetryWord()
    await parts.auditor.record(
        call.caller,
        "retry",
        resource_type="dlq",
        resource_id=old_id,
        job_id=record.id,
        reason=word.reason.strip(),
        tenant=call.tenant,
    )
    retried = Retried(job_id=record.id, trace_id=record.trace_id, retry_of=old_id)
    return answer(retried, headers=(("X-Trace-Id", record.trace_id),))


async def delete(parts: Parts, call: Call) -> Answer:
    """Removes an entry; the job's record stays. Of a quarantined job it confirms the quarantine."""
    job_id = JobId(call.params["job_id"])
    entry = await parts.store.dead_letters.get(call.tenant, job_id)
    if entry is not None and entry.reason_code == QUARANTINED_CODE:
        await parts.quarantine.confirm(call.tenant, job_id, call.caller)
    if not await parts.store.dead_letters.remove(call.tenant, job_id):
        raise ApiError("dlq_entry_not_found")
    await parts.auditor.record(
        call.caller, "delete", resource_type="dlq", resource_id=job_id, job_id=job_id, tenant=call.tenant
    )
    return NO_CONTENT
