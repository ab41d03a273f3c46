"""The tests of one rule, as closures: cheap ones first, each with enough about itself to explain a miss."""

import math
from collections.abc import Callable, Mapping

import msgspec

from cordum.core.policy import attachment, delegation, mcp
from cordum.core.policy.document import EVERYWHERE, DelegationMatch, Match, McpMatch, Selector
from cordum.core.policy.glob import compile_glob
from cordum.core.policy.request import PolicyRequest, fold, fold_all

Test = Callable[[PolicyRequest], bool]

_LONGEST_NUMBER = 512
"""A label longer than this many characters is no honest number; it counts as beyond every threshold."""


class Matcher(msgspec.Struct, frozen=True, eq=False):
    """One condition of a rule. `observe` says what the request has in its place, for explanations."""

    name: str
    wanted: str
    test: Test
    observe: Callable[[PolicyRequest], str]


def matchers_of(match: Match, *, restricts: bool = True, selector: Selector = EVERYWHERE) -> tuple[Matcher, ...]:
    """The conditions of a rule, all of which must hold; none means that everything matches.

    `restricts` is whether the rule denies, asks or slows down, which matters where a request is ambiguous.
    Raises BadGlobError and BadPredicateError.
    """
    found: list[Matcher] = []

    def one_of(name: str, wanted: tuple[str, ...], field: Callable[[PolicyRequest], str], test: Test) -> None:
        found.append(Matcher(name, ", ".join(wanted), test, field))

    if match.secrets_present is not None:
        found.append(_secrets(match.secrets_present))
    if match.capabilities:
        one_of(
            "capabilities", match.capabilities, lambda r: r.capability, _capability_test(fold_all(match.capabilities))
        )
    if match.tenants:
        one_of("tenants", match.tenants, lambda r: r.tenant, _tenant_test(fold_all(match.tenants)))
    if match.pack_ids:
        one_of("pack_ids", match.pack_ids, lambda r: r.pack_id, _pack_test(fold_all(match.pack_ids)))
    if match.actor_ids:
        one_of("actor_ids", match.actor_ids, lambda r: r.actor_id, _actor_test(fold_all(match.actor_ids)))
    if match.actor_types:
        one_of("actor_types", match.actor_types, lambda r: r.actor_type, _actor_type_test(fold_all(match.actor_types)))
    if selector != EVERYWHERE:
        found.append(_selected(selector))
    if match.topics:
        one_of("topics", match.topics, lambda r: r.topic, _topic_test(match.topics))
    if match.risk_tags:
        one_of("risk_tags", match.risk_tags, lambda r: _listed(r.risk_tags), _risk_test(fold_all(match.risk_tags)))
    if match.requires:
        one_of("requires", match.requires, lambda r: _listed(r.requires), _requires_test(fold_all(match.requires)))
    if match.agent_risk_tiers:
        tiers = match.agent_risk_tiers
        one_of("agent_risk_tiers", tiers, lambda r: r.agent_risk_tier, _agent_tier_test(fold_all(tiers)))
    if match.agent_data_classifications:
        kinds = match.agent_data_classifications
        one_of(
            "agent_data_classifications",
            kinds,
            lambda r: _listed(r.agent_data_classifications),
            _agent_data_test(fold_all(kinds)),
        )
    found.extend(_label(name, value) for name, value in match.labels.items())
    if match.mcp is not None:
        found.append(_mcp(match.mcp, restricts=restricts))
    if match.delegation is not None:
        found.append(_delegation(match.delegation))
    if match.predicate:
        found.append(_predicate(match.predicate))
    if match.label_allowlist:
        found.append(_allowlist(match.label_allowlist))
    if match.label_threshold:
        found.append(_threshold(match.label_threshold))
    return tuple(found)


def any_topic(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    """Whether a topic matches one of the patterns, which must be good ones."""
    globs = [compile_glob(pattern) for pattern in patterns]
    literals = frozenset(glob.prefix for glob in globs if glob.literal)
    tests = [glob.matches for glob in globs if not glob.literal]
    if not tests:
        return literals.__contains__
    if not literals and len(tests) == 1:
        return tests[0]
    return lambda topic: topic in literals or any(test(topic) for test in tests)


def _topic_test(patterns: tuple[str, ...]) -> Test:
    test = any_topic(patterns)
    return lambda request: test(request.topic)


# An empty value of the request never matches: the folded sets hold no empty text.


def _capability_test(wanted: frozenset[str]) -> Test:
    return lambda request: request.capability in wanted


def _tenant_test(wanted: frozenset[str]) -> Test:
    return lambda request: request.tenant in wanted


def _pack_test(wanted: frozenset[str]) -> Test:
    return lambda request: request.pack_id in wanted


def _actor_test(wanted: frozenset[str]) -> Test:
    return lambda request: request.actor_id in wanted


def _actor_type_test(wanted: frozenset[str]) -> Test:
    return lambda request: request.actor_type in wanted


def _risk_test(wanted: frozenset[str]) -> Test:
    return lambda request: not wanted.isdisjoint(request.risk_tags)


def _requires_test(wanted: frozenset[str]) -> Test:
    return lambda request: wanted <= request.requires


def _agent_tier_test(wanted: frozenset[str]) -> Test:
    return lambda request: request.agent_risk_tier in wanted


def _agent_data_test(wanted: frozenset[str]) -> Test:
    return lambda request: not wanted.isdisjoint(request.agent_data_classifications)


def _selected(selector: Selector) -> Matcher:
    wanted = "; ".join(f"{name} {value}" for name, value in msgspec.structs.asdict(selector).items() if value)

    def observe(request: PolicyRequest) -> str:
        jobs, sessions = attachment.jobs_of(request), attachment.sessions_of(request)
        workflow = attachment.workflow_of(request.labels)
        return f"workflow {workflow[:200]}; job {', '.join(jobs)[:200]}; session {', '.join(sessions)[:200]}"

    return Matcher("selector", wanted, lambda request: attachment.selects(selector, request), observe)


def _mcp(match: McpMatch, *, restricts: bool) -> Matcher:
    test = mcp.match_test(match, restricts=restricts)
    return Matcher(
        "mcp",
        mcp.wanted_text(match),
        lambda request: test(mcp.call_of(request.labels)),
        lambda request: str(mcp.call_of(request.labels)),
    )


def _delegation(match: DelegationMatch) -> Matcher:
    test = delegation.match_test(match)
    plain = DelegationMatch()
    said = msgspec.structs.asdict(match)
    wanted = "; ".join(f"{name} {value}" for name, value in said.items() if value != getattr(plain, name))
    return Matcher("delegation", wanted, lambda request: test(delegation.chain_of(request.labels)), _chain_text)


def _predicate(text: str) -> Matcher:
    test = delegation.predicate_test(text)
    return Matcher("predicate", text, lambda request: test(delegation.chain_of(request.labels)), _chain_text)


def _chain_text(request: PolicyRequest) -> str:
    chain = delegation.chain_of(request.labels)
    if not chain.delegated:
        return "a direct call"
    return f"depth {chain.depth}; issuers {', '.join(chain.issuers)[:200]}; scope {_listed(chain.scope)[:200]}"


def _secrets(wanted: bool) -> Matcher:
    return Matcher(
        "secrets_present",
        _truth(wanted),
        lambda request: request.secrets_present is wanted,
        lambda request: _truth(request.secrets_present),
    )


def _label(name: str, value: str) -> Matcher:
    """Exactly this value; an empty one needs the label to be there and empty."""
    return Matcher(
        f"labels.{name}",
        f'"{value}"',
        lambda request: request.labels.get(name) == value,
        lambda request: _label_text(request, name),
    )


def _allowlist(lists: Mapping[str, tuple[str, ...]]) -> Matcher:
    """Matches when a label that is present has a value outside its list."""
    allowed = [(name, frozenset(fold(value) for value in values)) for name, values in lists.items()]

    def test(request: PolicyRequest) -> bool:
        labels = request.labels
        return any(name in labels and fold(labels[name]) not in values for name, values in allowed)

    wanted = "; ".join(f"{name} outside {', '.join(values)}" for name, values in lists.items())
    return Matcher("label_allowlist", wanted, test, lambda request: _labels_text(request, lists))


def _threshold(limits: Mapping[str, float]) -> Matcher:
    """Matches when a label that is present is a number beyond its limit; what is no number is ignored, but see NaN."""
    pairs = list(limits.items())

    def test(request: PolicyRequest) -> bool:
        labels = request.labels
        return any(name in labels and exceeds(labels[name], limit) for name, limit in pairs)

    wanted = "; ".join(f"{name} > {limit:g}" for name, limit in pairs)
    return Matcher("label_threshold", wanted, test, lambda request: _labels_text(request, limits))


def exceeds(text: str, limit: float) -> bool:
    """Whether a label's number is beyond the limit. NaN is: a value that compares with nothing must not slip by."""
    if len(text) > _LONGEST_NUMBER:
        return True
    try:
        number = float.fromhex(text) if "x" in text.lower() else float(text)
    except ValueError:
        return False
    except OverflowError:
        return True
    return math.isnan(number) or number > limit


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _listed(values: frozenset[str]) -> str:
    return ", ".join(sorted(values))


def _label_text(request: PolicyRequest, name: str) -> str:
    value = request.labels.get(name)
    return "absent" if value is None else f'"{value[:200]}"'


def _labels_text(request: PolicyRequest, names: Mapping[str, object]) -> str:
    return "; ".join(f"{name} {_label_text(request, name)}" for name in names)
