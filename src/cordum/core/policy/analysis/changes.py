"""Where two policies can differ at all: the questions whose answers show every change between them."""

import itertools
from collections.abc import Iterator, Sequence

import msgspec

from cordum.core.policy.analysis.conditions import conditions_of, conditions_of_rule
from cordum.core.policy.analysis.region import Body
from cordum.core.policy.analysis.samples import sample_content
from cordum.core.policy.analysis.search import Conditions
from cordum.core.policy.analysis.sketch import apart
from cordum.core.policy.analysis.subject import Ranked, Subject
from cordum.core.policy.decision import Decision
from cordum.core.policy.document import InputRule, Match, McpLists, McpMatch, PolicyDocument, Rule, TenantPolicy, Tier


class Question(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """A kind of requests: those that match all of `inside` and none of `outside`; `extra` is put into each.

    `exact` is False when one request of the kind stands for others that may be decided otherwise.
    """

    inside: Sequence[Conditions] = ()
    outside: Sequence[Conditions] = ()
    extra: Body = {}
    exact: bool = True


def questions(before: Subject, after: Subject) -> Iterator[Question]:
    """First the rules, then tenants, then content."""
    yield from _rules(before, after)
    yield from _tenants(before, after)
    yield from _content(before, after)


# Rules: every pair of one that decided before and one that decides now. None stands for the default.


def _rules(before: Subject, after: Subject) -> Iterator[Question]:
    kept = _kept(before.document, after.document)
    attachments = _attachments(before.document, after.document)
    for ranked, other in _pairs(before, after, kept):
        if ranked is not None and other is not None and apart(ranked.sketch, other.sketch):
            continue
        inside = [one.conditions for one in (ranked, other) if one is not None]
        outside = [*before.conditions_before(ranked, other), *after.conditions_before(other, ranked)]
        counted = any(one is not None and one.rule.velocity is not None for one in (ranked, other))
        if _decides(before.document, ranked) != _decides(after.document, other):
            yield Question(inside=inside, outside=outside, exact=not counted)
        if ranked is None or other is None:
            # What is attached to a workflow or a job has a default of its own.
            for attachment in attachments:
                yield Question(inside=[attachment, *inside], outside=outside, exact=not counted)


def _attachments(before: PolicyDocument, after: PolicyDocument) -> tuple[Conditions, ...]:
    """The conditions of whatever rules and defaults are attached to."""
    places = [
        place
        for document in (before, after)
        for place in (
            *((rule.tier, rule.selector) for rule in document.rules),
            *((default.tier, default.selector) for default in document.tier_defaults),
        )
    ]
    return tuple(
        conditions_of_rule(Rule(id="attached", tier=tier, selector=selector))
        for tier, selector in dict.fromkeys(places)
        if tier is not Tier.GLOBAL
    )


def _pairs(before: Subject, after: Subject, kept: frozenset[str]) -> Iterator[tuple[Ranked | None, Ranked | None]]:
    """All but those of two rules that both policies have in the same order: these cannot have changed places, and
    neither can one of them and the default."""
    changed_before = [ranked for ranked in before.rules if ranked.rule.id not in kept]
    changed_after = [ranked for ranked in after.rules if ranked.rule.id not in kept]
    kept_after = [ranked for ranked in after.rules if ranked.rule.id in kept]
    kept_before = [ranked for ranked in before.rules if ranked.rule.id in kept]
    yield None, None
    yield from itertools.product(changed_before, (None, *changed_after, *kept_after))
    yield from itertools.product((None, *kept_before), changed_after)


def _decides(document: PolicyDocument, ranked: Ranked | None) -> tuple[object, ...]:
    if ranked is None:
        return (document.default_decision or Decision.DENY,)
    rule = ranked.rule
    return rule.decision, rule.constraints, rule.approval, rule.retry_after_ms


def _kept(before: PolicyDocument, after: PolicyDocument) -> frozenset[str]:
    """Ids of the rules both have. Empty when they do not stand in the same order, or when what order or tags mean has
    changed."""
    old = {rule.id: _essence(rule) for rule in before.rules}
    new = {rule.id: _essence(rule) for rule in after.rules}
    kept = frozenset(name for name in old if new.get(name) == old[name])
    same_order = [name for name in old if name in kept] == [name for name in new if name in kept]
    alike = (
        before.combine is after.combine
        and before.risk_tag_derivers == after.risk_tag_derivers
        and before.tier_defaults == after.tier_defaults
    )
    return kept if same_order and alike else frozenset()


def _essence(rule: Rule | InputRule) -> Rule | InputRule:
    return msgspec.structs.replace(rule, line=0, bundle="", named=True)


# Tenants


def _tenants(before: Subject, after: Subject) -> Iterator[Question]:
    if before.document.tenant_of_nobody != after.document.tenant_of_nobody:
        for conditions, outside in _deciding(before, after):
            yield Question(inside=conditions, outside=outside, extra={"tenant": ""}, exact=False)
    old, new = before.document.tenants, after.document.tenants
    for name in dict.fromkeys((*old, *new)):
        was, now = old.get(name, TenantPolicy()), new.get(name, TenantPolicy())
        if was == now:
            continue
        for match, unmatch in _bounds(was, now):
            own = conditions_of(msgspec.structs.replace(match, tenants=(name,)))
            besides = [conditions_of(unmatch)] if unmatch is not None else []
            for conditions, outside in _deciding(before, after):
                yield Question(inside=[own, *conditions], outside=[*besides, *outside])


def _deciding(before: Subject, after: Subject) -> Iterator[tuple[list[Conditions], list[Conditions]]]:
    """For each rule and the default, of both policies: what must hold and what must not for it to decide."""
    for subject in (before, after):
        for ranked in (*subject.rules, None):
            yield [] if ranked is None else [ranked.conditions], subject.conditions_before(ranked)


def _bounds(was: TenantPolicy, now: TenantPolicy) -> Iterator[tuple[Match, Match | None]]:
    """What requests a change of a tenant's bounds can touch: those that match the first and not the second."""
    for one, other in ((was, now), (now, was)):
        if one.deny_topics:
            yield Match(topics=one.deny_topics), Match(topics=other.deny_topics) if other.deny_topics else None
        if other.allow_topics:
            yield Match(topics=one.allow_topics), Match(topics=other.allow_topics)
    if was.max_concurrent_jobs != now.max_concurrent_jobs:
        yield Match(), None
    for host in _values(
        (was.allowed_repo_hosts, was.denied_repo_hosts), (now.allowed_repo_hosts, now.denied_repo_hosts)
    ):
        yield Match(labels={"repo.host": host}), None
    if was.mcp != now.mcp:
        yield from ((Match(mcp=match), None) for match in _mcp(was.mcp, now.mcp))


def _mcp(was: McpLists, now: McpLists) -> Iterator[McpMatch]:
    """Every value that a list names in every field; the other fields as they are allowed, where that is bounded."""
    usual = {}
    for field in _MCP:
        allowed = [set(getattr(lists, f"allow_{field}")) for lists in (was, now)]
        both = (allowed[0] & allowed[1]) or (allowed[0] | allowed[1])
        if both:
            usual[field] = (min(both),)
    for field in _MCP:
        lists = [(getattr(one, f"allow_{field}"), getattr(one, f"deny_{field}")) for one in (was, now)]
        for value in _values(*lists):
            yield McpMatch(**{**usual, field: (value,)})
        if field in usual and len(usual) > 1:
            yield McpMatch(**{name: values for name, values in usual.items() if name != field})


_MCP = ("servers", "tools", "resources", "actions")


def _values(was: tuple[tuple[str, ...], ...], now: tuple[tuple[str, ...], ...]) -> list[str]:
    """What the lists name, and something they do not; nothing when they are the same."""
    if was == now:
        return []
    named = {value for lists in (*was, *now) for value in lists}
    return [*sorted(named), "other"]


# Content: sampled, since what a pattern or scanner finds cannot be told from its text


def _content(before: Subject, after: Subject) -> Iterator[Question]:
    old = {rule.id: _essence(rule) for rule in before.document.input_rules}
    new = {rule.id: _essence(rule) for rule in after.document.input_rules}
    settings_alike = (before.document.input_policy, before.document.require_human) == (
        after.document.input_policy,
        after.document.require_human,
    )
    for rule in (*before.document.input_rules, *after.document.input_rules):
        if settings_alike and old.get(rule.id) == new.get(rule.id):
            continue
        asked = rule.match
        own = conditions_of(
            Match(
                tenants=asked.tenants,
                topics=asked.topics,
                capabilities=asked.capabilities,
                risk_tags=asked.risk_tags,
            )
        )
        sample = sample_content(asked)
        extra: Body = {"content": sample} if sample else {}
        if asked.content_types:
            extra["content_type"] = asked.content_types[0]
        for conditions, outside in _deciding(before, after):
            yield Question(inside=[own, *conditions], outside=outside, extra=extra, exact=False)
