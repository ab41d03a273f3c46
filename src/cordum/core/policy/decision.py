"""What a policy can decide, and the record of one decision (spec-safety sections 2, 4 and 5)."""

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


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One decision about one job, as the safety kernel gave it."""

    decision: Decision
    reason: str = ""
    rule_id: RuleId = RuleId("")
    snapshot: SnapshotId = SnapshotId("")
    constraints: Constraints = NO_CONSTRAINTS
    remediations: tuple[Remediation, ...] = ()
    checked_at: Micros = Micros(0)


def snapshot_base(snapshot: SnapshotId) -> str:
    """The part of a snapshot id that approvals are bound to: what stands before `|` (spec-safety section 5)."""
    return snapshot.partition("|")[0]
