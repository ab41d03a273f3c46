"""One decision about one job (spec-safety section 4.3).

The first rule that matches, in document order, gives the rules' outcome, or the default does. Then the tenant's lists
and the effective configuration may tighten it, and nothing may loosen it. Whether approval is required follows from the
final decision alone, so a denied job can never be approved.
"""

import msgspec

from cordum.core.policy.compile import CompiledPolicy, denied
from cordum.core.policy.decision import Decision
from cordum.core.policy.outcome import MISSING_TOPIC, UNSUPPORTED_TOPIC, DecidedBy, Outcome
from cordum.core.policy.request import PolicyRequest

JOB_TOPICS = "job."
MAX_TRIED = 100
"""Rules listed in one explanation."""


class Tried(msgspec.Struct, frozen=True):
    """One rule that was tried. For a miss: the first condition that failed, what it wanted and what it saw."""

    rule_id: str
    position: int
    matched: bool
    matcher: str = ""
    wanted: str = ""
    observed: str = ""


class Explanation(msgspec.Struct, frozen=True):
    """A decision with its reasons. `candidates` is how many of the `rules` the index let through."""

    outcome: Outcome
    tried: tuple[Tried, ...]
    rules: int
    candidates: int


def evaluate(policy: CompiledPolicy, request: PolicyRequest) -> Outcome:
    """Decides. Never raises for any request; the outcome's reason says what was wrong with an impossible one."""
    topic = request.topic
    if not topic.startswith(JOB_TOPICS):
        return UNSUPPORTED_TOPIC if topic else MISSING_TOPIC
    if not request.tenant:
        request = msgspec.structs.replace(request, tenant=policy.default_tenant)
    outcome = policy.default
    rules = policy.rules
    for position in policy.index.candidates(request):
        rule = rules[position]
        for test in rule.tests:
            if not test(request):
                break
        else:
            outcome = rule.outcome
            break
    tenant = policy.tenants.get(request.tenant)
    if tenant is not None:
        outcome = policy.within_tenant(outcome, tenant, topic)
    if request.effective_config and outcome.decision is not Decision.DENY:
        objection = policy.effective.read(request.effective_config).objection(topic)
        if objection:
            return denied(outcome, DecidedBy.EFFECTIVE_CONFIG, objection)
    return outcome


def explain(policy: CompiledPolicy, request: PolicyRequest) -> Explanation:
    """The very decision `evaluate` takes, with the rules that were tried on the way, in order, the match last."""
    outcome = evaluate(policy, request)
    if outcome.decided_by is DecidedBy.REQUEST:
        return Explanation(outcome, (), len(policy.rules), 0)
    if not request.tenant:
        request = msgspec.structs.replace(request, tenant=policy.default_tenant)
    candidates = sorted(set(policy.index.candidates(request)))
    tried: list[Tried] = []
    for position in candidates:
        note = _try(policy, position, request)
        if len(tried) < MAX_TRIED or note.matched:
            tried.append(note)
        if note.matched:
            break
    return Explanation(outcome, tuple(tried), len(policy.rules), len(candidates))


def _try(policy: CompiledPolicy, position: int, request: PolicyRequest) -> Tried:
    rule = policy.rules[position]
    for matcher in rule.matchers:
        if not matcher.test(request):
            observed = matcher.observe(request)
            return Tried(rule.outcome.rule_id, rule.position, False, matcher.name, matcher.wanted, observed)
    return Tried(rule.outcome.rule_id, rule.position, True)
