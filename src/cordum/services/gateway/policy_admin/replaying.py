"""`/api/v1/policy/replay`: jobs of the past, decided again by the policy of today or by a candidate (spec-safety 5)."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
from cap.pb.cordum.agent.v1 import safety_pb2
from msgspec import Meta

from cordum.core.ids import Micros, TenantId
from cordum.core.jobs.record import JobRecord
from cordum.core.policy.decision import Decision, Verdict
from cordum.core.policy.glob import BadGlobError, compile_glob
from cordum.rpc.convert import verdict_from_response
from cordum.services.gateway import protojson
from cordum.services.gateway.answer import Answer, answer
from cordum.services.gateway.call import Call
from cordum.services.gateway.errors import ApiError, invalid
from cordum.services.gateway.parts import Parts
from cordum.services.gateway.policy_admin.candidates import content_of
from cordum.services.gateway.policy_admin.changing import read_tolerantly
from cordum.services.gateway.policy_admin.naming import BundleName
from cordum.services.gateway.policy_admin.platform import demand_platform
from cordum.services.gateway.policy_admin.trying import Trial, demand_valid
from cordum.services.gateway.policy_admin.words import Content
from cordum.services.gateway.submit.question import question_again
from cordum.services.gateway.times import micros_of_any_unit, rfc3339_micros

LONGEST: Final = 7 * 24 * 3600 * 1_000_000
PAGE: Final = 500
PAGES: Final = 40
"""Pages of jobs looked through for those that match."""
PART: Final = 512
PART_BYTES: Final = 2 * 1024 * 1024

Time = Annotated[str | int, Meta(description="RFC 3339, or a time in s, ms, µs or ns")]


class ReplayFilters(msgspec.Struct, forbid_unknown_fields=True):
    """Which jobs."""

    tenant: Annotated[str, Meta(max_length=128)] | None = None
    topic_pattern: Annotated[str, Meta(max_length=256)] | None = None
    original_decision: Annotated[str, Meta(max_length=64)] | None = None


class ReplayBody(msgspec.Struct, forbid_unknown_fields=True, rename={"from_": "from"}):
    """What to replay. Without a candidate, the policy in force."""

    from_: Time
    to: Time
    filters: ReplayFilters | None = None
    candidate_content: Content | None = None
    candidate_bundle_id: BundleName | None = None
    use_current_policy: bool = False
    max_jobs: Annotated[int, Meta(ge=1, le=1000)] = 500


class Asked(msgspec.Struct, frozen=True):
    """A job to be decided again."""

    record: JobRecord
    original: Decision
    request: bytes
    has_content: bool


async def replay(parts: Parts, call: Call) -> Answer:
    """Decides past jobs again; nothing is recorded about them."""
    body: ReplayBody = call.body
    since, until = _range(body)
    filters = body.filters or ReplayFilters()
    if filters.tenant and filters.tenant != call.tenant:
        raise ApiError("tenant_access_denied")
    changes = await _changes(parts, call, body)
    records, more = await _records(parts, call.tenant, since, until, filters, body.max_jobs)
    asked, lost = await _questions(parts, records)
    snapshot, warnings, verdicts = await _decide(parts, changes, asked)
    if more:
        warnings.append(f"there are more jobs in this range; the latest {len(records)} were taken")
    if without := sum(not item.has_content for item in asked):
        warnings.append(f"the content of {without} jobs is no longer kept: content rules could not look at it")
    if lost:
        warnings.append(f"{lost} jobs could not be asked about again: their request is no longer kept, or undecided")
    replay_id = parts.ids.new()
    changed = [_change(item, verdict) for item, verdict in zip(asked, verdicts, strict=True)]
    directions = Counter(entry["direction"] for entry in changed)
    parts.auditor.note(
        call.caller,
        "policy.replay",
        resource_type="policy",
        resource_id=replay_id,
        policy_version=snapshot,
        message=f"{len(asked)} jobs",
        tenant=call.tenant,
    )
    return answer(
        {
            "replay_id": replay_id,
            "policy_snapshot": snapshot,
            "time_range": {"from": rfc3339_micros(since), "to": rfc3339_micros(until)},
            "summary": {
                "total_jobs": len(records),
                "evaluated": len(asked),
                "escalated": directions["escalated"],
                "relaxed": directions["relaxed"],
                "unchanged": directions["unchanged"],
                "errored": lost,
            },
            "rule_hits": _hits(verdicts),
            "changes": [entry for entry in changed if entry["direction"] != "unchanged"],
            "warnings": warnings,
        }
    )


async def _changes(parts: Parts, call: Call, body: ReplayBody) -> dict[str, str]:
    if body.use_current_policy:
        if body.candidate_content is not None or body.candidate_bundle_id is not None:
            raise invalid("use_current_policy and a candidate exclude each other", "invalid_request")
        return {}
    if body.candidate_content is None and body.candidate_bundle_id is None:
        return {}
    demand_platform(parts, call)
    state = await parts.store.policies.in_force()
    return content_of(
        body.candidate_bundle_id,
        body.candidate_content,
        await parts.drafts.all(),
        read_tolerantly(state.bundles)[0],
    )


async def _records(
    parts: Parts, tenant: TenantId, since: Micros, until: Micros, filters: ReplayFilters, most: int
) -> tuple[list[JobRecord], bool]:
    """The latest jobs of the range that match, and whether there are more."""
    matches = _matcher(filters)
    found: list[JobRecord] = []
    cursor: Micros | None = None
    for _ in range(PAGES):
        page = await parts.store.jobs.list_page(
            tenant, updated_after=since, updated_before=until, limit=PAGE, cursor=cursor
        )
        found += [record for record in page.items if matches(record)]
        cursor = page.next_cursor
        if len(found) >= most or cursor is None:
            break
    return found[:most], len(found) > most or cursor is not None


def _matcher(filters: ReplayFilters) -> Any:
    decision = _decision_named(filters.original_decision) if filters.original_decision else None
    try:
        topic = compile_glob(filters.topic_pattern) if filters.topic_pattern else None
    except BadGlobError as error:
        raise invalid(f"topic_pattern: {error}", "invalid_request") from None

    def matches(record: JobRecord) -> bool:
        return (decision is None or _original(record) is decision) and (topic is None or topic.matches(record.topic))

    return matches


def _decision_named(text: str) -> Decision:
    word = text.strip().upper().removeprefix("DECISION_TYPE_").replace("-", "_")
    if word == "REQUIRE_HUMAN":
        return Decision.REQUIRE_APPROVAL
    if word not in Decision.__members__:
        raise invalid(f"original_decision must be one of {', '.join(Decision)}", "invalid_request")
    return Decision[word]


def _original(record: JobRecord) -> Decision | None:
    """What policy said at the time: a job somebody approved had to be approved, whatever its record says by now."""
    if record.approval_status or record.safety_approval_required:
        return Decision.REQUIRE_APPROVAL
    return Decision[record.safety_decision] if record.safety_decision in Decision.__members__ else None


async def _questions(parts: Parts, records: Sequence[JobRecord]) -> tuple[list[Asked], int]:
    """The jobs as questions, and how many could not be made one."""
    jobs = parts.store.jobs
    stored = await asyncio.gather(
        *(asyncio.gather(jobs.request(record.id), jobs.context(record.id)) for record in records)
    )
    asked = []
    for record, (request, context) in zip(records, stored, strict=True):
        original = _original(record)
        if request is None or original is None:
            continue
        try:
            question = question_again(protojson.decode(request), context)
        except protojson.BadRequestSnapshotError:
            continue
        asked.append(Asked(record, original, question.SerializeToString(), context is not None))
    return asked, len(records) - len(asked)


async def _decide(
    parts: Parts, changes: Mapping[str, str], asked: Sequence[Asked]
) -> tuple[str, list[str], list[Verdict]]:
    """The policy's snapshot id, warnings, and a verdict per job."""
    verdicts: list[Verdict] = []
    trial: Trial | None = None
    now = parts.clock.now()
    for part in _parts([item.request for item in asked]):
        trial = await parts.policy_trials.run(changes, requests=part)
        demand_valid(trial)
        verdicts += [
            verdict_from_response(safety_pb2.PolicyCheckResponse.FromString(response), now)
            for response in trial.responses
        ]
    if trial is None:
        return "", [], []
    return trial.snapshot, [warning.message for warning in trial.warnings], verdicts


def _parts(requests: Sequence[bytes]) -> Iterable[list[bytes]]:
    """Bounded by number and by bytes; an empty one when there is nothing to ask, for the candidate's faults."""
    part: list[bytes] = []
    size = 0
    for request in requests:
        if part and (len(part) >= PART or size + len(request) > PART_BYTES):
            yield part
            part, size = [], 0
        part.append(request)
        size += len(request)
    yield part


def _change(item: Asked, verdict: Verdict) -> dict[str, Any]:
    before, after = item.original.severity, verdict.decision.severity
    return {
        "job_id": item.record.id,
        "topic": item.record.topic,
        "tenant": item.record.tenant,
        "original_decision": item.original.value,
        "original_rule_id": item.record.safety_rule_id,
        "new_decision": verdict.decision.value,
        "new_rule_id": verdict.rule_id,
        "rule_id": verdict.rule_id,
        "reason": verdict.reason,
        "direction": "escalated" if after > before else "relaxed" if after < before else "unchanged",
    }


def _hits(verdicts: Iterable[Verdict]) -> list[dict[str, Any]]:
    counts = Counter((verdict.rule_id, verdict.decision.value) for verdict in verdicts)
    return [
        {"rule_id": rule_id, "decision": decision, "count": count}
        for (rule_id, decision), count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def _range(body: ReplayBody) -> tuple[Micros, Micros]:
    since, until = _moment(body.from_, "from"), _moment(body.to, "to")
    if since >= until:
        raise invalid("from must be before to", "invalid_request")
    if until - since > LONGEST:
        raise invalid("from and to are more than 7 days apart", "invalid_request")
    return since, until


def _moment(value: str | int, name: str) -> Micros:
    if isinstance(value, int):
        if not 0 <= value < 2**63:
            raise invalid(f"{name} is not a time", "invalid_request")
        return micros_of_any_unit(value)
    try:
        moment = datetime.fromisoformat(value.strip())
    except ValueError:
        raise invalid(f"{name} is not a time such as 2026-01-31T12:00:00Z", "invalid_request") from None
    return Micros(max(0, int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000_000)))
