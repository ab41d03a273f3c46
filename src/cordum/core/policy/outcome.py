"""What an evaluation ends in: made once per rule and shared, so that a service can serialise it once too."""

from enum import StrEnum

import msgspec

from cordum.core.ids import RuleId
from cordum.core.output.finding import Finding
from cordum.core.policy.decision import NO_CONSTRAINTS, ONE_APPROVAL, ApprovalTerms, Constraints, Decision, Remediation


class DecidedBy(StrEnum):
    """What had the last word."""

    RULE = "rule"
    INVARIANT = "invariant"
    DEFAULT = "default"
    TENANT = "tenant"
    EFFECTIVE_CONFIG = "effective_config"
    INPUT_RULE = "input_rule"
    ACTION_GATE = "action_gate"
    REQUEST = "request"
    """The request cannot be judged: no topic, or one that is not a job's."""
    NO_POLICY = "no_policy"


class Outcome(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """One decision with all that belongs to it. Compared by identity: equal requests get the very same object,
    save for those that an effective configuration or their content decided."""

    decision: Decision
    decided_by: DecidedBy
    reason: str = ""
    rule_id: RuleId = RuleId("")
    constraints: Constraints = NO_CONSTRAINTS
    remediations: tuple[Remediation, ...] = ()
    approval: ApprovalTerms = ONE_APPROVAL
    retry_after_ms: int = 0
    findings: tuple[Finding, ...] = ()

    @property
    def weight(self) -> tuple[int, int]:
        """Where outcomes are combined the heavier one counts: the graver decision, then the harder approval."""
        return self.decision.severity, self.approval.required if self.decision is Decision.REQUIRE_APPROVAL else 0


NO_POLICY = Outcome(decision=Decision.DENY, decided_by=DecidedBy.NO_POLICY, reason="no policy loaded — fail-closed")
MISSING_TOPIC = Outcome(decision=Decision.DENY, decided_by=DecidedBy.REQUEST, reason="missing topic")
UNSUPPORTED_TOPIC = Outcome(decision=Decision.DENY, decided_by=DecidedBy.REQUEST, reason="unsupported topic")
