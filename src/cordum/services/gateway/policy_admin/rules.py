"""`/api/v1/policy/rules` and `/policy/output/rules`: the rules of all bundles, one by one (spec-gateway section 7).

They are those of the bundles; what the policy file says is in the file, and in every explanation.
"""

import asyncio
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from cordum.core.ids import TenantId
from cordum.core.policy.bundles import Bundle, in_merge_order
from cordum.core.policy.document import ContentMatch, Match, OutputRule, PolicyDocument, Rule
from cordum.core.policy.errors import PolicyError
from cordum.core.policy.parse import parse_policy
from cordum.services.gateway.answer import Answer, answer
from cordum.services.gateway.call import Call
from cordum.services.gateway.errors import ApiError
from cordum.services.gateway.parts import Parts
from cordum.services.gateway.policy_admin.changing import Bundles, Guard, read_tolerantly
from cordum.services.gateway.policy_admin.platform import demand_platform, is_platform
from cordum.services.gateway.policy_admin.toggling import NotToggleableError, toggled
from cordum.store.policies import PolicyState

_REMEMBERED: Final = 64
_PREVIEW: Final = 120  # characters


class RulesQuery(msgspec.Struct):
    """Query of the lists."""

    include_disabled: bool = False


class Toggle(msgspec.Struct, forbid_unknown_fields=True):
    """Whether the rule is to count."""

    enabled: bool


class Toggled(msgspec.Struct):
    """The rule as it is now."""

    id: str
    enabled: bool
    bundle_id: str
    updated_at: str


class _Read(msgspec.Struct):
    """The bundles that could be read as policies, and why others could not."""

    found: list[tuple[Bundle, PolicyDocument]]
    errors: list[dict[str, str]]


async def list_rules(parts: Parts, call: Call) -> Answer:
    """The rules that decide jobs, in the order in which bundles are merged."""
    read = await _read(parts, call)
    items = [
        _rule_item(rule, bundle)
        for bundle, document in read.found
        for rule in document.rules
        if _concerns(parts, call, rule.match)
    ]
    return answer({"items": items, "errors": read.errors})


async def list_output_rules(parts: Parts, call: Call) -> Answer:
    """The rules about results. Those that are switched off are listed too: that is where they are switched on."""
    read = await _read(parts, call)
    items = [
        _output_item(rule, bundle)
        for bundle, document in read.found
        for rule in document.output_rules
        if _concerns(parts, call, rule.match)
    ]
    return answer({"items": items, "errors": read.errors})


async def toggle_output_rule(parts: Parts, call: Call) -> Answer:
    """Switches one output rule, at once."""
    demand_platform(parts, call)
    rule_id, wanted = call.params["rule_id"], call.body.enabled
    bundle_id = _holder(await _read(parts, call), rule_id)
    now = parts.store.policies.now()

    def plan(bundles: Bundles, state: PolicyState) -> Bundles:
        bundle = bundles.get(bundle_id)
        if bundle is None or not bundle.enabled:
            raise ApiError("policy_rule_not_found")
        content = _toggled(bundle.content, rule_id, wanted)
        if content == bundle.content:
            return bundles
        changed = msgspec.structs.replace(bundle, content=content, updated_at=now)
        return {**bundles, bundle_id: msgspec.structs.replace(changed, sha256=changed.digest)}

    changed = await parts.policy_changer.change(plan, Guard(relaxing="allow"), author=call.caller.name)
    await _toggle_draft(parts, bundle_id, rule_id, wanted)
    await parts.auditor.record(
        call.caller,
        "edit",
        resource_type="output_rule",
        resource_id=rule_id,
        bundle_ids=(bundle_id,),
        message="enabled" if wanted else "disabled",
        snapshot_before=changed.snapshot_before,
        snapshot_after=changed.snapshot_after,
    )
    return answer(Toggled(id=rule_id, enabled=wanted, bundle_id=bundle_id, updated_at=now))


@lru_cache(maxsize=_REMEMBERED)
def document_of(content: str) -> PolicyDocument:
    """The document in a bundle's text. Raises PolicyError."""
    return parse_policy(content.encode())


async def _read(parts: Parts, call: Call) -> _Read:
    state = await parts.store.policies.in_force()
    bundles, unreadable = read_tolerantly(state.bundles)
    query = call.query
    with_disabled = isinstance(query, RulesQuery) and query.include_disabled
    wanted = [bundle for bundle in in_merge_order(bundles.values()) if bundle.enabled or with_disabled]
    # Reading YAML takes milliseconds a page: not on the loop.
    read = await asyncio.to_thread(_parse, wanted)
    read.errors += [{"fragment_id": bundle.id, "error": bundle.message} for bundle in unreadable.values()]
    if not is_platform(parts, call):
        read.errors = []
    return read


def _parse(bundles: list[Bundle]) -> _Read:
    read = _Read([], [])
    for bundle in bundles:
        try:
            read.found.append((bundle, document_of(bundle.content)))
        except PolicyError as error:
            read.errors.append({"fragment_id": bundle.id, "error": error.message})
    return read


def _concerns(parts: Parts, call: Call, match: Match | ContentMatch) -> bool:
    """Whether the caller is shown the rule: what is for other tenants only is theirs."""
    if is_platform(parts, call) or not match.tenants:
        return True
    return _folded(call.tenant) in {_folded(name) for name in match.tenants}


def _folded(tenant: TenantId | str) -> str:
    return tenant.strip().casefold()


def _holder(read: _Read, rule_id: str) -> str:
    """The bundle whose rule of this id counts: the last in the order of merging."""
    holders = [
        bundle.id
        for bundle, document in read.found
        if bundle.enabled and any(rule.id == rule_id for rule in document.output_rules)
    ]
    if not holders:
        raise ApiError(
            "policy_rule_not_found", "no bundle in force has this output rule; those of the policy file change there"
        )
    return holders[-1]


def _toggled(content: str, rule_id: str, wanted: bool) -> str:
    try:
        return toggled(content, rule_id, wanted)
    except NotToggleableError as error:
        raise ApiError("POLICY_RULE_NOT_TOGGLEABLE", error.message) from error
    except PolicyError as error:
        raise ApiError("POLICY_BUNDLE_UNREADABLE", error.message) from error


async def _toggle_draft(parts: Parts, bundle_id: str, rule_id: str, wanted: bool) -> None:
    """So that publishing a draft that was begun before does not switch the rule back."""
    draft = (await parts.drafts.all()).get(bundle_id)
    if draft is None:
        return
    try:
        content = toggled(draft.content, rule_id, wanted)
    except (NotToggleableError, PolicyError):
        return
    if content != draft.content:
        changed = msgspec.structs.replace(draft, content=content)
        changed = msgspec.structs.replace(changed, sha256=changed.digest if draft.sha256 else "")
        await parts.drafts.keep(parts.policy_signer.signed(changed))


def _rule_item(rule: Rule, bundle: Bundle) -> dict[str, Any]:
    item = _without_defaults(rule)
    item |= {"id": rule.id, "tier": rule.tier.value, "decision": rule.decision.value.lower(), "reason": rule.reason}
    item["match"] = _without_defaults(rule.match)
    item["enabled"] = bundle.enabled
    item["source"] = source_of(bundle, rule.tier.value)
    return item


def _output_item(rule: OutputRule, bundle: Bundle) -> dict[str, Any]:
    patterns = list(rule.match.content_patterns)
    return {
        "id": rule.id,
        "tier": rule.tier.value,
        "description": rule.description,
        "topics": list(rule.match.topics),
        "scanners": list(rule.match.scanners),
        "patterns": patterns,
        "pattern_preview": patterns[0][:_PREVIEW] if patterns else "",
        "keywords": list(rule.match.keywords),
        "decision": rule.decision.value.lower(),
        "severity": rule.severity.value,
        "reason": rule.reason,
        "enabled": rule.enabled and bundle.enabled,
        "match": _without_defaults(rule.match),
        "line": rule.line,
        "source": source_of(bundle, rule.tier.value),
    }


def source_of(bundle: Bundle, tier: str) -> dict[str, str]:
    """Where a rule comes from. A pack's bundles are called `<pack>/<overlay>`."""
    pack, _, overlay = bundle.id.partition("/")
    is_pack = pack not in ("secops", "velocity", "workflow", "job", "session")
    return {
        "fragment_id": bundle.id,
        "tier": tier,
        "pack_id": pack if is_pack else "",
        "overlay_name": overlay if is_pack else "",
        "version": bundle.version,
        "installed_at": bundle.installed_at,
        "sha256": bundle.digest,
    }


def _without_defaults(value: msgspec.Struct) -> dict[str, Any]:
    """A struct's members that say something, for JSON."""
    plain: Mapping[str, Any] = msgspec.to_builtins(value)
    defaults = dict(zip(reversed(value.__struct_fields__), reversed(value.__struct_defaults__), strict=False))
    return {
        name: shown
        for name, shown in plain.items()
        if shown not in ("", [], {}, None) and (name not in defaults or getattr(value, name) != defaults[name])
    }
