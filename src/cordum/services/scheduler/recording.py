"""Writing down what policy decided: on the job's own list, in the decision log, and in the audit log what was no plain
allow (spec-safety section 11)."""

from typing import Final

from cordum.core.audit.event import AuditEvent, EventType, severity_of
from cordum.core.jobs.record import JobRecord
from cordum.core.policy.decision import Decision, Verdict
from cordum.runtime.clock import Clock, unix_micros
from cordum.runtime.ids import Ids
from cordum.services.scheduler.decisions import decision_entry, is_news
from cordum.store import Store
from cordum.store.audit_outbox import AuditOutbox
from cordum.store.decision_log import LoggedDecision

_ACTIONS: Final = {Decision.DENY: "dispatch_denied", Decision.THROTTLE: "dispatch_throttled"}
"""What is audited here. That a job may run is in the decision log only; requests for approval have their own trail."""


class Recorder:
    """Keeps the record of decisions."""

    def __init__(self, store: Store, outbox: AuditOutbox, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._outbox = outbox
        self._clock = clock
        self._ids = ids

    async def decided(self, record: JobRecord, verdict: Verdict) -> None:
        """Writes a verdict down if it says something else than the last one about the job.

        Raises:
            StoreError: it could not be written, so nothing may follow from it.
        """
        if not is_news(record, verdict):
            return
        await self._store.decision_log.record(_logged(record, verdict))
        action = _ACTIONS.get(verdict.decision)
        if action is not None:
            self._outbox.note(self._event(record, verdict, action))

    def _event(self, record: JobRecord, verdict: Verdict, action: str) -> AuditEvent:
        return AuditEvent(
            id=self._ids.new(),
            event_type=EventType.DECISION.value,
            tenant=record.tenant,
            action=action,
            created_at=unix_micros(self._clock),
            severity=severity_of(verdict.decision),
            resource_type="job",
            resource_id=record.id,
            resource_name=record.topic,
            actor_id=record.actor_id or record.principal,
            agent_id=record.labels.get("agent_id", ""),
            job_id=record.id,
            reason=verdict.reason,
            decision=verdict.decision.value,
            matched_rule=verdict.rule_id,
            policy_version=verdict.snapshot,
            risk_tags=record.risk_tags,
            capabilities=(record.capability,) if record.capability else (),
        )


def _logged(record: JobRecord, verdict: Verdict) -> LoggedDecision:
    return LoggedDecision(
        tenant=record.tenant,
        job_id=record.id,
        topic=record.topic,
        decision=verdict.decision.value,
        at=verdict.checked_at,
        rule_id=verdict.rule_id,
        reason=verdict.reason,
        snapshot=verdict.snapshot,
        constraints=None if verdict.constraints.is_empty else verdict.constraints,
        agent_id=record.labels.get("agent_id", ""),
        principal=record.principal,
        approval_status=record.approval_status,
        approval_decision=record.approval_decision,
        for_job=decision_entry(record, verdict),
    )
