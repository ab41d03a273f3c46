"""Asking the safety kernel about a job, and what holds when it gives no answer (spec-safety section 3).

Closed, which is the default: no decision, no dispatch. Open, which somebody must have set: the job runs, and everybody
can see that nobody decided it: two labels, two counters, an audit event and a line in the log.
"""

import asyncio
from typing import Final

from cordum.core.audit.event import AuditEvent, EventType, Severity
from cordum.core.ids import micros
from cordum.core.jobs.record import JobRecord, hash_value
from cordum.core.jobs.states import WAITING
from cordum.core.policy.decision import Decision, Verdict
from cordum.rpc.kernel_client import KernelClient, KernelUnavailableError
from cordum.runtime import metrics
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.runtime.settings.output import FailMode
from cordum.services.scheduler.output_scope import ScopeWatch
from cordum.services.scheduler.question import policy_question
from cordum.services.scheduler.safety_modes import SafetyModes
from cordum.services.scheduler.ticket import Ticket
from cordum.store import Store, keys
from cordum.store.audit_outbox import AuditOutbox

log = get_logger(__name__)

BYPASSED_LABEL: Final = "safety_bypassed"
BYPASS_REASON_LABEL: Final = "safety_bypass_reason"
MAX_REASON: Final = 256  # characters


class Deciding:
    """Gets decisions."""

    def __init__(
        self,
        *,
        kernel: KernelClient,
        modes: SafetyModes,
        scope: ScopeWatch,
        store: Store,
        outbox: AuditOutbox,
        clock: Clock,
    ) -> None:
        self._kernel = kernel
        self._modes = modes
        self._scope = scope
        self._store = store
        self._outbox = outbox
        self._clock = clock

    async def decide(self, ticket: Ticket) -> Verdict:
        """The kernel's verdict on a ticket's job, or the bypass somebody has allowed.

        Raises:
            KernelUnavailableError: there is no decision.
            AuditUnavailableError, StoreError: a bypass could not be written down, so there is none.
        """
        if not await self._has_context(ticket):
            reason = "the job's context cannot be read, so no policy could look at it"
            return Verdict(decision=Decision.DENY, reason=reason, checked_at=micros(self._clock.now()))
        try:
            verdict = await self._kernel.check(policy_question(ticket))
        except KernelUnavailableError as error:
            # A gate asks for a person's word. That the kernel is away does not answer it.
            if ticket.completes_itself or (await self._modes.of(ticket.record.tenant)).input is FailMode.CLOSED:
                raise
            return await self._bypass(ticket, error)
        self._scope.saw(verdict.snapshot)
        return verdict

    async def _has_context(self, ticket: Ticket) -> bool:
        """Makes sure that the policy sees what the worker will read.

        The gateway keeps a job's context under the job's own key, which has been read already. Whoever submits on the
        bus itself may point elsewhere; what is there is read, and where a worker could read what we cannot, the job
        does not run.
        """
        pointer = ticket.request.context_ptr
        if not pointer or pointer == keys.pointer(keys.context(ticket.record.id)):
            return True
        ticket.context = await self._store.jobs.payload(pointer)
        return ticket.context is not None

    async def _bypass(self, ticket: Ticket, error: KernelUnavailableError) -> Verdict:
        record = ticket.record
        why = error.message[:MAX_REASON]
        await self._outbox.keep(self._event(record, why))
        labels = {BYPASSED_LABEL: "true", BYPASS_REASON_LABEL: why}
        ticket.request.labels.update(labels)
        await asyncio.gather(
            self._store.jobs.annotate(
                record.id, {"labels": hash_value({**record.labels, **labels})}, allowed_from=WAITING
            ),
            self._store.bypasses.count(),
        )
        metrics.INPUT_FAIL_OPEN.labels(record.topic).inc()
        log.error(
            "a job runs without a decision: no answer from the safety kernel, and the fail mode is open",
            event="safety_bypassed",
            job_id=record.id,
            topic=record.topic,
            tenant=record.tenant,
            error=error.message,
        )
        return Verdict(decision=Decision.ALLOW, reason=f"{BYPASSED_LABEL}: {why}", checked_at=micros(self._clock.now()))

    def _event(self, record: JobRecord, why: str) -> AuditEvent:
        return AuditEvent(
            id=f"bypass:{record.id}:{record.attempts}",
            event_type=EventType.BYPASS.value,
            tenant=record.tenant,
            action="bypass_admit",
            created_at=micros(self._clock.now()),
            severity=Severity.CRITICAL,
            resource_type="job",
            resource_id=record.id,
            actor_id="cordum-scheduler",
            job_id=record.id,
            reason=why,
            decision=Decision.ALLOW.value,
            message="the job runs without a decision of the safety kernel",
        )
