"""A policy document as it was written: frozen, typed, not yet compiled (spec-safety section 4)."""

import msgspec

from cordum.core.policy.decision import NO_CONSTRAINTS, Constraints, Decision, Remediation

DEFAULT_TENANT = "default"


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule asks of a job. What is given must all hold; what is empty asks nothing."""

    tenants: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    risk_tags: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    pack_ids: tuple[str, ...] = ()
    actor_ids: tuple[str, ...] = ()
    actor_types: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    label_allowlist: dict[str, tuple[str, ...]] = {}
    label_threshold: dict[str, float] = {}
    secrets_present: bool | None = None


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule. `line` is where it stands in the file (0 when it was not read from one)."""

    id: str
    match: Match = Match()
    decision: Decision = Decision.DENY
    reason: str = ""
    constraints: Constraints = NO_CONSTRAINTS
    remediations: tuple[Remediation, ...] = ()
    line: int = 0


class TenantPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What bounds one tenant, whatever the rules allow. `max_concurrent_jobs` 0 means no limit."""

    allow_topics: tuple[str, ...] = ()
    deny_topics: tuple[str, ...] = ()
    max_concurrent_jobs: int = 0


class PolicyDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One policy. `default_decision` is ALLOW or DENY and decides what no rule matches."""

    version: str = ""
    default_tenant: str = DEFAULT_TENANT
    default_decision: Decision = Decision.DENY
    rules: tuple[Rule, ...] = ()
    tenants: dict[str, TenantPolicy] = {}
