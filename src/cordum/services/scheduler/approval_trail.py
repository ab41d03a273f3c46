"""What the scheduler writes down, and says aloud, about approvals (spec-safety section 11: every step is audited)."""

from collections.abc import Mapping
from typing import Final

from cap.pb.cordum.agent.v1 import alert_pb2, job_pb2

from cordum.bus import Bus, BusError, envelope, subjects
from cordum.core.audit.event import AuditEvent, EventType, Severity
from cordum.core.jobs.approvals import lapses_at, terms_of
from cordum.core.jobs.record import JobRecord
from cordum.core.policy.decision import Verdict
from cordum.runtime.clock import Clock, unix_micros
from cordum.runtime.ids import Ids
from cordum.runtime.logging import get_logger
from cordum.store.audit_outbox import AuditOutbox

log = get_logger(__name__)

ESCALATED: Final = "approval_escalated"
"""Code of the notice on `sys.alert`."""


class ApprovalTrail:
    """Audit events and notices; nobody waits for them, and none is lost while the process lives."""

    def __init__(self, outbox: AuditOutbox, bus: Bus, clock: Clock, ids: Ids) -> None:
        self._outbox = outbox
        self._bus = bus
        self._clock = clock
        self._ids = ids

    def used(self, record: JobRecord, verdict: Verdict) -> None:
        """An approved job was let run: the approval is used up."""
        self._note(
            record,
            "approval_used",
            reason=f"approved by {record.approval_by}",
            verdict=verdict,
            extra={"approved_by": record.approval_by, "job_hash": record.approval_job_hash},
        )

    def mismatch(self, record: JobRecord, verdict: Verdict, reason: str) -> None:
        """An approval was not for this job, for this demand, or was used already."""
        self._note(
            record,
            "approval_mismatch",
            event_type=EventType.REVISION_MISMATCH,
            severity=Severity.HIGH,
            reason=reason,
            verdict=verdict,
            extra={"approved_by": record.approval_by, "approved_snapshot": record.approval_policy_snapshot},
        )

    def expired(self, record: JobRecord, reason: str) -> None:
        """Nobody decided in time."""
        self._note(record, "approval_expired", severity=Severity.MEDIUM, reason=reason)

    def repaired(self, record: JobRecord, kind: str, reason: str) -> None:
        """What a person had decided was carried out late."""
        self._note(record, "repair", severity=Severity.MEDIUM, reason=reason, extra={"kind": kind})

    async def escalated(self, record: JobRecord) -> None:
        """Nobody decided soon enough: others may decide, too, and are told."""
        roles = ", ".join(terms_of(record).escalate_to)
        self._note(
            record,
            ESCALATED,
            severity=Severity.MEDIUM,
            reason="nobody has decided in time",
            extra={"escalate_to": roles},
        )
        packet = envelope.packet(subjects.SCHEDULER_ID, record.trace_id or record.id, self._clock.now())
        alert = packet.alert
        alert.level = "warning"
        alert.severity = alert_pb2.ALERT_SEVERITY_WARNING
        # CAP wants a number with every alert, and this is about time.
        alert.error_code_enum = job_pb2.ERROR_CODE_JOB_TIMEOUT
        alert.code = ESCALATED
        alert.component = alert.source_component = subjects.SCHEDULER_ID
        alert.message = f"job {record.id} waits for approval: {roles} may decide from now on"
        alert.trace_id = record.trace_id
        alert.details.update(
            {
                "job_id": record.id,
                "tenant": record.tenant,
                "topic": record.topic,
                "rule_id": record.safety_rule_id,
                "escalate_to": roles,
                "expires_at_us": str(lapses_at(record)),
            }
        )
        try:
            await self._bus.publish_core(subjects.ALERT, envelope.encode(packet))
        except BusError as error:
            log.warning("escalation not announced", event="escalation_untold", job_id=record.id, error=error.message)

    def _note(
        self,
        record: JobRecord,
        action: str,
        *,
        event_type: EventType = EventType.APPROVAL,
        severity: Severity = Severity.INFO,
        reason: str,
        verdict: Verdict | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        self._outbox.note(
            AuditEvent(
                id=self._ids.new(),
                event_type=event_type.value,
                tenant=record.tenant,
                action=action,
                created_at=unix_micros(self._clock),
                severity=severity,
                resource_type="approval",
                resource_id=record.id,
                actor_id=subjects.SCHEDULER_ID,
                role="system",
                auth_source="internal",
                job_id=record.id,
                reason=reason,
                decision=verdict.decision.value if verdict else record.safety_decision,
                matched_rule=verdict.rule_id if verdict else record.safety_rule_id,
                policy_version=verdict.snapshot if verdict else record.safety_snapshot,
                risk_tags=record.risk_tags,
                extra={"topic": record.topic, "submitted_by": record.submitted_by, **(extra or {})},
            )
        )
