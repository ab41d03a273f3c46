"""`/api/v1/policy/velocity-rules`: how often something may happen (spec-safety section 4.8).

Each rule is a bundle `velocity/<id>` with one document, so it is published, signed, kept in snapshots and merged like
any other. It can only stop requests, never let one through.
"""

import re
from typing import Annotated, Any, Final

import msgspec
import yaml
from msgspec import Meta

from cordum.core.policy.bundles import Bundle
from cordum.core.policy.document import Rule
from cordum.core.policy.errors import PolicyError
from cordum.services.gateway.answer import NO_CONTENT, Answer, answer
from cordum.services.gateway.call import Call
from cordum.services.gateway.errors import ApiError, invalid
from cordum.services.gateway.parts import Parts
from cordum.services.gateway.policy_admin.bundles import take_out
from cordum.services.gateway.policy_admin.changing import Bundles, Changed, Guard, read_tolerantly
from cordum.services.gateway.policy_admin.naming import VELOCITY
from cordum.services.gateway.policy_admin.platform import demand_platform
from cordum.services.gateway.policy_admin.rules import document_of
from cordum.store.policies import PolicyState

LONGEST_WINDOW: Final = 86_400
DECISIONS: Final = ("deny", "throttle", "require_approval")
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_WINDOW: Final = re.compile(r"(?:([0-9]{1,5})h)?(?:([0-9]{1,5})m)?(?:([0-9]{1,6})s)?")

Short = Annotated[str, Meta(max_length=256)]
Shorts = Annotated[list[Short], Meta(max_length=200)]


class VelocityMatch(msgspec.Struct, forbid_unknown_fields=True):
    """Which requests are counted; none given: all."""

    topics: Shorts = []
    tenants: Shorts = []
    risk_tags: Shorts = []


class VelocityBody(msgspec.Struct, forbid_unknown_fields=True):
    """A rule."""

    window: Annotated[str, Meta(max_length=32, description='For example "10m"; 1 s to 24 h')]
    key: Annotated[
        Short, Meta(description="What is counted apart: tenant, actor_id, topic, labels.<name>, joined by :")
    ]
    threshold: Annotated[int, Meta(ge=1, le=1_000_000_000, description="Requests let through in a window")]
    id: Annotated[str, Meta(max_length=100)] | None = None
    name: Short = ""
    match: VelocityMatch | None = None
    decision: Annotated[str, Meta(max_length=32, description="deny, throttle or require_approval")] = "deny"
    reason: Annotated[str, Meta(max_length=1024)] = ""
    enabled: bool = True


async def list_velocity_rules(parts: Parts, call: Call) -> Answer:
    """All of them."""
    demand_platform(parts, call)
    return answer({"items": [_shown(bundle) for bundle in await _stored(parts)]})


async def create_velocity_rule(parts: Parts, call: Call) -> Answer:
    """A new rule, in force at once."""
    demand_platform(parts, call)
    body: VelocityBody = call.body
    rule_id = _rule_id(body.id or f"v-{parts.ids.new()[:12]}")
    bundle, changed = await _put(parts, call, rule_id, body, is_new=True)
    await _record(parts, call, "edit", rule_id, changed)
    return answer(_shown(bundle), status=201)


async def replace_velocity_rule(parts: Parts, call: Call) -> Answer:
    """Another rule in the place of one."""
    demand_platform(parts, call)
    body: VelocityBody = call.body
    rule_id = _rule_id(call.params["rule_id"])
    if body.id not in (None, rule_id):
        raise invalid("the id in the body is not the one in the path", "invalid_request")
    bundle, changed = await _put(parts, call, rule_id, body, is_new=False)
    await _record(parts, call, "edit", rule_id, changed)
    return answer(_shown(bundle))


async def delete_velocity_rule(parts: Parts, call: Call) -> Answer:
    """Takes a rule away."""
    demand_platform(parts, call)
    rule_id = _rule_id(call.params["rule_id"])
    name = VELOCITY + rule_id
    if name not in (await parts.store.policies.in_force()).bundles:
        raise ApiError("policy_rule_not_found")
    changed = await take_out(parts, call, (name,), Guard(relaxing="allow", without_kernel=False))
    await _record(parts, call, "delete", rule_id, changed)
    return NO_CONTENT


async def velocity_stats(parts: Parts, call: Call) -> Answer:
    """How many rules there are, and what they watch."""
    demand_platform(parts, call)
    shown = [_shown(bundle) for bundle in await _stored(parts)]
    by_decision = {word: sum(rule["decision"] == word for rule in shown) for word in DECISIONS}
    return answer(
        {
            "total": len(shown),
            "enabled": sum(bool(rule["enabled"]) for rule in shown),
            "by_decision": by_decision,
            "unreadable": sum("error" in rule for rule in shown),
        }
    )


async def _stored(parts: Parts) -> list[Bundle]:
    bundles, _ = read_tolerantly((await parts.store.policies.in_force()).bundles)
    return [bundle for name, bundle in sorted(bundles.items()) if name.startswith(VELOCITY)]


async def _put(parts: Parts, call: Call, rule_id: str, body: VelocityBody, *, is_new: bool) -> tuple[Bundle, Changed]:
    name, content = VELOCITY + rule_id, _document(rule_id, body)
    now = parts.store.policies.now()
    made: list[Bundle] = []

    def plan(bundles: Bundles, state: PolicyState) -> Bundles:
        old = bundles.get(name)
        if is_new and old is not None:
            raise ApiError("POLICY_RULE_EXISTS")
        if not is_new and old is None:
            raise ApiError("policy_rule_not_found")
        bundle = Bundle(
            id=name,
            content=content,
            enabled=body.enabled,
            author=call.caller.name,
            message=body.name,
            created_at=(old.created_at if old else "") or now,
            updated_at=now,
            installed_at=old.installed_at if old else now,
        )
        made[:] = [msgspec.structs.replace(bundle, sha256=bundle.digest)]
        return {**bundles, name: made[0]}

    changed = await parts.policy_changer.change(plan, Guard(relaxing="allow"), author=call.caller.name)
    return made[0], changed


async def _record(parts: Parts, call: Call, action: str, rule_id: str, changed: Changed) -> None:
    await parts.auditor.record(
        call.caller,
        action,
        resource_type="rule",
        resource_id=VELOCITY + rule_id,
        bundle_ids=(VELOCITY + rule_id,),
        snapshot_before=changed.snapshot_before,
        snapshot_after=changed.snapshot_after,
    )


def _document(rule_id: str, body: VelocityBody) -> str:
    decision = body.decision.strip().lower().replace("-", "_")
    if decision not in DECISIONS:
        raise invalid(f"decision must be one of {', '.join(DECISIONS)}", "invalid_request")
    match = {name: values for name, values in msgspec.structs.asdict(body.match or VelocityMatch()).items() if values}
    rule = {
        # A name of its own: a rule of the same id in another bundle would be replaced by this one.
        "id": VELOCITY + rule_id,
        **({"match": match} if match else {}),
        "velocity": {"max_requests": body.threshold, "window_seconds": _seconds(body.window), "key": body.key},
        "decision": decision,
        "reason": body.reason or f"more than {body.threshold} requests in {body.window}",
    }
    return yaml.safe_dump({"rules": [rule]}, sort_keys=False, allow_unicode=True)


def _seconds(window: str) -> int:
    found = _WINDOW.fullmatch(window.strip().lower())
    hours, minutes, seconds = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    total = hours * 3600 + minutes * 60 + seconds
    if not 1 <= total <= LONGEST_WINDOW:
        raise invalid("window must be 1s to 24h, written as 90s, 10m or 1h30m", "invalid_request")
    return total


def _rule_id(text: str) -> str:
    if not _ID.fullmatch(text):
        raise invalid("id must be letters, digits, '.', '_' and '-', 100 at most", "invalid_request")
    return text


def _shown(bundle: Bundle) -> dict[str, Any]:
    head = {
        "id": bundle.id.removeprefix(VELOCITY),
        "name": bundle.message,
        "enabled": bundle.enabled,
        "created_at": bundle.created_at,
        "updated_at": bundle.updated_at,
        "bundle_id": bundle.id,
    }
    try:
        rule = _the_rule(bundle)
    except PolicyError as error:
        return {**head, "decision": "", "error": error.message}
    velocity = rule.velocity
    return {
        **head,
        "match": {
            "topics": list(rule.match.topics),
            "tenants": list(rule.match.tenants),
            "risk_tags": list(rule.match.risk_tags),
        },
        "window": _spelled(velocity.window_seconds) if velocity else "",
        "window_seconds": velocity.window_seconds if velocity else 0,
        "key": velocity.key if velocity else "",
        "threshold": velocity.max_requests if velocity else 0,
        "decision": rule.decision.value.lower(),
        "reason": rule.reason,
    }


def _the_rule(bundle: Bundle) -> Rule:
    rules = document_of(bundle.content).rules
    return rules[0] if rules else Rule(id=bundle.id)


def _spelled(seconds: int) -> str:
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
