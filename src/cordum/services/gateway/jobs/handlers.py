"""`/api/v1/jobs` (spec-gateway section 3)."""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from cordum.core.ids import JobId, TraceId
from cordum.core.jobs.states import JobState
from cordum.runtime.settings.values import parse_seconds
from cordum.services.gateway.answer import Answer, answer, page
from cordum.services.gateway.authentication import tenant_of
from cordum.services.gateway.call import Call
from cordum.services.gateway.errors import ApiError, invalid
from cordum.services.gateway.jobs import decisions, views
from cordum.services.gateway.paging import Cursor, Limit, Moment, cursor_of, limit_of
from cordum.services.gateway.parts import Parts
from cordum.services.gateway.submit.service import Submitter

MAX_WAIT: Final = 60.0  # seconds


class JobQuery(msgspec.Struct):
    """Query of one job."""

    wait: Annotated[
        str,
        Meta(description="Hold the answer until the job has ended or waits for approval: `30s`, at most `60s`"),
    ] = ""


class JobsQuery(msgspec.Struct):
    """Query of the list."""

    limit: Limit = 50
    cursor: Cursor | None = None
    state: Annotated[str, Meta(description="A state, or several with commas between")] = ""
    topic: str = ""
    tenant: str = ""
    team: str = ""
    trace_id: str = ""
    updated_after: Moment | None = None
    updated_before: Moment | None = None


class DecisionsQuery(msgspec.Struct):
    """Query of the decisions."""

    limit: Limit = 50


class Submitted(msgspec.Struct, omit_defaults=True):
    """What became of a submit."""

    job_id: str
    trace_id: str
    status: str
    reason: str = ""
    replayed: bool = False


class Cancelled(msgspec.Struct, omit_defaults=True):
    """The state of a job somebody wanted to cancel."""

    id: str
    job_id: str
    state: str
    reason: str = ""


async def submit(parts: Parts, call: Call) -> Answer:
    """Takes a job in."""
    submitter = Submitter(
        caller=call.caller,
        tenant=call.tenant,
        trusts_named_principal=parts.authenticator.trusts_header_principal,
    )
    header = call.header("IDEMPOTENCY-KEY") or call.header("X-IDEMPOTENCY-KEY") or ""
    outcome = await parts.submitter.submit(call.body, submitter, idempotency_header=header)
    submitted = Submitted(
        job_id=outcome.job_id,
        trace_id=outcome.trace_id,
        status=outcome.status.value,
        reason=outcome.reason,
        replayed=outcome.replayed,
    )
    return answer(submitted, headers=(("X-Trace-Id", outcome.trace_id),))


async def show(parts: Parts, call: Call) -> Answer:
    """One job with its input and output, now or once there is something to tell."""
    job_id = JobId(call.params["job_id"])
    query: JobQuery = call.query
    detail = await parts.store.jobs.get_detail(job_id)
    if detail is None or detail.record.tenant != call.tenant:
        raise ApiError("job_not_found")
    if query.wait and (seconds := _seconds(query.wait)) > 0:
        latest = await parts.waiting.wait(detail.record, seconds)
        if latest is None:
            raise ApiError("job_not_found")
        if latest is not detail.record:
            detail = await parts.store.jobs.get_detail(job_id)
            if detail is None:
                raise ApiError("job_not_found")
    return Answer(views.long_form(detail.record, detail.context, detail.result))


async def list_jobs(parts: Parts, call: Call) -> Answer:
    """The tenant's jobs, newest change first."""
    query: JobsQuery = call.query
    found = await parts.store.jobs.list_page(
        tenant_of(call.caller, query.tenant) if query.tenant else call.tenant,
        states=_states(query.state) if query.state else frozenset(),
        topic=query.topic,
        team=query.team,
        trace_id=TraceId(query.trace_id) if query.trace_id else None,
        updated_after=cursor_of(query.updated_after),
        updated_before=cursor_of(query.updated_before),
        limit=limit_of(query.limit),
        cursor=cursor_of(query.cursor),
    )
    return page(call, parts.rendered.page(found), found.next_cursor)


async def list_decisions(parts: Parts, call: Call) -> Answer:
    """The safety decisions about a job, newest first."""
    job_id = JobId(call.params["job_id"])
    query: DecisionsQuery = call.query
    record = await parts.store.jobs.get(job_id)
    if record is None or record.tenant != call.tenant:
        raise ApiError("job_not_found")
    stored = await parts.store.jobs.decisions(job_id, limit_of(query.limit))
    shown: list[Any] = [entry for text in stored if (entry := decisions.shown(text)) is not None]
    if not shown and record.safety_decision:
        shown.append(decisions.entry_of(record))
    return answer(shown)


async def cancel(parts: Parts, call: Call) -> Answer:
    """Ends a job that has not ended."""
    job_id = JobId(call.params["job_id"])
    state, ended = await parts.canceller.cancel(call.tenant, job_id, call.caller)
    reason = "" if ended else "job already terminal"
    if ended:
        await parts.auditor.record(call.caller, "cancel", resource_type="job", resource_id=job_id, tenant=call.tenant)
    return answer(Cancelled(id=job_id, job_id=job_id, state=state.value, reason=reason))


def _seconds(text: str) -> float:
    try:
        return min(parse_seconds(text), MAX_WAIT)
    except ValueError as error:
        raise invalid(f"wait: {error}", "invalid_wait") from None


def _states(text: str) -> frozenset[JobState]:
    wanted = set()
    for word in text.split(","):
        if word := word.strip().upper():
            try:
                wanted.add(JobState(word))
            except ValueError:
                raise invalid(f"unknown state {word!r}: states are {', '.join(JobState)}", "unknown_state") from None
    return frozenset(wanted)
