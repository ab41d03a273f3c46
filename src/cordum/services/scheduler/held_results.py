"""A result that the output policy may touch: held, decided, and only then released (spec-safety sections 10 and 14.8).

Until the decision is committed the job runs on for everybody who looks, and nothing on its record points at the result.
A scheduler that dies in between leaves just that, and the redelivered result is decided anew. The original of what is
redacted or quarantined is copied to where no pointer leads before the decision is committed, and taken away after it.
"""

import asyncio
from typing import Final

import msgspec
from cap.pb.cordum.agent.v1 import job_pb2

from cordum.bus import Retry
from cordum.core.audit.event import AuditEvent, EventType, Severity
from cordum.core.ids import DispatchId, WorkerId, micros
from cordum.core.jobs import output_moves, retry
from cordum.core.jobs.lifecycle import Change
from cordum.core.jobs.output_moves import UNDECIDED
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.core.policy.decision import OutputDecision
from cordum.rpc.output_client import OutputUnavailableError
from cordum.runtime import metrics
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.runtime.settings.output import FailMode
from cordum.services.scheduler.output_ruling import Ruling, Rulings
from cordum.services.scheduler.output_scope import ScopeWatch
from cordum.services.scheduler.safety_modes import SafetyModes
from cordum.store import Applied, HeldOutput, Output, Refused, Store
from cordum.store.audit_outbox import AuditOutbox

log = get_logger(__name__)

HOLD_TRIES: Final = 60
"""Deliveries a result waits for a decision (some five minutes); then it is put into quarantine, for a person."""

_DONE: Final = frozenset({JobState.SUCCEEDED, JobState.FAILED})
"""Ends whose results can be quarantined; of any other only the worker's words and output are withheld."""


class Settled(msgspec.Struct, frozen=True):
    """The move that was made for a result, or was not."""

    change: Change
    outcome: Applied | Refused


class HeldResults:
    """Holds results and settles them."""

    def __init__(
        self,
        *,
        store: Store,
        rulings: Rulings,
        scope: ScopeWatch,
        modes: SafetyModes,
        outbox: AuditOutbox,
        clock: Clock,
    ) -> None:
        self._store = store
        self._rulings = rulings
        self._scope = scope
        self._modes = modes
        self._outbox = outbox
        self._clock = clock

    def concerns(self, result: job_pb2.JobResult, record: JobRecord, change: Change) -> bool:
        """Whether this result has to be held: the policy may touch it, and there is something it could touch."""
        if not self._modes.output_enabled or not self._scope.may_touch(record.topic):
            return False
        return change.to in _DONE or bool(result.result_ptr or result.error_message)

    async def settle(
        self, result: job_pb2.JobResult, record: JobRecord, change: Change, attempt: int
    ) -> Settled | Retry:
        """Decides about a result and makes the move.

        Args:
            change: the move the worker asks for.
            attempt: of the delivery, from 1.

        Raises:
            StoreError: it is not known how far it came; doing it again is safe.
        """
        began = self._clock.monotonic()
        worker, dispatch = WorkerId(result.worker_id), DispatchId(result.dispatch.dispatch_id)
        now = micros(self._clock.now())
        hold = output_moves.hold(worker=worker, dispatch_id=dispatch, now=now, reason=UNDECIDED if attempt > 1 else "")
        # One round trip: a result that does not count is not read, and one that does is not read twice.
        held, output = await asyncio.gather(
            self._store.jobs.apply(record.id, hold, now=now, known=record), self._rulings.load(result)
        )
        if isinstance(held, Refused):
            return Settled(change, held)
        try:
            ruling = await self._rulings.decide(result, record, output)
        except OutputUnavailableError as error:
            without = await self._without_decision(result, record, output, attempt, error)
            if isinstance(without, Retry):
                return without
            ruling = without
        else:
            metrics.OUTPUT_CHECKED.labels(record.topic).inc()
        settled = await self._commit(result, record, change, ruling)
        phase = "sync_redact" if ruling.decision is OutputDecision.REDACT else "sync"
        metrics.OUTPUT_CHECK_LATENCY.labels(record.topic, phase).observe(self._clock.monotonic() - began)
        return settled

    async def _without_decision(
        self,
        result: job_pb2.JobResult,
        record: JobRecord,
        output: Output | None,
        attempt: int,
        error: OutputUnavailableError,
    ) -> Ruling | Retry:
        modes = await self._modes.of(record.tenant)
        if modes.output is FailMode.OPEN:
            why = f"released unchecked: {error.message}"
            # Written down before it happens; when that cannot be, it does not happen.
            await self._outbox.keep(self._event(record, "output_bypass", EventType.BYPASS, Severity.HIGH, why, ""))
            metrics.OUTPUT_SKIPPED.labels(record.topic).inc()
            log.error(
                "a result is released unchecked",
                event="output_released_unchecked",
                job_id=record.id,
                topic=record.topic,
                tenant=record.tenant,
                error=error.message,
            )
            return self._rulings.unchecked(OutputDecision.ALLOW, why, result.result_ptr, output)
        if attempt >= HOLD_TRIES:
            why = f"no decision about the result: {error.message}"
            return self._rulings.unchecked(OutputDecision.QUARANTINE, why, result.result_ptr, output)
        log.warning(
            "a result is held: no answer from the output policy",
            event="output_held",
            job_id=record.id,
            topic=record.topic,
            tries=attempt,
            error=error.message,
        )
        if attempt == 1:
            await self._store.jobs.annotate(
                record.id, {"pending_reason": UNDECIDED}, allowed_from=frozenset({JobState.RUNNING})
            )
        return Retry(retry.safety_delay(attempt - 1))

    async def _commit(self, result: job_pb2.JobResult, record: JobRecord, change: Change, ruling: Ruling) -> Settled:
        safety = ruling.safety
        if ruling.decision is OutputDecision.ALLOW:
            released = change
            if change.to is JobState.RETRYING:
                released = _without_pointer(change)
            return await self._make(
                record, output_moves.decided(released, safety, ruling.digest), safety.check_duration_ms
            )
        await self._keep_original(result, record, change, ruling)
        redacted = ruling.decision is OutputDecision.REDACT
        if redacted and change.to is JobState.SUCCEEDED:
            if ruling.redacted is not None:
                pointer = await self._store.outputs.put_redacted(result.result_ptr, ruling.redacted)
                safety = msgspec.structs.replace(safety, redacted_ptr=pointer)
                change = msgspec.structs.replace(change, fields={**change.fields, "result_ptr": pointer})
            move = output_moves.decided(change, safety, ruling.digest)
        elif redacted or change.to not in _DONE:
            move = output_moves.withheld(change, safety, ruling.message)
        else:
            move = output_moves.quarantine(
                record,
                worker=WorkerId(result.worker_id),
                dispatch_id=DispatchId(result.dispatch.dispatch_id),
                safety=safety,
            )
        settled = await self._make(record, move, safety.check_duration_ms)
        if isinstance(settled.outcome, Applied):
            await self._tell(record, ruling, quarantined=move.to is JobState.OUTPUT_QUARANTINED)
            if ruling.output is not None and ruling.output.complete:
                await self._store.outputs.drop_original(result.result_ptr)
        return settled

    async def _make(self, record: JobRecord, move: Change, took_ms: int) -> Settled:
        decision = move.fields["output_safety"].encode()
        outcome, _, _ = await asyncio.gather(
            self._store.jobs.apply(record.id, move, now=micros(self._clock.now()), known=record),
            self._store.outputs.record_decision(record.id, decision),
            self._store.output_stats.count(record.tenant, took_ms, quarantined=move.to is JobState.OUTPUT_QUARANTINED),
        )
        return Settled(move, outcome)

    async def _keep_original(
        self, result: job_pb2.JobResult, record: JobRecord, change: Change, ruling: Ruling
    ) -> None:
        output = ruling.output
        moved = output is not None and output.complete
        held = HeldOutput(
            content=output.content if output is not None and moved else b"",
            message=result.error_message,
            code=result.error_code,
            state=change.to.value,
            original_ptr=result.result_ptr,
            complete=moved or not result.result_ptr,
        )
        await self._store.outputs.hold(record.id, held)
        if not moved and result.result_ptr:
            await self._store.jobs.expire_result(result.result_ptr)

    async def _tell(self, record: JobRecord, ruling: Ruling, *, quarantined: bool) -> None:
        topic, safety = record.topic, ruling.safety
        if ruling.decision is OutputDecision.REDACT:
            metrics.OUTPUT_REDACTIONS.labels(topic).inc()
        else:
            metrics.OUTPUT_DENIALS.labels(topic).inc()
        if quarantined:
            metrics.OUTPUT_QUARANTINED.labels(topic).inc()
        log.warning(
            "the output policy withholds a result",
            event="output_quarantined" if quarantined else "output_redacted",
            job_id=record.id,
            topic=topic,
            tenant=record.tenant,
            decision=safety.decision,
            rule_id=safety.rule_id,
            reason=safety.reason,
        )
        action = "output_quarantine" if quarantined else "output_redact"
        event = self._event(record, action, EventType.VIOLATION, Severity.HIGH, safety.reason, safety.rule_id)
        self._outbox.note(
            msgspec.structs.replace(event, decision=safety.decision, policy_version=safety.policy_snapshot)
        )

    async def finish(self, result: job_pb2.JobResult, record: JobRecord) -> None:
        """Takes an original away whose decision was committed by a scheduler that died before it could."""
        withheld = record.output_decision not in ("", OutputDecision.ALLOW.value)
        if not withheld or record.worker_id != result.worker_id or record.result_ptr == result.result_ptr:
            return
        held = await self._store.outputs.held(record.id)
        if held is not None and held.complete and held.original_ptr == result.result_ptr:
            await self._store.outputs.drop_original(result.result_ptr)

    def _event(
        self, record: JobRecord, action: str, kind: EventType, severity: Severity, reason: str, rule_id: str
    ) -> AuditEvent:
        return AuditEvent(
            id=f"{action}:{record.id}:{record.attempts}",
            event_type=kind.value,
            tenant=record.tenant,
            action=action,
            created_at=micros(self._clock.now()),
            severity=severity,
            resource_type="output",
            resource_id=record.id,
            actor_id="cordum-scheduler",
            job_id=record.id,
            reason=reason,
            matched_rule=rule_id,
        )


def _without_pointer(change: Change) -> Change:
    """A try that failed leaves nothing to be read behind."""
    fields = {name: value for name, value in change.fields.items() if name != "result_ptr"}
    return msgspec.structs.replace(change, fields=fields)
