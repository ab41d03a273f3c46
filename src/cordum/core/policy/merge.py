"""Several documents as one (spec-safety sections 4.9 and 5, Merge).

Everything is merged, in the order given. A later rule takes the place of an earlier one with the same id, attached to
the same thing; new ones follow. Where bounds meet, the narrower holds. Whoever calls this has parsed every document:
one that cannot be read is a reason to keep the policy there was, never to go on without it.
"""

from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

import msgspec

from cordum.core.policy.document import (
    Combine,
    FailMode,
    InputPolicy,
    InputRule,
    McpLists,
    OutputPolicySettings,
    OutputRule,
    PolicyDocument,
    RequireHuman,
    Rule,
    Selector,
    TenantPolicy,
    Tier,
    TierDefault,
)
from cordum.core.policy.request import fold

INVARIANTS = "secops/invariants"
"""The bundle whose rules bind whatever the others say."""
VELOCITY = "velocity/"
"""Bundles of velocity rules, which bind likewise: behind a rule that allows they would never be looked at."""

AnyRule = TypeVar("AnyRule", Rule, InputRule, OutputRule)


class Fragment(msgspec.Struct, frozen=True):
    """One document to be merged, and the id of the bundle (or "" for the base file) it came from."""

    id: str
    document: PolicyDocument


def merge(fragments: Sequence[Fragment]) -> PolicyDocument:
    """One document of all, the base file first. Rule ids are unique in it.

    A rule that shares its id with one it does not replace (an invariant, or a rule attached to something else) is
    renamed to `<bundle>:<id>`.
    """
    documents = [fragment.document for fragment in fragments]
    return PolicyDocument(
        version=_first(document.version for document in documents),
        default_tenant=_first(document.default_tenant for document in documents),
        default_decision=next((d.default_decision for d in documents if d.default_decision is not None), None),
        tier_defaults=_tier_defaults(documents),
        combine=_combine(documents),
        rules=_permits_last(_rules((fragment, fragment.document.rules) for fragment in fragments)),
        input_policy=_input_policy([document.input_policy for document in documents]),
        input_rules=_rules((fragment, fragment.document.input_rules) for fragment in fragments),
        output_policy=_output_policy([d.output_policy for d in documents if d.output_policy is not None]),
        output_rules=_rules((fragment, fragment.document.output_rules) for fragment in fragments),
        tenants=_tenants(documents),
        require_human=_require_human([document.require_human for document in documents]),
        risk_tag_derivers={
            topic: deriver for document in documents for topic, deriver in document.risk_tag_derivers.items()
        },
        tests=tuple(test for document in documents for test in document.tests),
    )


def _first(texts: Iterable[str]) -> str:
    return next(filter(None, texts), "")


def _combine(documents: Sequence[PolicyDocument]) -> Combine:
    strict = any(document.combine is Combine.DENY_OVERRIDES for document in documents)
    return Combine.DENY_OVERRIDES if strict else Combine.FIRST_MATCH


def _tier_defaults(documents: Sequence[PolicyDocument]) -> tuple[TierDefault, ...]:
    """The first word counts, as with every default."""
    found: dict[Hashable, TierDefault] = {}
    for document in documents:
        for default in document.tier_defaults:
            found.setdefault((default.tier, default.selector), default)
    return tuple(found.values())


def _rules(parts: Iterable[tuple[Fragment, tuple[AnyRule, ...]]]) -> tuple[AnyRule, ...]:
    merged: dict[Hashable, AnyRule] = {}
    for fragment, rules in parts:
        for rule in rules:
            own: AnyRule = msgspec.structs.replace(
                rule,
                bundle=rule.bundle or fragment.id,
                invariant=rule.invariant or fragment.id == INVARIANTS or fragment.id.startswith(VELOCITY),
            )
            merged[_identity(own)] = own
    return tuple(sorted(_uniquely_named(merged.values()), key=lambda rule: not rule.invariant))


def _identity(rule: Rule | InputRule | OutputRule) -> tuple[bool, Tier, Selector, str, str | None]:
    """What a rule must share with another to take its place. One without a name of its own never does."""
    return rule.invariant, rule.tier, rule.selector, rule.id, None if rule.named else rule.bundle


def _uniquely_named(rules: Iterable[AnyRule]) -> list[AnyRule]:
    taken: set[str] = set()
    named: list[AnyRule] = []
    for rule in rules:
        id_, number = rule.id, 1
        while id_ in taken:
            id_ = f"{rule.bundle}:{rule.id}" if number == 1 else f"{rule.bundle}:{rule.id}:{number}"
            number += 1
        taken.add(id_)
        renamed: AnyRule = rule if id_ == rule.id else msgspec.structs.replace(rule, id=id_)
        named.append(renamed)
    return named


def _permits_last(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """What an invariant permits, it permits only where no other rule said anything."""
    return tuple(sorted(rules, key=lambda rule: rule.invariant and rule.decision.permits))


def _input_policy(settings: Sequence[InputPolicy]) -> InputPolicy:
    """Of what somebody said, the stricter: switched on, closed, the smaller limit."""
    enabled = [one.enabled for one in settings if "enabled" in one.given]
    modes = [one.fail_mode for one in settings if "fail_mode" in one.given]
    limits = [one.max_scan_bytes for one in settings if "max_scan_bytes" in one.given]
    plain = InputPolicy()
    return InputPolicy(
        enabled=any(enabled) if enabled else plain.enabled,
        fail_mode=FailMode.OPEN if modes and FailMode.CLOSED not in modes else FailMode.CLOSED,
        max_scan_bytes=min(limits, default=plain.max_scan_bytes),
        given=tuple(sorted({name for one in settings for name in one.given})),
    )


def _output_policy(settings: Sequence[OutputPolicySettings]) -> OutputPolicySettings | None:
    """None when nobody said anything."""
    if not settings:
        return None
    enabled = [one.enabled for one in settings if one.enabled is not None]
    modes = {one.fail_mode for one in settings if one.fail_mode}
    closed = FailMode.CLOSED.value in modes
    return OutputPolicySettings(
        enabled=any(enabled) if enabled else None, fail_mode=FailMode.CLOSED.value if closed else _first(modes)
    )


def _require_human(settings: Sequence[RequireHuman]) -> RequireHuman:
    """The first document that says anything of it."""
    return next((one for one in settings if one != RequireHuman()), RequireHuman())


def _tenants(documents: Sequence[PolicyDocument]) -> dict[str, TenantPolicy]:
    merged: dict[str, TenantPolicy] = {}
    names: dict[str, str] = {}
    for document in documents:
        for name, tenant in document.tenants.items():
            name_of = names.setdefault(fold(name), name)
            known = merged.get(name_of)
            merged[name_of] = tenant if known is None else _both(known, tenant)
    return merged


def _both(first: TenantPolicy, second: TenantPolicy) -> TenantPolicy:
    """Lists are joined; the smaller limit holds."""
    return TenantPolicy(
        allow_topics=_joined(first.allow_topics, second.allow_topics),
        deny_topics=_joined(first.deny_topics, second.deny_topics),
        allowed_repo_hosts=_joined(first.allowed_repo_hosts, second.allowed_repo_hosts),
        denied_repo_hosts=_joined(first.denied_repo_hosts, second.denied_repo_hosts),
        max_concurrent_jobs=min(filter(None, (first.max_concurrent_jobs, second.max_concurrent_jobs)), default=0),
        mcp=McpLists(
            **{
                name: _joined(getattr(first.mcp, name), getattr(second.mcp, name))
                for name in McpLists.__struct_fields__
            }
        ),
    )


def _joined(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*first, *second)))
