"""The conditions of a rule as ways to narrow a region: what it means that one holds, and that it does not."""

from collections.abc import Callable, Iterator

import msgspec

from cordum.core.policy.analysis.labels import SECRETS_LABEL, Beyond, Equals, Listed, Says, Silent
from cordum.core.policy.analysis.region import Region, Tags
from cordum.core.policy.attachment import plain
from cordum.core.policy.document import Match, McpMatch, Rule, Tier
from cordum.core.policy.mcp import FIELDS
from cordum.core.policy.request import fold, fold_all
from cordum.core.policy.rules import EDGE_TOPIC

Narrow = Callable[[Region], Region | None]
"""One way in which something can be so; None when in no request of the region."""


class Condition(msgspec.Struct, frozen=True, eq=False):
    """The ways in which it holds, and the ways in which it does not. Between them they cover every request."""

    holds: tuple[Narrow, ...]
    fails: tuple[Narrow, ...]


def conditions_of(match: Match, *, restricts: bool = True) -> tuple[Condition, ...]:
    """What must all hold; empty for a rule that matches everything. `restricts`: it denies, asks or slows down."""
    found: list[Condition] = []
    if match.topics:
        found.append(_topics(match.topics))
    for field, wanted in (
        ("tenant", match.tenants),
        ("capability", match.capabilities),
        ("pack_id", match.pack_ids),
        ("actor_id", match.actor_ids),
        ("actor_type", match.actor_types),
    ):
        if wanted:
            found.append(_one(field, fold_all(wanted)))
    if match.risk_tags:
        found.append(_overlap("risk_tags", fold_all(match.risk_tags)))
    if match.requires:
        found.append(_all_of("requires", fold_all(match.requires)))
    found.extend(_label(name, value) for name, value in match.labels.items())
    if match.label_allowlist:
        found.append(_allowlist({name: fold_all(values) for name, values in match.label_allowlist.items()}))
    if match.label_threshold:
        found.append(_threshold(match.label_threshold))
    if match.secrets_present is not None:
        found.append(_secrets(match.secrets_present))
    if match.mcp is not None:
        found.append(_mcp(match.mcp, restricts=restricts))
    if match.agent_risk_tiers or match.agent_data_classifications or match.predicate or match.delegation is not None:
        found.append(UNKNOWN)
    return tuple(found)


def conditions_of_rule(rule: Rule) -> tuple[Condition, ...]:
    """As `conditions_of`, with what the rule is attached to, which kinds of request it permits, and that it counts."""
    found: list[Condition] = []
    selector = rule.selector
    if selector.workflow_id:
        found.append(_one("workflow", frozenset({selector.workflow_id.strip()})))
    if selector.job_id:
        found.append(_overlap("job", frozenset({plain(selector.job_id, "job")})))
    if selector.session_id:
        found.append(_overlap("session", frozenset({plain(selector.session_id, "session")})))
    found.extend(conditions_of(rule.match, restricts=not rule.decision.permits))
    if rule.decision.permits and rule.tier is Tier.GLOBAL and not rule.invariant:
        found.extend(_kinds(rule.match))
    if rule.velocity is not None:
        found.append(UNKNOWN)
    return tuple(found)


UNKNOWN = Condition((lambda region: region,), (lambda region: region,))
"""A condition a region cannot express: it may hold and may fail, whatever else is so."""


def _topics(patterns: tuple[str, ...]) -> Condition:
    return Condition(
        (lambda region: region.topic(inside=patterns),),
        (lambda region: region.topic(outside=patterns),),
    )


def _one(field: str, wanted: frozenset[str]) -> Condition:
    return Condition((lambda region: region.one(field, wanted),), (lambda region: region.not_one(field, wanted),))


def _overlap(field: str, wanted: frozenset[str]) -> Condition:
    return Condition((_tagged(field, Tags(hits=frozenset({wanted}))),), (_tagged(field, Tags(lacks=wanted)),))


def _all_of(field: str, wanted: frozenset[str]) -> Condition:
    fails = tuple(_tagged(field, Tags(lacks=frozenset({item}))) for item in sorted(wanted))
    return Condition((_tagged(field, Tags(has=wanted)),), fails)


def _tagged(field: str, asked: Tags) -> Narrow:
    return lambda region: region.tag(field, asked)


def _label(name: str, value: str) -> Condition:
    return Condition(
        (lambda region: region.label(name, Equals(value, True)),),
        (lambda region: region.label(name, Equals(value, False)),),
    )


def _allowlist(lists: dict[str, frozenset[str]]) -> Condition:
    def outside(name: str) -> Narrow:
        return lambda region: region.label(name, Listed(lists[name], inside=False))

    def fails(region: Region) -> Region | None:
        left: Region | None = region
        for name, values in lists.items():
            left = left and left.label(name, Listed(values, inside=True))
        return left

    return Condition(tuple(outside(name) for name in lists), (fails,))


def _threshold(limits: dict[str, float]) -> Condition:
    def beyond(name: str) -> Narrow:
        return lambda region: region.label(name, Beyond(limits[name], True))

    def fails(region: Region) -> Region | None:
        left: Region | None = region
        for name, limit in limits.items():
            left = left and left.label(name, Beyond(limit, False))
        return left

    return Condition(tuple(beyond(name) for name in limits), (fails,))


def _secrets(wanted: bool) -> Condition:
    def said(yes: bool) -> Narrow:
        return lambda region: region.label(SECRETS_LABEL, Says(yes))

    def tagged(yes: bool) -> Narrow:
        tag = frozenset({fold("secrets")})

        def narrow(region: Region) -> Region | None:
            silent = region.label(SECRETS_LABEL, Silent())
            if silent is None:
                return None
            return silent.tag("risk_tags", Tags(has=tag) if yes else Tags(lacks=tag))

        return narrow

    return Condition((tagged(wanted), said(wanted)), (tagged(not wanted), said(not wanted)))


_EMPTY = Tags(within=frozenset())
_FILLED = Tags(beyond=frozenset({frozenset()}))
_NO_EDGE = (EDGE_TOPIC,)


def _mcp(match: McpMatch, *, restricts: bool) -> Condition:
    """An MCP request, each field of which is as its lists want it. A field may have several values, one a spelling:
    what restricts applies when any of them is listed, what permits only when all are."""
    holds: list[dict[str, Tags]] = [{field: _FILLED} for field in FIELDS]
    fails: list[Narrow] = [_no_mcp]
    for field in FIELDS:
        listed, unlisted = fold_all(getattr(match, f"{field}s")), fold_all(getattr(match, f"not_{field}s"))
        if listed and restricts:
            holds = _each(holds, field, [Tags(hits=frozenset({listed}))])
            fails.append(_tagged(field, Tags(lacks=listed)))
        elif listed:
            holds = _each(holds, field, [_FILLED.joined(Tags(within=listed))])
            fails += (_tagged(field, _EMPTY), _tagged(field, Tags(beyond=frozenset({listed}))))
        if unlisted and restricts:
            holds = _each(holds, field, [_EMPTY, Tags(beyond=frozenset({unlisted}))])
            fails.append(_tagged(field, _FILLED.joined(Tags(within=unlisted))))
        elif unlisted:
            holds = _each(holds, field, [Tags(lacks=unlisted)])
            fails.append(_tagged(field, Tags(hits=frozenset({unlisted}))))
    return Condition(tuple(_all_tagged(way) for way in holds), tuple(fails))


def _each(ways: list[dict[str, Tags]], field: str, asked: list[Tags]) -> list[dict[str, Tags]]:
    """Every way, with each of what is asked of the field besides; impossible ones are left out."""
    joined = [{**way, field: way.get(field, Tags()).joined(one)} for way in ways for one in asked]
    return [way for way in joined if way[field].is_possible]


def _all_tagged(way: dict[str, Tags]) -> Narrow:
    def narrow(region: Region) -> Region | None:
        left: Region | None = region
        for field, asked in way.items():
            left = left and left.tag(field, asked)
        return left

    return narrow


_no_mcp = _all_tagged(dict.fromkeys(FIELDS, _EMPTY))
ORDINARY = Condition((_no_mcp,), tuple(_tagged(field, _FILLED) for field in FIELDS))
"""No MCP request."""


def _kinds(match: Match) -> Iterator[Condition]:
    """What permits must speak of MCP to permit an MCP request, and name the edge's topic to permit an action there."""
    if EDGE_TOPIC not in match.topics:
        yield Condition(
            (lambda region: region.topic(outside=_NO_EDGE),), (lambda region: region.topic(inside=_NO_EDGE),)
        )
    if match.mcp is None:
        # At the edge, MCP labels make no difference.
        at_edge: tuple[Narrow, ...] = (lambda region: region.topic(inside=_NO_EDGE),)
        yield Condition(
            (_no_mcp, *(at_edge if EDGE_TOPIC in match.topics else ())),
            tuple(_tagged(field, _FILLED) for field in FIELDS),
        )
