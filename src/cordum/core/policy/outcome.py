"""What an evaluation ends in: made once per rule and shared, so that a service can serialise it once too."""

from enum import StrEnum

import msgspec

from cordum.core.ids import RuleId
from cordum.core.policy.decision import NO_CONSTRAINTS, Constraints, Decision, Remediation


class DecidedBy(StrEnum):
    """What had the last word."""

    RULE = "rule"
    DEFAULT = "default"
    TENANT = "tenant"
    EFFECTIVE_CONFIG = "effective_config"
    REQUEST = "request"
    """The request cannot be judged: no topic, or one that is not a job's."""
    NO_POLICY = "no_policy"


class Outcome(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """One decision with all that belongs to it. Compared by identity: equal requests get the very same object,
    save for those that an effective configuration denied."""

    decision: Decision
    decided_by: DecidedBy
    reason: str = ""
    rule_id: RuleId = RuleId("")
    constraints: Constraints = NO_CONSTRAINTS
    remediations: tuple[Remediation, ...] = ()


NO_POLICY = Outcome(decision=Decision.DENY, decided_by=DecidedBy.NO_POLICY, reason="no policy loaded — fail-closed")
MISSING_TOPIC = Outcome(decision=Decision.DENY, decided_by=DecidedBy.REQUEST, reason="missing topic")
UNSUPPORTED_TOPIC = Outcome(decision=Decision.DENY, decided_by=DecidedBy.REQUEST, reason="unsupported topic")
