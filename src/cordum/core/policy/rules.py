"""Rules ready to be tried, and lists of them that find the one that decides (spec-safety 4.3, steps 3 and 4)."""

from collections.abc import Callable, Sequence, Set

import msgspec

from cordum.core.ids import RuleId
from cordum.core.policy import mcp
from cordum.core.policy.attachment import PRECEDENCE
from cordum.core.policy.decision import NO_CONSTRAINTS, Decision
from cordum.core.policy.document import Combine, Rule, Tier, Velocity
from cordum.core.policy.index import RuleIndex
from cordum.core.policy.matchers import Matcher, Test, matchers_of
from cordum.core.policy.outcome import DecidedBy, Outcome
from cordum.core.policy.request import PolicyRequest
from cordum.core.policy.velocity import VelocityQuery, key_of

EDGE_TOPIC = "job.edge.action"
UNCOUNTED = "velocity check unavailable"

_PLAIN, _MCP, _EDGE = 1, 2, 4
_EVERY_KIND = _PLAIN | _MCP | _EDGE


class Counting(msgspec.Struct, frozen=True, eq=False):
    """How a rule counts, and what it decides when nobody could count."""

    velocity: Velocity
    key: Callable[[PolicyRequest], str]
    uncounted: Outcome


class CompiledRule(msgspec.Struct, frozen=True, eq=False):
    """A rule ready to be tried. `position` counts from 1; `kinds` is which kinds of request it may decide about."""

    position: int
    outcome: Outcome
    tests: tuple[Test, ...]
    matchers: tuple[Matcher, ...]
    kinds: int
    counting: Counting | None
    rule: Rule


class Counted(msgspec.Struct, frozen=True):
    """What whoever counts found: the ids of rules beyond their limit, and of those that could not be counted."""

    exceeded: Set[str] = frozenset()
    uncounted: Set[str] = frozenset()


NOTHING_COUNTED = Counted()


class RuleList:
    """Rules in the order in which they are asked: those attached to a job, to a workflow, then the others."""

    def __init__(self, rules: Sequence[Rule], combine: Combine, last: Sequence[Rule] = ()) -> None:
        """The rules of `last` are asked when no other matched, about every kind of request.

        Raises what `compile_policy` raises.
        """
        asked = sorted(rules, key=lambda rule: PRECEDENCE[rule.tier])
        ordered = (*asked, *last)
        self.rules = tuple(
            _compiled(rule, position, _kinds(rule) if position <= len(asked) else _EVERY_KIND)
            for position, rule in enumerate(ordered, start=1)
        )
        self.index = RuleIndex([(rule.match, rule.selector) for rule in ordered])
        self.counts = any(rule.velocity is not None for rule in ordered)
        self._strictest = combine is Combine.DENY_OVERRIDES

    def deciding(self, request: PolicyRequest, counted: Counted = NOTHING_COUNTED) -> Outcome | None:
        """What the first (or, where the policy says so, the strictest) rule that matches decides; None without one."""
        if self._strictest:
            return self._strictest_of(request, counted)
        rules = self.rules
        kind = 0
        for position in self.index.candidates(request):
            rule = rules[position]
            for test in rule.tests:
                if not test(request):
                    break
            else:
                if rule.kinds != _EVERY_KIND:
                    kind = kind or kind_of(request)
                    if not rule.kinds & kind:
                        continue
                if rule.counting is None:
                    return rule.outcome
                if (outcome := _when_counted(rule.outcome, rule.counting, counted)) is not None:
                    return outcome
        return None

    def _strictest_of(self, request: PolicyRequest, counted: Counted) -> Outcome | None:
        kind = kind_of(request)
        best: Outcome | None = None
        for position in self.index.candidates(request):
            rule = self.rules[position]
            if best is not None and rule.outcome.weight <= best.weight and rule.counting is None:
                continue
            if rule.kinds & kind and all(test(request) for test in rule.tests):
                outcome = rule.outcome
                if rule.counting is not None:
                    said = _when_counted(outcome, rule.counting, counted)
                    if said is None:
                        continue
                    outcome = said
                if best is None or outcome.weight > best.weight:
                    best = outcome
                    if best.decision is Decision.DENY:
                        break
        return best

    def queries(self, request: PolicyRequest) -> list[VelocityQuery]:
        """What must be counted to decide: the counting rules that match, up to the first one that decides anyway."""
        found: dict[str, VelocityQuery] = {}
        kind = kind_of(request)
        for position in self.index.candidates(request):
            rule = self.rules[position]
            if not rule.kinds & kind or not all(test(request) for test in rule.tests):
                continue
            if rule.counting is not None:
                velocity = rule.counting.velocity
                key = rule.counting.key(request)
                id_ = rule.rule.id
                found[id_] = VelocityQuery(id_, key, velocity.window_seconds, velocity.max_requests, request.job_id)
            elif not self._strictest:
                break
        return list(found.values())


def kind_of(request: PolicyRequest) -> int:
    """A job, an MCP request or an action at the edge: who permits the last two must speak of them."""
    if request.topic == EDGE_TOPIC:
        return _EDGE
    return _MCP if mcp.call_of(request.labels).is_any else _PLAIN


def permits_kind(rule: CompiledRule, request: PolicyRequest) -> bool:
    """Whether the rule may decide about this kind of request at all."""
    return bool(rule.kinds & kind_of(request))


def _when_counted(outcome: Outcome, counting: Counting, counted: Counted) -> Outcome | None:
    if outcome.rule_id in counted.exceeded:
        return outcome
    return counting.uncounted if outcome.rule_id in counted.uncounted else None


def _kinds(rule: Rule) -> int:
    """What restricts, restricts every kind: no label and no topic takes a request out of a rule's reach."""
    if not rule.decision.permits or rule.tier is not Tier.GLOBAL:
        return _EVERY_KIND
    kinds = _PLAIN
    if rule.match.mcp is not None:
        kinds |= _MCP
    if EDGE_TOPIC in rule.match.topics:
        kinds |= _EDGE
    return kinds


def _compiled(rule: Rule, position: int, kinds: int) -> CompiledRule:
    matchers = matchers_of(rule.match, restricts=not rule.decision.permits, selector=rule.selector)
    decision = rule.decision
    if decision is Decision.ALLOW and rule.constraints != NO_CONSTRAINTS:
        decision = Decision.ALLOW_WITH_CONSTRAINTS
    outcome = Outcome(
        decision=decision,
        decided_by=DecidedBy.INVARIANT if rule.invariant else DecidedBy.RULE,
        reason="" if decision.permits else rule.reason,
        rule_id=RuleId(rule.id),
        constraints=rule.constraints,
        remediations=rule.remediations,
        approval=rule.approval,
        retry_after_ms=rule.retry_after_ms,
    )
    tests = tuple(matcher.test for matcher in matchers)
    counting = None if rule.velocity is None else _counting(rule.velocity, outcome)
    return CompiledRule(position, outcome, tests, matchers, kinds, counting, rule)


def _counting(velocity: Velocity, outcome: Outcome) -> Counting:
    uncounted: Outcome = msgspec.structs.replace(outcome, decision=Decision.REQUIRE_APPROVAL, reason=UNCOUNTED)
    return Counting(velocity, key_of(velocity.key), uncounted)
