"""What a policy can decide, and the record of one decision (spec-safety sections 2, 4, 5 and 10)."""

from enum import StrEnum

import msgspec

from cordum.core.ids import Micros, RuleId, SnapshotId


class Decision(StrEnum):
    """The five decisions. The values are the words of the wire (decisions.md) and of `job:meta` `safety_decision`."""

    ALLOW = "ALLOW"
    ALLOW_WITH_CONSTRAINTS = "ALLOW_WITH_CONSTRAINTS"
    REQUIRE_APPROVAL = "REQUIRE_APPROVAL"
    THROTTLE = "THROTTLE"
    DENY = "DENY"

    @property
    def permits(self) -> bool:
        """Whether the job may run now, without anybody's further word."""
        return self in (Decision.ALLOW, Decision.ALLOW_WITH_CONSTRAINTS)

    @property
    def severity(self) -> int:
        """Where decisions are combined, the higher severity wins; an allow can never beat a deny."""
        return _SEVERITY[self]


_SEVERITY = {decision: rank for rank, decision in enumerate(Decision)}


class OutputDecision(StrEnum):
    """What an output rule can decide about a result; QUARANTINE is what the wire knows of DENY."""

    ALLOW = "ALLOW"
    REDACT = "REDACT"
    QUARANTINE = "QUARANTINE"
    DENY = "DENY"


class Budgets(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Limits on one job; 0 means no limit."""

    max_runtime_ms: int = 0
    max_retries: int = 0
    max_artifact_bytes: int = 0
    max_concurrent_jobs: int = 0


class Sandbox(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    isolated: bool = False
    network_allowlist: tuple[str, ...] = ()
    fs_read_only: tuple[str, ...] = ()
    fs_read_write: tuple[str, ...] = ()


class Toolchain(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    allowed_tools: tuple[str, ...] = ()
    allowed_commands: tuple[str, ...] = ()


class Diff(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    max_files: int = 0
    max_lines: int = 0
    deny_path_globs: tuple[str, ...] = ()


class Constraints(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What an allowed job must keep to (spec-safety 4.6). Budgets are enforced; the rest is advice to workers."""

    budgets: Budgets = Budgets()
    sandbox: Sandbox = Sandbox()
    toolchain: Toolchain = Toolchain()
    diff: Diff = Diff()
    redaction_level: str = ""

    @property
    def is_empty(self) -> bool:
        return self == NO_CONSTRAINTS


NO_CONSTRAINTS = Constraints()


class Remediation(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A way out of a denial that the policy's author offers."""

    id: str = ""
    title: str = ""
    summary: str = ""
    replacement_topic: str = ""
    replacement_capability: str = ""
    add_labels: dict[str, str] = {}
    remove_labels: tuple[str, ...] = ()


class ApprovalTerms(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """How a job that needs approval is to be approved (spec-safety section 11, "n-of-m").

    Attributes:
        required: how many different people must approve.
        roles: whose word counts; empty = everybody who may approve at all.
        expires_after_s: seconds until the request lapses; 0 = the installation's default.
        escalate_after_s: seconds until `escalate_to` may decide as well; 0 = never.
        escalate_to: the roles that join in then.
    """

    required: int = 1
    roles: tuple[str, ...] = ()
    expires_after_s: float = 0
    escalate_after_s: float = 0
    escalate_to: tuple[str, ...] = ()


ONE_APPROVAL = ApprovalTerms()


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One decision about one job, as the safety kernel gave it."""

    decision: Decision
    reason: str = ""
    rule_id: RuleId = RuleId("")
    snapshot: SnapshotId = SnapshotId("")
    constraints: Constraints = NO_CONSTRAINTS
    remediations: tuple[Remediation, ...] = ()
    approval: ApprovalTerms = ONE_APPROVAL
    """Means something only where the decision is REQUIRE_APPROVAL."""
    retry_after_ms: int = 0
    """Means something only where the decision is THROTTLE; 0 leaves the delay to the caller."""
    checked_at: Micros = Micros(0)


def snapshot_base(snapshot: SnapshotId) -> str:
    """The part of a snapshot id that approvals are bound to: what stands before `|` (spec-safety section 5)."""
    return snapshot.partition("|")[0]
