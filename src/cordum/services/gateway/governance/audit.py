"""`/api/v1/policy/audit` and `/api/v1/audit` (spec-gateway sections 7 and 11.4, spec-auth section 7)."""

from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from cordum.core.audit.event import AuditEvent, harmless
from cordum.core.audit.verify import Report
from cordum.core.ids import Micros
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.services.gateway.answer import Answer, answer
from cordum.services.gateway.authentication import tenant_of
from cordum.services.gateway.call import Call
from cordum.services.gateway.errors import invalid
from cordum.services.gateway.paging import limit_of
from cordum.services.gateway.parts import Parts
from cordum.services.gateway.times import from_rfc3339, rfc3339_micros

MAX_VERIFIED: Final = 100_000
_DAY_MS: Final = 86_400_000
MAX_SPAN_DAYS: Final = 30
MAX_OFFSET: Final = 100_000
_OUTPUT: Final = "output"
_QUARANTINED: Final = frozenset({JobState.OUTPUT_QUARANTINED})

Word = Annotated[str, Meta(max_length=512)]
Time = Annotated[str, Meta(max_length=64, description="RFC 3339, or milliseconds since the epoch")]


class AuditQuery(msgspec.Struct):
    """Query of the policy audit."""

    limit: Annotated[int, Meta(ge=1, description="Items wanted; more than 500 is read as 500")] = 100
    offset: Annotated[int, Meta(ge=0, le=MAX_OFFSET)] = 0
    action: Word = ""
    type: Annotated[str, Meta(max_length=512, description="A resource type; `output` lists quarantined results")] = ""
    rule_id: Word = ""
    agent_id: Word = ""
    after: Time = ""
    before: Time = ""
    search: Word = ""


class VerifyQuery(msgspec.Struct):
    """Query of the check."""

    tenant: Word = ""
    since: Annotated[int, Meta(ge=0, description="Milliseconds since the epoch")] | None = None
    until: Annotated[int, Meta(ge=0, description="Milliseconds since the epoch")] | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_VERIFIED)] = 10_000


async def list_audit(parts: Parts, call: Call) -> Answer:
    """Who did what, newest first."""
    query: AuditQuery = call.query
    limit = limit_of(query.limit)
    after, before = _moment(query.after, "after"), _moment(query.before, "before")
    if query.type == _OUTPUT:
        return await _quarantines(parts, call, query, limit, after, before)
    found = await parts.store.audit.page(
        call.tenant, _wanted(query, after, before), limit=limit, offset=query.offset, after=after
    )
    return answer(
        {
            "items": [entry(event) for event in found.items],
            "total": found.total,
            "has_more": found.total > query.offset + len(found.items) or found.truncated,
            "offset": query.offset,
        }
    )


async def verify(parts: Parts, call: Call) -> Answer:
    """Whether the tenant's audit chain is whole."""
    query: VerifyQuery = call.query
    since, until = query.since, query.until
    if since is not None:
        end = until if until is not None else int(parts.clock.now() * 1000)
        if end < since:
            raise invalid("until is before since", "INVALID_RANGE")
        if end - since > MAX_SPAN_DAYS * _DAY_MS:
            raise invalid(f"more than {MAX_SPAN_DAYS} days at once", "INVALID_RANGE")
    tenant = tenant_of(call.caller, query.tenant) if query.tenant else call.tenant
    report: Report = await parts.store.audit.verify(tenant, since_ms=since, until_ms=until, limit=query.limit)
    return answer(report)


def entry(event: AuditEvent) -> dict[str, Any]:
    """An event as the API shows it; `author` and `timestamp` are names some clients look for."""
    at = rfc3339_micros(event.created_at)
    return {
        "id": event.id,
        "action": event.action,
        "event_type": event.event_type,
        "severity": event.severity,
        "resource_type": event.resource_type,
        "resource_id": event.resource_id,
        "resource_name": event.resource_name,
        "actor_id": event.actor_id,
        "author": event.actor_id,
        "role": event.role,
        "auth_source": event.auth_source,
        "identity_source": event.identity_source,
        "identity_label": event.identity_label,
        "agent_id": event.agent_id,
        "job_id": event.job_id,
        "bundle_ids": event.bundle_ids,
        "bundle_id": event.bundle_ids[0] if event.bundle_ids else "",
        "message": event.message,
        "reason": event.reason,
        "decision": event.decision,
        "matched_rule": event.matched_rule,
        "policy_version": event.policy_version,
        "extra": harmless(event.extra),
        "snapshot_before": event.snapshot_before,
        "snapshot_after": event.snapshot_after,
        "snapshot_id": event.snapshot_after,
        "created_at": at,
        "timestamp": at,
    }


def _wanted(query: AuditQuery, after: Micros | None, before: Micros | None) -> Callable[[AuditEvent], bool]:
    search = query.search.lower()

    def matches(event: AuditEvent) -> bool:
        return (
            (after is None or event.created_at >= after)
            and (before is None or event.created_at <= before)
            and (not query.action or event.action == query.action)
            and (not query.type or query.type in (event.resource_type, event.event_type))
            and (not query.rule_id or query.rule_id in (event.matched_rule, event.resource_id))
            and (not query.agent_id or event.agent_id == query.agent_id)
            and (not search or search in _text(event))
        )

    return matches


def _text(event: AuditEvent) -> str:
    words = (
        *(event.action, event.resource_type, event.resource_id, event.resource_name, event.actor_id, event.message),
        *(event.reason, event.matched_rule, event.job_id, event.agent_id, *event.bundle_ids, *event.extra.values()),
    )
    return "\n".join(words).lower()


def _moment(text: str, name: str) -> Micros | None:
    if not text:
        return None
    if text.isascii() and text.isdigit() and len(text) < 16:
        return Micros(int(text) * 1000)
    seconds = from_rfc3339(text)
    if seconds <= 0:
        raise invalid(f"{name} is neither RFC 3339 nor milliseconds", f"INVALID_{'FROM' if name == 'after' else 'TO'}")
    return Micros(int(seconds * 1_000_000))


async def _quarantines(
    parts: Parts, call: Call, query: AuditQuery, limit: int, after: Micros | None, before: Micros | None
) -> Answer:
    """Results that the output policy keeps back, newest first."""
    found = await parts.store.jobs.list_page(
        call.tenant, states=_QUARANTINED, updated_after=after, updated_before=before, limit=500
    )
    rows = [row for record in found.items if _row_matches(query, row := quarantine_row(record))]
    items = rows[query.offset : query.offset + limit]
    more = len(rows) > query.offset + len(items) or found.next_cursor is not None
    return answer({"items": items, "total": len(rows), "has_more": more, "offset": query.offset})


def quarantine_row(record: JobRecord) -> dict[str, Any]:
    """A quarantined result as the audit shows it."""
    safety = record.output_safety
    row: dict[str, Any] = {
        "id": f"output:{record.id}",
        "action": "output_quarantine",
        "resource_type": _OUTPUT,
        "resource_id": record.id,
        "job_id": record.id,
        "rule_id": safety.rule_id if safety else "",
        "decision": record.output_decision or "QUARANTINE",
        "reason": (safety.reason if safety else "") or record.failure_reason,
        "phase": safety.phase if safety else "",
        "created_at": rfc3339_micros(record.updated_at),
        "findings": safety.findings if safety else (),
    }
    if safety is not None and safety.original_ptr:
        row["original_ptr"] = safety.original_ptr
    if safety is not None and safety.redacted_ptr:
        row["redacted_ptr"] = safety.redacted_ptr
    return row


def _row_matches(query: AuditQuery, row: dict[str, Any]) -> bool:
    search = query.search.lower()
    return (
        (not query.rule_id or row["rule_id"] == query.rule_id)
        and (not query.action or row["action"] == query.action)
        and (not search or search in f"{row['job_id']}\n{row['reason']}\n{row['rule_id']}".lower())
    )
