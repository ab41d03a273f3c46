"""Which rules can match a request at all, found without looking at the others.

Each rule is filed under one of its conditions, the one that fewest rules share: an exact topic, the literal start of
its patterns, a capability, a risk tag, a label, and so on. A request is looked up under all of these, and what is
found, in document order, is a superset of the rules that match. So ten thousand rules cost about what ten do, as long
as they differ in something (spec-safety section 14, point 3).
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from operator import attrgetter

import msgspec

from cordum.core.policy import attachment, mcp
from cordum.core.policy.document import Match, Selector
from cordum.core.policy.glob import compile_glob
from cordum.core.policy.request import PolicyRequest, fold_all

Positions = tuple[int, ...]
Lookup = Callable[[PolicyRequest, list[int]], None]
"""Appends the positions of the rules filed under what the request has."""

_TOPIC, _PREFIX, _CAPABILITY, _RISK_TAG, _TENANT, _LABEL, _PACK, _ACTOR, _REQUIRES = range(9)
_WORKFLOW, _JOB, _SESSION, _MCP = range(9, 13)


class _Way(msgspec.Struct, frozen=True):
    """One way to file a rule: under each of these keys of these kinds (a topic list may mix texts and patterns)."""

    keys: tuple[tuple[int, Hashable], ...]


class RuleIndex:
    """Finds candidates. Positions are those of the rules in the sequence given."""

    def __init__(self, rules: Sequence[tuple[Match, Selector]]) -> None:
        ways = [[*_ways(match), *_ways_of_selector(selector)] for match, selector in rules]
        shared = Counter(key for rule in ways for way in rule for key in way.keys)
        filed: dict[int, dict[Hashable, list[int]]] = defaultdict(lambda: defaultdict(list))
        rest: list[int] = []
        for position, rule in enumerate(ways):
            if not rule:
                rest.append(position)
                continue
            best = min(rule, key=lambda way: sum(shared[key] for key in way.keys))
            for kind, key in best.keys:
                filed[kind][key].append(position)
        self._rest = tuple(rest)
        self._lookups = _lookups({kind: {key: tuple(at) for key, at in keys.items()} for kind, keys in filed.items()})

    def candidates(self, request: PolicyRequest) -> Sequence[int]:
        """The positions of every rule that might match, ascending; one may be there twice."""
        found: list[int] = []
        for lookup in self._lookups:
            lookup(request, found)
        if not found:
            return self._rest
        found.extend(self._rest)
        found.sort()
        return found


def _ways(match: Match) -> list[_Way]:
    """Every way this rule can be filed; none when only trying it tells."""
    ways: list[_Way] = []

    def way(kind: int, keys: Iterable[Hashable]) -> None:
        ways.append(_Way(tuple((kind, key) for key in keys)))

    if match.topics:
        globs = [compile_glob(pattern) for pattern in match.topics]
        keys = dict.fromkeys((_TOPIC if glob.literal else _PREFIX, glob.prefix) for glob in globs)
        ways.append(_Way(tuple(keys)))
    for kind, names in (
        (_CAPABILITY, match.capabilities),
        (_RISK_TAG, match.risk_tags),
        (_TENANT, match.tenants),
        (_PACK, match.pack_ids),
        (_ACTOR, match.actor_ids),
    ):
        if names:
            way(kind, fold_all(names))
    # All of these must be there, so any single one will do to find the rule by.
    for required in fold_all(match.requires):
        way(_REQUIRES, [required])
    for pair in match.labels.items():
        way(_LABEL, [pair])
    if match.mcp is not None:
        for field, names in (
            ("tool", match.mcp.tools),
            ("server", match.mcp.servers),
            ("resource", match.mcp.resources),
        ):
            if names:
                way(_MCP, [(field, name) for name in fold_all(names)])
    return ways


def _ways_of_selector(selector: Selector) -> list[_Way]:
    ways = []
    if selector.workflow_id:
        ways.append(_Way(((_WORKFLOW, selector.workflow_id.strip()),)))
    if selector.job_id:
        ways.append(_Way(((_JOB, attachment.plain(selector.job_id, "job")),)))
    if selector.session_id:
        ways.append(_Way(((_SESSION, attachment.plain(selector.session_id, "session")),)))
    return ways


def _lookups(filed: dict[int, dict[Hashable, Positions]]) -> list[Lookup]:
    lookups: list[Lookup] = []
    if topics := filed.get(_TOPIC):
        lookups.append(_single(topics, attrgetter("topic")))
    if prefixes := filed.get(_PREFIX):
        lookups.append(_by_prefix(prefixes))
    if capabilities := filed.get(_CAPABILITY):
        lookups.append(_single(capabilities, attrgetter("capability")))
    if tenants := filed.get(_TENANT):
        lookups.append(_single(tenants, attrgetter("tenant")))
    if packs := filed.get(_PACK):
        lookups.append(_single(packs, attrgetter("pack_id")))
    if actors := filed.get(_ACTOR):
        lookups.append(_single(actors, attrgetter("actor_id")))
    if tags := filed.get(_RISK_TAG):
        lookups.append(_several(tags, attrgetter("risk_tags")))
    if requires := filed.get(_REQUIRES):
        lookups.append(_several(requires, attrgetter("requires")))
    if labels := filed.get(_LABEL):
        lookups.append(_by_label(labels))
    if workflows := filed.get(_WORKFLOW):
        lookups.append(_single(workflows, lambda request: attachment.workflow_of(request.labels)))
    if jobs := filed.get(_JOB):
        lookups.append(_several(jobs, attachment.jobs_of))
    if sessions := filed.get(_SESSION):
        lookups.append(_several(sessions, attachment.sessions_of))
    if calls := filed.get(_MCP):
        lookups.append(_by_call(calls))
    return lookups


def _single(filed: dict[Hashable, Positions], field: Callable[[PolicyRequest], str]) -> Lookup:
    get = filed.get

    def lookup(request: PolicyRequest, found: list[int]) -> None:
        positions = get(field(request))
        if positions:
            found.extend(positions)

    return lookup


def _several(filed: dict[Hashable, Positions], field: Callable[[PolicyRequest], Iterable[str]]) -> Lookup:
    def lookup(request: PolicyRequest, found: list[int]) -> None:
        for value in field(request):
            positions = filed.get(value)
            if positions:
                found.extend(positions)

    return lookup


def _by_call(filed: dict[Hashable, Positions]) -> Lookup:
    def lookup(request: PolicyRequest, found: list[int]) -> None:
        call = mcp.call_of(request.labels)
        for field, names in (("tool", call.tool), ("server", call.server), ("resource", call.resource)):
            for name in names:
                found.extend(filed.get((field, name), ()))

    return lookup


def _by_prefix(filed: dict[Hashable, Positions]) -> Lookup:
    """Only the lengths that occur are tried, and there are few of them."""
    by_length: dict[int, dict[str, Positions]] = defaultdict(dict)
    for prefix, positions in filed.items():
        by_length[len(str(prefix))][str(prefix)] = positions
    ordered = sorted(by_length.items())

    def lookup(request: PolicyRequest, found: list[int]) -> None:
        topic = request.topic
        available = len(topic)
        for length, prefixes in ordered:
            if length > available:
                break
            positions = prefixes.get(topic[:length])
            if positions:
                found.extend(positions)

    return lookup


def _by_label(filed: dict[Hashable, Positions]) -> Lookup:
    """Whichever is fewer is gone through: the label names of the policy or those of the request."""
    by_name: dict[str, dict[str, Positions]] = defaultdict(dict)
    for pair, positions in filed.items():
        if isinstance(pair, tuple):
            by_name[str(pair[0])][str(pair[1])] = positions

    def lookup(request: PolicyRequest, found: list[int]) -> None:
        labels = request.labels
        names = by_name if len(by_name) < len(labels) else labels
        for name in names:
            values = by_name.get(name)
            value = labels.get(name)
            if values is not None and value is not None:
                positions = values.get(value)
                if positions:
                    found.extend(positions)

    return lookup
