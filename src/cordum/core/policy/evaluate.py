"""One decision about one job (spec-safety section 4.3).

The first rule that matches gives the rules' outcome, or a default does. Then invariants, the tenant's lists, the
effective configuration and the input rules may tighten it, and nothing may loosen it. Whether approval is required
follows from the final decision alone, so a denied job can never be approved.
"""

from collections.abc import Set

import msgspec

from cordum.core.policy.compile import CompiledPolicy, denied
from cordum.core.policy.decision import Decision
from cordum.core.policy.outcome import MISSING_TOPIC, UNSUPPORTED_TOPIC, DecidedBy, Outcome
from cordum.core.policy.request import PolicyRequest
from cordum.core.policy.rules import CompiledRule, Counted, RuleList, permits_kind
from cordum.core.policy.velocity import VelocityQuery

JOB_TOPICS = "job."
MAX_TRIED = 100
"""Rules listed in one explanation."""
MAX_NEAR_MISSES = 10
_MOST_LOOKED_AT = 2_000
"""Rules looked at for near misses."""

NOBODY: Set[str] = frozenset()


class Tried(msgspec.Struct, frozen=True):
    """One rule that was tried. For a miss: the first condition that failed, what it wanted and what it saw."""

    rule_id: str
    position: int
    matched: bool
    matcher: str = ""
    wanted: str = ""
    observed: str = ""
    tier: str = ""
    bundle: str = ""


class Step(msgspec.Struct, frozen=True):
    """One step of the combination: what it asked for, and what the decision was after it."""

    name: str
    decision: Decision
    rule_id: str = ""
    reason: str = ""


class Explanation(msgspec.Struct, frozen=True):
    """A decision with its reasons.

    Attributes:
        tried: the rules that were tried, in order, up to the one that decided.
        rules: how many rules there are; `candidates` is how many of them the index let through.
        tier: that of the rule that decided, if one did.
        near_misses: rules of which exactly one condition failed, and which.
        steps: what led from the rules' outcome to the final one; the last whose decision differs had the last word.
    """

    outcome: Outcome
    tried: tuple[Tried, ...]
    rules: int
    candidates: int
    tier: str = ""
    near_misses: tuple[Tried, ...] = ()
    steps: tuple[Step, ...] = ()


class _Trace:
    """Notes the steps of one decision."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def note(self, name: str, outcome: Outcome) -> None:
        self.steps.append(Step(name, outcome.decision, outcome.rule_id, outcome.reason))


def evaluate(
    policy: CompiledPolicy, request: PolicyRequest, exceeded: Set[str] = NOBODY, uncounted: Set[str] = NOBODY
) -> Outcome:
    """Decides. Never raises for any request; the outcome's reason says what was wrong with an impossible one.

    Args:
        exceeded: the ids of the velocity rules that are beyond their limit (see `velocity_queries`).
        uncounted: the ids of those that could not be counted; where they matter, a human is asked.
    """
    return _decide(policy, request, Counted(exceeded, uncounted) if exceeded or uncounted else _NOTHING, None)


def velocity_queries(policy: CompiledPolicy, request: PolicyRequest) -> tuple[VelocityQuery, ...]:
    """What must be counted before this request can be decided; empty for most policies and requests."""
    if not policy.counts or not request.topic.startswith(JOB_TOPICS):
        return ()
    request = _completed(policy, request)
    found = policy.main.queries(request)
    if policy.invariants is not None:
        found += policy.invariants.queries(request)
    return tuple(found)


_NOTHING = Counted()


def _decide(policy: CompiledPolicy, request: PolicyRequest, counted: Counted, trace: _Trace | None) -> Outcome:
    topic = request.topic
    if not topic.startswith(JOB_TOPICS):
        return UNSUPPORTED_TOPIC if topic else MISSING_TOPIC
    request = _completed(policy, request)
    outcome = policy.main.deciding(request, counted) or policy.default_for(request)
    if trace is not None:
        trace.note("rules", outcome)
    if policy.invariants is not None:
        invariant = policy.invariants.deciding(request, counted)
        if invariant is not None:
            outcome = policy.bound(outcome, invariant)
        if trace is not None:
            trace.note("invariants", outcome)
    tenant = policy.tenants.get(request.tenant)
    if tenant is not None and outcome.decision is not Decision.DENY:
        objection = tenant.objection(request)
        if objection:
            outcome = policy.denied_by_tenant(outcome, tenant, objection)
        elif tenant.max_concurrent_jobs:
            outcome = policy.limited(outcome, tenant)
        if trace is not None:
            trace.note("tenant", outcome)
    if request.effective_config and outcome.decision is not Decision.DENY:
        objection = policy.effective.read(request.effective_config).objection(request)
        if objection:
            outcome = denied(outcome, DecidedBy.EFFECTIVE_CONFIG, objection)
        if trace is not None:
            trace.note("effective_config", outcome)
    if policy.input_rules and outcome.decision is not Decision.DENY:
        hit = policy.input_rules.hit(request)
        if hit is not None:
            outcome = policy.after_input(outcome, hit)
        if trace is not None:
            trace.note("input_rules", outcome)
    return outcome


def _completed(policy: CompiledPolicy, request: PolicyRequest) -> PolicyRequest:
    """The request with the tenant and the risk tags it is judged by."""
    if not request.tenant:
        request = msgspec.structs.replace(request, tenant=policy.default_tenant)
    tags = policy.derivers.tags(request)
    return request if tags is None else msgspec.structs.replace(request, risk_tags=tags)


def explain(
    policy: CompiledPolicy, request: PolicyRequest, exceeded: Set[str] = NOBODY, uncounted: Set[str] = NOBODY
) -> Explanation:
    """The very decision `evaluate` takes, with the rules that were tried on the way, in order."""
    trace = _Trace()
    counted = Counted(exceeded, uncounted)
    outcome = _decide(policy, request, counted, trace)
    rules = policy.rules
    if outcome.decided_by is DecidedBy.REQUEST:
        return Explanation(outcome, (), len(rules), 0)
    request = _completed(policy, request)
    tried: list[Tried] = []
    candidates = 0
    lists = [policy.main] if policy.invariants is None else [policy.invariants, policy.main]
    for rule_list in lists:
        found = _tried(rule_list, request, counted)
        candidates += found[1]
        tried += [note for place, note in enumerate(found[0]) if note.matched or place < MAX_TRIED]
    deciding = next((rule.rule.tier.value for rule in rules if rule.outcome.rule_id == outcome.rule_id), "")
    near = _near_misses(rules, request)
    return Explanation(outcome, tuple(tried), len(rules), candidates, deciding, near, tuple(trace.steps))


def _tried(rule_list: RuleList, request: PolicyRequest, counted: Counted) -> tuple[list[Tried], int]:
    """The rules up to the one that decides, and how many candidates there were."""
    deciding = rule_list.deciding(request, counted)
    candidates = sorted(set(rule_list.index.candidates(request)))
    tried: list[Tried] = []
    for position in candidates:
        rule = rule_list.rules[position]
        misses = _misses(rule, request, counted)
        decided = not misses and deciding is not None and deciding.rule_id == rule.outcome.rule_id
        tried.append(misses[0] if misses else _note(rule, matched=True))
        if decided:
            break
    return tried, len(candidates)


def _misses(rule: CompiledRule, request: PolicyRequest, counted: Counted | None) -> list[Tried]:
    """The conditions of a rule that do not hold."""
    found = [
        _note(rule, matched=False, matcher=matcher.name, wanted=matcher.wanted, observed=matcher.observe(request))
        for matcher in rule.matchers
        if not matcher.test(request)
    ]
    if not permits_kind(rule, request):
        wanted = "a rule that permits MCP requests has match.mcp, one for the edge lists job.edge.action"
        found.append(_note(rule, matched=False, matcher="kind", wanted=wanted, observed="another kind of request"))
    if counted is not None and rule.counting is not None:
        said = counted.exceeded | counted.uncounted
        if rule.rule.id not in said:
            velocity = rule.counting.velocity
            wanted = f"more than {velocity.max_requests} in {velocity.window_seconds} s"
            found.append(_note(rule, matched=False, matcher="velocity", wanted=wanted, observed="within the limit"))
    return found


def _near_misses(rules: tuple[CompiledRule, ...], request: PolicyRequest) -> tuple[Tried, ...]:
    near: list[Tried] = []
    for rule in rules[:_MOST_LOOKED_AT]:
        misses = _misses(rule, request, None)
        if len(misses) == 1:
            near.append(misses[0])
            if len(near) == MAX_NEAR_MISSES:
                break
    return tuple(near)


def _note(rule: CompiledRule, *, matched: bool, matcher: str = "", wanted: str = "", observed: str = "") -> Tried:
    source = rule.rule
    return Tried(source.id, rule.position, matched, matcher, wanted, observed, source.tier.value, source.bundle)
