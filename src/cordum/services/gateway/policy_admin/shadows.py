"""`/api/v1/policy/shadows`: candidates beside the policy in force, per tenant (spec-safety section 9).

A shadow decides nothing and sees the tenant's own jobs only, so every tenant may have its own.
"""

from collections import Counter
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from cordum.services.gateway.answer import NO_CONTENT, Answer, answer
from cordum.services.gateway.call import Call
from cordum.services.gateway.errors import ApiError, invalid
from cordum.services.gateway.parts import Parts
from cordum.services.gateway.policy_admin.naming import bundle_id_of
from cordum.services.gateway.policy_admin.trying import demand_valid
from cordum.services.gateway.policy_admin.words import Content, Name, Word, author_of
from cordum.services.gateway.times import rfc3339
from cordum.store.shadows import Comparison, Shadow, TooManyShadowsError

DIFFS = ("escalated", "relaxed", "approval_differ", "unchanged")
_HOUR_MS = 3_600_000


class ShadowBody(msgspec.Struct, forbid_unknown_fields=True):
    """A candidate."""

    content: Content
    author: Name = ""
    note: Word = ""


class ComparisonsQuery(msgspec.Struct):
    """Query of the comparisons."""

    limit: Annotated[int, Meta(ge=1, le=500)] = 100
    offset: Annotated[int, Meta(ge=0, le=10_000)] = 0
    diff: Annotated[str, Meta(max_length=32, description="escalated, relaxed, approval_differ or unchanged")] = ""


async def put_shadow(parts: Parts, call: Call) -> Answer:
    """Begins to compare a candidate."""
    body: ShadowBody = call.body
    bundle_id = bundle_id_of(call.params["bundle_id"])
    if not body.content.strip():
        raise invalid("content is empty: delete the shadow instead", "POLICY_VALIDATION_FAILED")
    trial = await parts.policy_trials.run({bundle_id: body.content})
    # What is wrong elsewhere in the policy is not this tenant's to see, nor in the shadow's way.
    trial.faults[:] = [fault for fault in trial.faults if fault.bundle_id in ("", bundle_id)]
    demand_valid(trial)
    shadow = Shadow(
        id=f"shadow-{parts.ids.new().replace('-', '')[:12]}",
        bundle_id=bundle_id,
        content=body.content,
        author=author_of(call, body.author),
        note=body.note,
        created_at=parts.store.policies.now(),
    )
    try:
        await parts.store.shadows.put(call.tenant, shadow)
    except TooManyShadowsError as error:
        raise invalid(error.message, "too_many_shadows") from error
    await parts.auditor.record(
        call.caller,
        "edit",
        resource_type="shadow",
        resource_id=shadow.id,
        bundle_ids=(bundle_id,),
        message=body.note,
        tenant=call.tenant,
    )
    return answer(_shown(shadow))


async def show_shadow(parts: Parts, call: Call) -> Answer:
    """The candidate."""
    return answer(_shown(await _shadow(parts, call)))


async def delete_shadow(parts: Parts, call: Call) -> Answer:
    """Stops comparing; the results go, too."""
    bundle_id = bundle_id_of(call.params["bundle_id"])
    if not await parts.store.shadows.remove(call.tenant, bundle_id):
        raise ApiError("policy_shadow_not_found")
    await parts.auditor.record(
        call.caller,
        "delete",
        resource_type="shadow",
        resource_id=bundle_id,
        bundle_ids=(bundle_id,),
        tenant=call.tenant,
    )
    return NO_CONTENT


async def summary(parts: Parts, call: Call) -> Answer:
    """How often the candidate would have decided otherwise."""
    shadow = await _shadow(parts, call)
    results = await parts.store.shadows.results(call.tenant, shadow)
    by_rule = Counter(item.shadow_rule_id for item in results if item.diff != "unchanged")
    return answer(
        {
            "shadow_bundle_id": shadow.id,
            "bundle_id": shadow.bundle_id,
            "total": len(results),
            **_counts(results),
            "rules": [{"rule_id": rule, "count": count} for rule, count in by_rule.most_common(50)],
            "since": rfc3339(results[-1].at / 1000) if results else "",
        }
    )


async def comparisons(parts: Parts, call: Call) -> Answer:
    """The compared jobs, newest first."""
    query: ComparisonsQuery = call.query
    if query.diff and query.diff not in DIFFS:
        raise invalid(f"diff must be one of {', '.join(DIFFS)}", "invalid_request")
    shadow = await _shadow(parts, call)
    results = await parts.store.shadows.results(call.tenant, shadow)
    wanted = [item for item in results if not query.diff or item.diff == query.diff]
    return answer({"items": wanted[query.offset : query.offset + query.limit], "total": len(wanted)})


async def timeseries(parts: Parts, call: Call) -> Answer:
    """The same by hour."""
    shadow = await _shadow(parts, call)
    hours: dict[int, list[Comparison]] = {}
    for item in await parts.store.shadows.results(call.tenant, shadow):
        hours.setdefault(item.at // _HOUR_MS, []).append(item)
    points = [
        {"time": rfc3339(hour * 3600), "total": len(items), **_counts(items)} for hour, items in sorted(hours.items())
    ]
    return answer({"shadow_bundle_id": shadow.id, "interval": "1h", "points": points})


async def _shadow(parts: Parts, call: Call) -> Shadow:
    found = (await parts.store.shadows.of(call.tenant)).get(bundle_id_of(call.params["bundle_id"]))
    if found is None:
        raise ApiError("policy_shadow_not_found")
    return found


def _counts(results: list[Comparison]) -> dict[str, int]:
    found = Counter(item.diff for item in results)
    return {diff: found[diff] for diff in DIFFS}


def _shown(shadow: Shadow) -> dict[str, Any]:
    return {
        "shadow_bundle_id": shadow.id,
        "bundle_id": shadow.bundle_id,
        "content": shadow.content,
        "author": shadow.author,
        "note": shadow.note,
        "created_at": shadow.created_at,
    }
