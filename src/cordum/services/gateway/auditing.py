"""Writing down who did what through the API (spec-auth section 7.2, spec-safety section 11).

What an administrator does is in the log before the answer goes out, or safe in a file; where neither can be done the
next such call is refused before it does anything. What policy decides about jobs is written without anybody waiting.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from cordum.core.access.caller import Caller
from cordum.core.access.permissions import Permission
from cordum.core.audit.event import AuditEvent, EventType, Severity, severity_of
from cordum.core.ids import TenantId
from cordum.core.policy.decision import Decision
from cordum.runtime.clock import Clock, unix_micros
from cordum.runtime.ids import Ids
from cordum.services.gateway.errors import ApiError
from cordum.store.audit_outbox import AuditOutbox, AuditUnavailableError

RECORDED: Final = frozenset(
    {
        *(Permission.JOBS_WRITE, Permission.JOBS_APPROVE, Permission.DLQ_WRITE, Permission.POLICY_WRITE),
        Permission.OUTPUT_RELEASE,
        *(Permission.WORKERS_WRITE, Permission.WORKER_CREDENTIALS_WRITE),
        *(Permission.TOPICS_WRITE, Permission.POOLS_WRITE, Permission.SCHEMAS_WRITE),
    }
)
"""A call that changes something under one of these permissions is refused while it could not be written down."""

_DECISIONS: Final = ("policy.", "submit_")
_VIOLATIONS: Final = frozenset({"self_approval_denied", "approve_failed", "reject_failed"})
_POLICY: Final = frozenset({"policy", "bundle", "policy_bundle", "snapshot", "rule", "output_rule", "shadow"})


class Auditor:
    """Turns what callers do into audit events."""

    def __init__(self, outbox: AuditOutbox, clock: Clock, ids: Ids) -> None:
        self._outbox = outbox
        self._clock = clock
        self._ids = ids

    async def demand(self) -> None:
        """Raises ApiError (503) when what comes next could not be written down. Costs nothing while all is well."""
        try:
            await self._outbox.demand()
        except AuditUnavailableError as error:
            raise ApiError("audit_unavailable") from error

    async def record(
        self,
        caller: Caller,
        action: str,
        *,
        resource_type: str,
        resource_id: str = "",
        resource_name: str = "",
        job_id: str = "",
        agent_id: str = "",
        reason: str = "",
        message: str = "",
        decision: str = "",
        matched_rule: str = "",
        policy_version: str = "",
        snapshot_before: str = "",
        snapshot_after: str = "",
        bundle_ids: Sequence[str] = (),
        extra: Mapping[str, str] | None = None,
        tenant: TenantId | None = None,
    ) -> None:
        """Writes down what a caller has done; returns once that is safe.

        Args:
            action: in a word, such as `publish` or `approve`.
            resource_type: what it was done to: `bundle`, `job`, `dlq`, `output_rule`.
            decision: `ALLOW`, `DENY`, ... where it is about one.
            tenant: in whose log; the caller's own when None.

        Raises:
            ApiError: 503, it could not be written down.
        """
        event = self._event(
            caller,
            action,
            tenant=tenant,
            resource_type=resource_type,
            resource_id=resource_id,
            resource_name=resource_name,
            job_id=job_id or (resource_id if resource_type in ("job", "approval") else ""),
            agent_id=agent_id,
            reason=reason,
            message=message,
            decision=decision,
            matched_rule=matched_rule,
            policy_version=policy_version,
            snapshot_before=snapshot_before,
            snapshot_after=snapshot_after,
            bundle_ids=tuple(bundle_ids),
            extra=dict(extra or {}),
        )
        try:
            await self._outbox.keep(event)
        except AuditUnavailableError as error:
            raise ApiError("audit_unavailable") from error

    def note(
        self,
        caller: Caller,
        action: str,
        *,
        resource_type: str,
        resource_id: str = "",
        job_id: str = "",
        agent_id: str = "",
        reason: str = "",
        message: str = "",
        decision: str = "",
        matched_rule: str = "",
        policy_version: str = "",
        extra: Mapping[str, str] | None = None,
        tenant: TenantId | None = None,
    ) -> None:
        """Writes down a decision about a job, without anybody waiting for it; it is never lost silently."""
        self._outbox.note(
            self._event(
                caller,
                action,
                tenant=tenant,
                resource_type=resource_type,
                resource_id=resource_id,
                job_id=job_id,
                agent_id=agent_id,
                reason=reason,
                message=message,
                decision=decision,
                matched_rule=matched_rule,
                policy_version=policy_version,
                extra=dict(extra or {}),
            )
        )

    def _event(self, caller: Caller, action: str, *, tenant: TenantId | None, **known: object) -> AuditEvent:
        resource_type, decision = str(known["resource_type"]), str(known["decision"])
        return msgspec.convert(
            {
                **known,
                "id": self._ids.new(),
                "event_type": _type_of(action, resource_type),
                "tenant": tenant or caller.tenant,
                "action": action,
                "created_at": unix_micros(self._clock),
                "severity": _severity(action, resource_type, decision),
                "actor_id": caller.name,
                "role": caller.role.value,
                "auth_source": "api_key",
                "identity_source": "principal" if caller.principal else f"api_key:{caller.key_id}",
                "identity_label": caller.principal or caller.key_id,
            },
            AuditEvent,
        )


def _type_of(action: str, resource_type: str) -> str:
    if action in _VIOLATIONS:
        return EventType.VIOLATION.value
    if action.startswith(_DECISIONS):
        return EventType.DECISION.value
    if resource_type == "approval" or action in ("approve", "reject"):
        return EventType.APPROVAL.value
    return EventType.POLICY_CHANGE.value if resource_type in _POLICY else EventType.ADMIN.value


def _severity(action: str, resource_type: str, decision: str) -> Severity:
    if action in _VIOLATIONS:
        return Severity.HIGH
    if action.startswith(_DECISIONS) and decision in Decision.__members__:
        return severity_of(Decision(decision))
    return Severity.MEDIUM if resource_type in _POLICY or resource_type == "approval" else Severity.INFO
