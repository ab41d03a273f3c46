"""From a document to something that decides in microseconds (spec-safety section 14, points 1 to 3)."""

from enum import Enum

import msgspec

from cordum.core.output.scanners import SCANNERS, ScannerSet
from cordum.core.policy.attachment import jobs_of, plain, selects, sessions_of, workflow_of
from cordum.core.policy.decision import Decision
from cordum.core.policy.derive import Derivers
from cordum.core.policy.document import EVERYWHERE, PolicyDocument, Rule, Selector
from cordum.core.policy.effective import BoundsReader
from cordum.core.policy.errors import Fault, PolicyError
from cordum.core.policy.inputs import InputHit, InputRules
from cordum.core.policy.outcome import DecidedBy, Outcome
from cordum.core.policy.request import PolicyRequest, fold
from cordum.core.policy.rules import CompiledRule, RuleList
from cordum.core.policy.tenants import TenantBounds, bounds_of, limited, rules_of_tenants

_MOST_COMBINED = 8192


class Delegation(Enum):
    """Whether rules may go by the labels of a delegation, which somebody must have verified."""

    TRUSTED = "trusted"
    REFUSED = "refused"


class CompiledPolicy:
    """A policy that can be asked; make it with `compile_policy`. It never changes what it decides.

    Attributes:
        counts: it has velocity rules, so equal requests may be decided differently.
        job_ids: the ids of the jobs that have rules of their own; with any, the job's id is part of the question.
        reads_content: some rule looks at what a job's content says, not only at how much there is.
    """

    def __init__(self, document: PolicyDocument, scanners: ScannerSet) -> None:
        binding = [rule for rule in document.rules if rule.invariant and not rule.decision.permits]
        last = [rule for rule in document.rules if rule.invariant and rule.decision.permits]
        own = [rule for rule in document.rules if not rule.invariant]
        if not own:
            last = [*rules_of_tenants(document.tenants), *last]
        self.document = document
        self.scanners = scanners
        self.default_tenant = fold(document.tenant_of_nobody)
        self.default = _default(document.default_decision or Decision.DENY)
        self.attached = AttachedDefaults(document)
        self.main = RuleList(own, document.combine, last)
        self.invariants = RuleList(binding, document.combine) if binding else None
        self.input_rules = InputRules(document, scanners)
        self.tenants = {fold(name): bounds_of(name, tenant) for name, tenant in document.tenants.items()}
        self.effective = BoundsReader()
        self.derivers = Derivers(document.risk_tag_derivers)
        self.counts = self.main.counts or (self.invariants is not None and self.invariants.counts)
        self.job_ids = frozenset(plain(selector.job_id, "job") for selector in _selectors(document) if selector.job_id)
        self.reads_content = any(rule.match.reads_content for rule in document.input_rules if rule.enabled)
        self._combined: dict[tuple[Outcome, str, str], Outcome] = {}

    @property
    def rules(self) -> tuple[CompiledRule, ...]:
        """Every rule but the input rules, in the order in which they are asked; invariants that bind come first."""
        return (*(self.invariants.rules if self.invariants is not None else ()), *self.main.rules)

    def default_for(self, request: PolicyRequest) -> Outcome:
        """What decides when no rule matches: the default of what the job is attached to, else that of all."""
        return self.attached.find(request) or self.default

    def denied_by_tenant(self, outcome: Outcome, tenant: TenantBounds, objection: str) -> Outcome:
        """The outcome turned into a denial. Each is made once, so that equal requests keep getting the same object."""
        return self._once(outcome, tenant.name, objection) or self._keep(
            (outcome, tenant.name, objection), denied(outcome, DecidedBy.TENANT, objection)
        )

    def limited(self, outcome: Outcome, tenant: TenantBounds) -> Outcome:
        """The outcome with the tenant's limit on concurrent jobs."""
        return self._once(outcome, tenant.name, "") or self._keep(
            (outcome, tenant.name, ""), limited(outcome, tenant.max_concurrent_jobs)
        )

    def after_input(self, outcome: Outcome, hit: InputHit) -> Outcome:
        """The outcome after an input rule; never milder than before."""
        tightened = hit.onto(outcome)
        return tightened if tightened.decision.severity > outcome.decision.severity else outcome

    def bound(self, outcome: Outcome, invariant: Outcome) -> Outcome:
        """The heavier of the two; the invariant when they weigh the same. A job that may run keeps its constraints."""
        if invariant.weight < outcome.weight:
            return outcome
        if invariant.decision is Decision.DENY or outcome.constraints.is_empty or not invariant.constraints.is_empty:
            return invariant
        key = (outcome, invariant.rule_id, "invariant")
        return self._once(*key) or self._keep(key, msgspec.structs.replace(invariant, constraints=outcome.constraints))

    def _once(self, outcome: Outcome, name: str, objection: str) -> Outcome | None:
        return self._combined.get((outcome, name, objection))

    def _keep(self, key: tuple[Outcome, str, str], outcome: Outcome) -> Outcome:
        if len(self._combined) >= _MOST_COMBINED:
            self._combined.clear()
        self._combined[key] = outcome
        return outcome


def compile_policy(
    document: PolicyDocument, *, scanners: ScannerSet = SCANNERS, delegation: Delegation = Delegation.TRUSTED
) -> CompiledPolicy:
    """Compiles a document that `parse_policy` made.

    Args:
        scanners: those that its content rules may name; the ones it was parsed with.
        delegation: with REFUSED, a document whose rules go by delegation raises PolicyError: with nobody to verify
            the labels, such a rule could only be ignored or be fooled.

    Raises BadGlobError, BadPatternError and the like for a document that `parse_policy` would have refused.
    """
    if delegation is Delegation.REFUSED:
        faults = [
            Fault(rule.line, 1, f'rule "{rule.id}"', "goes by delegation, which is switched off here")
            for rule in document.rules
            if rule.match.delegation is not None or rule.match.predicate
        ]
        if faults:
            raise PolicyError(faults)
    return CompiledPolicy(document, scanners)


def denied(outcome: Outcome, by: DecidedBy, reason: str) -> Outcome:
    """The outcome turned into a denial; the rule that had matched stays named."""
    return Outcome(decision=Decision.DENY, decided_by=by, reason=reason, rule_id=outcome.rule_id)


def _default(decision: Decision) -> Outcome:
    return Outcome(
        decision=decision,
        decided_by=DecidedBy.DEFAULT,
        reason=f"no matching rule — default policy: {decision.value.lower()}",
    )


def _selectors(document: PolicyDocument) -> list[Selector]:
    attached: list[Rule] = list(document.rules)
    return [
        *(rule.selector for rule in attached),
        *(rule.selector for rule in document.input_rules),
        *(default.selector for default in document.tier_defaults),
    ]


class AttachedDefaults:
    """What decides about a job that belongs to an attachment of whose rules none matched."""

    def __init__(self, document: PolicyDocument) -> None:
        outcomes = {decision: _default(decision) for decision in (Decision.ALLOW, Decision.DENY)}
        found = {default.selector: outcomes[default.decision] for default in document.tier_defaults}
        for rule in document.rules:
            if rule.selector != EVERYWHERE and not rule.invariant:
                found.setdefault(rule.selector, outcomes[Decision.DENY])
        self._known: dict[str, list[tuple[Selector, Outcome]]] = {}
        for selector, outcome in found.items():
            self._known.setdefault(_name(selector), []).append((selector, outcome))

    def find(self, request: PolicyRequest) -> Outcome | None:
        """That of the most specific attachment the job belongs to: its own, its session's, its workflow's."""
        if not self._known:
            return None
        names = (*jobs_of(request), *sessions_of(request), workflow_of(request.labels))
        for name in names:
            for selector, outcome in self._known.get(name, ()):
                if selects(selector, request):
                    return outcome
        return None


def _name(selector: Selector) -> str:
    if selector.job_id:
        return plain(selector.job_id, "job")
    return plain(selector.session_id, "session") if selector.session_id else selector.workflow_id.strip()
