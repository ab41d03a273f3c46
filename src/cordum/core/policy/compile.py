"""From a document to something that decides in microseconds (spec-safety section 14, points 1 to 3)."""

from collections.abc import Callable

import msgspec

from cordum.core.ids import RuleId
from cordum.core.policy.decision import Constraints, Decision
from cordum.core.policy.document import Match, PolicyDocument, Rule, TenantPolicy
from cordum.core.policy.effective import BoundsReader
from cordum.core.policy.index import RuleIndex
from cordum.core.policy.matchers import Matcher, Test, any_topic, matchers_of
from cordum.core.policy.outcome import DecidedBy, Outcome
from cordum.core.policy.request import fold

_MOST_COMBINED = 65_536


class CompiledRule(msgspec.Struct, frozen=True, eq=False):
    """A rule ready to be tried. `position` counts from 1."""

    position: int
    outcome: Outcome
    tests: tuple[Test, ...]
    matchers: tuple[Matcher, ...]


class TenantBounds(msgspec.Struct, frozen=True, eq=False):
    """What one tenant's lists do to an outcome, as tests."""

    name: str
    denied: tuple[tuple[str, Callable[[str], bool]], ...]
    allowed: Callable[[str], bool] | None
    max_concurrent_jobs: int


class CompiledPolicy:
    """A policy that can be asked; make it with `compile_policy`. It never changes what it decides."""

    def __init__(self, document: PolicyDocument) -> None:
        rules = document.rules or _rules_of_tenants(document)
        self.document = document
        self.default_tenant = fold(document.default_tenant)
        self.default = Outcome(
            decision=document.default_decision,
            decided_by=DecidedBy.DEFAULT,
            reason=f"no matching rule — default policy: {document.default_decision.value.lower()}",
        )
        self.rules = tuple(_compiled(rule, position) for position, rule in enumerate(rules, start=1))
        self.index = RuleIndex([rule.match for rule in rules])
        self.tenants = {fold(name): _bounds(name, tenant) for name, tenant in document.tenants.items()}
        self.effective = BoundsReader()
        self._combined: dict[tuple[Outcome, str, str], Outcome] = {}

    def within_tenant(self, outcome: Outcome, tenant: TenantBounds, topic: str) -> Outcome:
        """The outcome after the tenant's lists and limit; never milder than before."""
        if outcome.decision is Decision.DENY:
            return outcome
        for pattern, matches in tenant.denied:
            if matches(topic):
                return self._tightened(outcome, tenant, f'topic "{pattern}" denied by tenant policy')
        if tenant.allowed is not None and not tenant.allowed(topic):
            return self._tightened(outcome, tenant, f'topic not among those allowed to tenant "{tenant.name}"')
        if tenant.max_concurrent_jobs:
            return self._tightened(outcome, tenant, "")
        return outcome

    def _tightened(self, outcome: Outcome, tenant: TenantBounds, objection: str) -> Outcome:
        """Each combination is made once, so that equal requests keep getting the same object."""
        key = (outcome, tenant.name, objection)
        known = self._combined.get(key)
        if known is None:
            if len(self._combined) >= _MOST_COMBINED:
                self._combined.clear()
            known = denied(outcome, DecidedBy.TENANT, objection) if objection else _limited(outcome, tenant)
            self._combined[key] = known
        return known


def compile_policy(document: PolicyDocument) -> CompiledPolicy:
    """Compiles a document that `parse_policy` made. Raises BadGlobError for a bad pattern in one that it did not."""
    return CompiledPolicy(document)


def denied(outcome: Outcome, by: DecidedBy, reason: str) -> Outcome:
    """The outcome turned into a denial; the rule that had matched stays named."""
    return Outcome(decision=Decision.DENY, decided_by=by, reason=reason, rule_id=outcome.rule_id)


def _compiled(rule: Rule, position: int) -> CompiledRule:
    matchers = matchers_of(rule.match)
    decision = rule.decision
    if decision is Decision.ALLOW and not rule.constraints.is_empty:
        decision = Decision.ALLOW_WITH_CONSTRAINTS
    outcome = Outcome(
        decision=decision,
        decided_by=DecidedBy.RULE,
        reason="" if decision.permits else rule.reason,
        rule_id=RuleId(rule.id),
        constraints=rule.constraints,
        remediations=rule.remediations,
    )
    return CompiledRule(position, outcome, tuple(matcher.test for matcher in matchers), matchers)


def _rules_of_tenants(document: PolicyDocument) -> tuple[Rule, ...]:
    """A document without rules is decided by its tenants' lists alone (spec-safety 4.3, legacy mode)."""
    rules: list[Rule] = []
    for name, tenant in document.tenants.items():
        for number, pattern in enumerate(tenant.deny_topics, start=1):
            match = Match(tenants=(name,), topics=(pattern,))
            reason = f'topic "{pattern}" denied by tenant policy'
            rules.append(Rule(id=f"legacy:{name}:deny:{number}", match=match, decision=Decision.DENY, reason=reason))
        for number, pattern in enumerate(tenant.allow_topics, start=1):
            match = Match(tenants=(name,), topics=(pattern,))
            rules.append(Rule(id=f"legacy:{name}:allow:{number}", match=match, decision=Decision.ALLOW))
    return tuple(rules)


def _bounds(name: str, tenant: TenantPolicy) -> TenantBounds:
    return TenantBounds(
        name,
        tuple((pattern, any_topic((pattern,))) for pattern in tenant.deny_topics),
        any_topic(tenant.allow_topics) if tenant.allow_topics else None,
        tenant.max_concurrent_jobs,
    )


def _limited(outcome: Outcome, tenant: TenantBounds) -> Outcome:
    """The tenant's limit on concurrent jobs joins the rule's; the smaller one counts."""
    budgets = outcome.constraints.budgets
    limit = min(filter(None, (budgets.max_concurrent_jobs, tenant.max_concurrent_jobs)))
    constraints: Constraints = msgspec.structs.replace(
        outcome.constraints, budgets=msgspec.structs.replace(budgets, max_concurrent_jobs=limit)
    )
    decision = outcome.decision
    if decision is Decision.ALLOW:
        decision = Decision.ALLOW_WITH_CONSTRAINTS
    return msgspec.structs.replace(outcome, decision=decision, constraints=constraints)
