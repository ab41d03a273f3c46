"""One audited event: what somebody did or what was decided, and by whom (spec-auth section 7)."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from cordum.core.ids import Micros, TenantId
from cordum.core.policy.decision import Decision

MAX_TEXT: Final = 2048  # characters of one text
MAX_EXTRA: Final = 32  # further members of one event
MAX_BUNDLES: Final = 64  # bundle ids of one event


class Severity(StrEnum):
    """How much an event matters to whoever watches."""

    CRITICAL = "CRITICAL"
    HIGH = "HIGH"
    MEDIUM = "MEDIUM"
    LOW = "LOW"
    INFO = "INFO"


class EventType(StrEnum):
    """The kinds of events that are written today; what is read may be of others."""

    DECISION = "safety.decision"
    APPROVAL = "safety.approval"
    POLICY_CHANGE = "safety.policy_change"
    VIOLATION = "safety.violation"
    BYPASS = "safety.bypass_admit"
    REVISION_MISMATCH = "approval.revision_mismatch"
    ACTION_GATE = "actiongate.denied"
    SHADOW = "shadow_eval"
    ADMIN = "system.admin"
    WORKER_HANDSHAKE = "worker_handshake"


class AuditEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known about an event. Empty means not known, or not applicable.

    Attributes:
        id: names the event, wherever it is shown.
        action: what was done, in a word: `approve`, `publish`, `submit_denied`, `policy.evaluate`.
        actor_id: who did it; `role` and `auth_source` say as what and how it was proven.
        identity_source: what the actor is known by: `principal`, `api_key:<id>` or `api_key_fp`.
        message: for people; `reason` is what the actor or the policy gave as one.
        extra: whatever else there is to say.
        created_at: when it happened.
    """

    id: str
    event_type: str
    tenant: TenantId
    action: str
    created_at: Micros
    severity: Severity = Severity.INFO
    resource_type: str = ""
    resource_id: str = ""
    resource_name: str = ""
    actor_id: str = ""
    role: str = ""
    auth_source: str = ""
    identity_source: str = ""
    identity_label: str = ""
    agent_id: str = ""
    job_id: str = ""
    bundle_ids: tuple[str, ...] = ()
    message: str = ""
    reason: str = ""
    decision: str = ""
    matched_rule: str = ""
    policy_version: str = ""
    risk_tags: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    extra: dict[str, str] = {}
    snapshot_before: str = ""
    snapshot_after: str = ""


_OF_DECISION: Final[Mapping[Decision, Severity]] = {
    Decision.DENY: Severity.HIGH,
    Decision.REQUIRE_APPROVAL: Severity.MEDIUM,
    Decision.THROTTLE: Severity.MEDIUM,
    Decision.ALLOW_WITH_CONSTRAINTS: Severity.LOW,
    Decision.ALLOW: Severity.INFO,
}


def severity_of(decision: Decision) -> Severity:
    """How much a decision matters (spec-safety section 11)."""
    return _OF_DECISION[decision]


_SECRET_NAMES: Final = re.compile(r"(secret|passw|token|api[_-]?key|authorization|credential|private)", re.IGNORECASE)
_SAFE_NAMES: Final = frozenset({"identity_source", "identity_label"})


def harmless(extra: Mapping[str, str]) -> dict[str, str]:
    """The members that may be written down: bounded, and none whose name sounds like a secret."""
    kept: dict[str, str] = {}
    for name, value in extra.items():
        if len(kept) >= MAX_EXTRA:
            break
        if name in _SAFE_NAMES or not _SECRET_NAMES.search(name):
            kept[name[:128]] = shortened(value)
    return kept


def shortened(text: str) -> str:
    """The text, cut to MAX_TEXT characters."""
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
