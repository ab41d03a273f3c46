"""What lint has to say."""

from enum import StrEnum

import msgspec

from cordum.core.policy.analysis.region import Body


class Level(StrEnum):
    """How bad it is. An error makes the policy do something else than it says; a warning may; a hint never does."""

    ERROR = "error"
    WARNING = "warning"
    HINT = "hint"


class Kind(StrEnum):
    """What it is about."""

    UNREACHABLE = "unreachable"
    """The rule matches requests, but for each of them another one decides."""
    NEVER_MATCHES = "never_matches"
    """No job can match the rule."""
    ALLOW_ALL_FIRST = "allow_all_before_deny"
    """A rule that allows everything stands before a stricter one."""
    CONFLICT = "conflict"
    """A milder rule decides part of what a later, stricter one means."""
    DEAD_TENANT_TOPIC = "dead_tenant_topic"
    """A pattern in a tenant's list that makes no difference."""
    OLD_MCP_LIST = "old_mcp_list"
    """The old spelling of an MCP condition."""
    DUPLICATE_ID = "duplicate_id"
    MISSING_ID = "missing_id"
    MISSING_REASON = "missing_reason"
    DEFAULT_ALLOW = "default_allow"
    """What no rule names is allowed."""
    UNDECIDED = "undecided"
    """The rule is too intricate to be decided within bounds."""


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """One finding. `line` is 0 when the rule was not read from a file; `witness` is a request that shows it, checked on
    the evaluator, and None where no request could."""

    kind: Kind
    level: Level
    rule_id: str
    line: int
    message: str
    witness: Body | None = None
