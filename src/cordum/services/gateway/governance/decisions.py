"""`/api/v1/governance/decisions`: the decision log (spec-safety section 11, spec-gateway section 11.4)."""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from cordum.core.ids import SnapshotId
from cordum.core.policy.decision import snapshot_base
from cordum.services.gateway.answer import Answer, answer
from cordum.services.gateway.call import Call
from cordum.services.gateway.errors import invalid
from cordum.services.gateway.governance.audit import Time, Word
from cordum.services.gateway.paging import limit_of
from cordum.services.gateway.parts import Parts
from cordum.services.gateway.times import from_rfc3339, rfc3339_micros
from cordum.store.decision_log import VERDICTS, DecisionQuery, LoggedDecision

_DAY_MS: Final = 86_400_000


class DecisionsQuery(msgspec.Struct):
    """Query of the decision log."""

    since: Time = ""
    until: Time = ""
    topic: Word = ""
    rule_id: Word = ""
    verdict: Word = ""
    agent_id: Word = ""
    cursor: Word = ""
    limit: Annotated[int, Meta(ge=1, description="Items wanted; more than 500 is read as 500")] = 50


async def list_decisions(parts: Parts, call: Call) -> Answer:
    """What policy decided, newest first; the last 24 hours unless asked otherwise."""
    query: DecisionsQuery = call.query
    if query.verdict and query.verdict not in VERDICTS:
        raise invalid(f"unknown verdict: verdicts are {', '.join(sorted(VERDICTS))}", "INVALID_CATEGORY")
    now = int(parts.clock.now() * 1000)
    until = _millis(query.until, "INVALID_TO") if query.until else now
    since = _millis(query.since, "INVALID_FROM") if query.since else until - _DAY_MS
    if since > until:
        raise invalid("until is before since", "INVALID_RANGE")
    wanted = DecisionQuery(
        tenant=call.tenant,
        since=since,
        until=until,
        topic=query.topic,
        rule_id=query.rule_id,
        verdict=query.verdict,
        agent_id=query.agent_id,
        cursor=query.cursor,
        limit=limit_of(query.limit),
    )
    try:
        found = await parts.store.decision_log.page(wanted)
    except ValueError as error:
        raise invalid("cursor is none this list has given out", "INVALID_CURSOR") from error
    items = [item(decision) for decision in found.items]
    waited = [at for at, decision in enumerate(found.items) if decision.verdict == "require_approval"]
    records = await parts.store.jobs.get_many([found.items[at].job_id for at in waited])
    for at, record in zip(waited, records, strict=True):
        if record is not None and record.tenant == call.tenant:
            # What became of the request is known to the job; the log only knows that there was one.
            items[at]["approval_status"] = record.approval_status
            items[at]["approval_decision"] = record.approval_decision
    return answer({"items": items, "next_cursor": found.next_cursor or None})


def item(decision: LoggedDecision) -> dict[str, Any]:
    """A decision as the API shows it; no member is null."""
    return {
        "job_id": decision.job_id,
        "topic": decision.topic,
        "matched_rule": decision.rule_id,
        "verdict": decision.verdict,
        "decision": decision.decision,
        "reason": decision.reason,
        "constraints": decision.constraints if decision.constraints is not None else {},
        "approval_status": decision.approval_status,
        "approval_decision": decision.approval_decision,
        "agent_id": decision.agent_id,
        "principal_id": decision.principal,
        "policy_version": snapshot_base(SnapshotId(decision.snapshot)),
        "policy_snapshot": decision.snapshot,
        "timestamp": rfc3339_micros(decision.at),
    }


def _millis(text: str, code: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 16:
        return int(text)
    seconds = from_rfc3339(text)
    if seconds <= 0:
        raise invalid("a time is RFC 3339 or milliseconds", code)
    return int(seconds * 1000)
