"""Held results and the people who decide about them (spec-safety section 10, "Operator").

Redacted and quarantined originals lie where no pointer leads. An administrator can look at one, let it go with a
reason, or agree with the quarantine; each is written down before it happens.
"""

import hashlib
from typing import Final

import msgspec
from cap.pb.cordum.agent.v1 import job_pb2

from cordum.bus import Bus, BusError, envelope, messages, subjects
from cordum.core.access.caller import Caller
from cordum.core.ids import JobId, TenantId
from cordum.core.jobs import output_moves
from cordum.core.jobs.output import OutputSafety
from cordum.core.jobs.output_moves import Release
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.core.policy.decision import OutputDecision
from cordum.runtime.clock import Clock, unix_micros
from cordum.runtime.logging import get_logger
from cordum.runtime.service_tokens import ServiceTokens
from cordum.services.gateway.auditing import Auditor
from cordum.services.gateway.errors import ApiError
from cordum.services.gateway.jobs.waiting import Waiting
from cordum.store import HeldOutput, Refused, Store

log = get_logger(__name__)

_ALWAYS: Final = (
    *("decision", "reason", "rule_id", "policy_snapshot", "findings", "redacted_ptr", "original_ptr", "checked_at"),
    *("check_duration_ms", "phase"),
)
"""Members of `output_safety` that are there, empty or not."""

_HOLDING: Final = frozenset({JobState.OUTPUT_QUARANTINED, JobState.SUCCEEDED, JobState.FAILED})
_STATUS: Final = {
    JobState.SUCCEEDED: job_pb2.JOB_STATUS_SUCCEEDED,
    JobState.FAILED: job_pb2.JOB_STATUS_FAILED,
}


class QuarantineDesk:
    """What administrators do about held results."""

    def __init__(
        self, store: Store, bus: Bus, auditor: Auditor, waiting: Waiting, tokens: ServiceTokens, clock: Clock
    ) -> None:
        self._tokens = tokens
        self._store = store
        self._bus = bus
        self._auditor = auditor
        self._waiting = waiting
        self._clock = clock

    async def look(self, tenant: TenantId, job_id: JobId, caller: Caller) -> HeldOutput:
        """The held original, for an administrator's eyes.

        Raises:
            ApiError: 404 for no such job, 409 when nothing is held of it, 503 when looking could not be written down.
        """
        record, held = await self._held(tenant, job_id)
        await self._record(record, caller, "output_view", "")
        return held

    async def release(self, tenant: TenantId, job_id: JobId, caller: Caller, reason: str) -> JobRecord:
        """Lets a held original be read, and a quarantined job end as its worker had ended it; answers the job then.

        Raises:
            ApiError: 404 for no such job; 409 when nothing is held of it, its quarantine was confirmed, or it is
                changing at this moment; 503 when it could not be written down.
        """
        record, held = await self._held(tenant, job_id)
        if record.output_safety is not None and record.output_safety.confirmed_by:
            raise ApiError("output_confirmed", extra={"confirmed_by": record.output_safety.confirmed_by})
        await self._record(record, caller, "output_release", reason)
        pointer = await self._put_back(job_id, held)
        digest = hashlib.sha256(held.content).hexdigest() if pointer and held.complete else ""
        word = Release(by=caller.name, reason=reason, at=unix_micros(self._clock))
        if record.state is JobState.OUTPUT_QUARANTINED:
            await self._end(record, held, word, pointer, digest)
        else:
            await self._unveil(record, held, word, pointer, digest)
        await self._store.outputs.drop_held(job_id)
        log.warning(
            "a held result was released",
            event="output_released",
            job_id=job_id,
            tenant=tenant,
            by=caller.name,
            reason=reason,
        )
        self._waiting.wake(job_id)
        latest = await self._store.jobs.get(job_id)
        if latest is None:
            raise ApiError("job_not_found")
        return latest

    async def confirm(self, tenant: TenantId, job_id: JobId, caller: Caller) -> None:
        """Agrees with a quarantine, if the job is in one: its original is not let go any more."""
        record = await self._store.jobs.get(job_id)
        if record is None or record.tenant != tenant or record.state is not JobState.OUTPUT_QUARANTINED:
            return
        await self._record(record, caller, "output_confirm", "")
        fields = output_moves.confirmed_fields(record, caller.name)
        await self._store.jobs.annotate(job_id, fields, allowed_from=frozenset({JobState.OUTPUT_QUARANTINED}))

    async def _held(self, tenant: TenantId, job_id: JobId) -> tuple[JobRecord, HeldOutput]:
        record = await self._store.jobs.get(job_id)
        if record is None or record.tenant != tenant:
            raise ApiError("job_not_found")
        withheld = record.output_decision not in ("", OutputDecision.ALLOW.value) and record.state in _HOLDING
        released = record.output_safety is not None and bool(record.output_safety.released_by)
        held = await self._store.outputs.held(job_id) if withheld and not released else None
        if held is None:
            raise ApiError("output_not_held")
        return record, held

    async def _put_back(self, job_id: JobId, held: HeldOutput) -> str:
        """Where the original can be read from now on; "" when there is none."""
        if not held.original_ptr:
            return ""
        if held.complete:
            return await self._store.outputs.put_released(job_id, held.content)
        # Too long to be moved, or not to be found when it was looked for.
        found = await self._store.outputs.load(held.original_ptr, 1)
        return held.original_ptr if found is not None else ""

    async def _end(self, record: JobRecord, held: HeldOutput, word: Release, pointer: str, digest: str) -> None:
        to = JobState.FAILED if held.state == JobState.FAILED.value else JobState.SUCCEEDED
        change = output_moves.release(
            record, word, to=to, result_ptr=pointer, digest=digest, failure=held.message, code=held.code
        )
        outcome = await self._store.jobs.apply(record.id, change, now=word.at, known=record)
        if isinstance(outcome, Refused):
            raise ApiError("output_changing")
        await self._store.dead_letters.remove(record.tenant, record.id)
        await self._announce(record, to, pointer, held)

    async def _unveil(self, record: JobRecord, held: HeldOutput, word: Release, pointer: str, digest: str) -> None:
        """The job has ended long ago; only what can be read of it changes."""
        fields = output_moves.released_fields(record, word, result_ptr=pointer, digest=digest)
        if record.state is JobState.FAILED:
            fields["failure_reason"] = held.message
        if not await self._store.jobs.annotate(record.id, fields, allowed_from=frozenset({record.state})):
            raise ApiError("output_changing")

    async def _announce(self, record: JobRecord, state: JobState, pointer: str, held: HeldOutput) -> None:
        """Tells whoever follows the job. The record is the truth; who misses this learns it from there."""
        packet = envelope.packet(subjects.GATEWAY_CONTROL_ID, record.trace_id or record.id, self._clock.now())
        packet.auth_token = self._tokens.token(subjects.GATEWAY_CONTROL_ID)
        result = packet.job_result
        result.job_id = record.id
        result.status = _STATUS[state]
        result.worker_id = subjects.GATEWAY_CONTROL_ID
        result.result_ptr = pointer
        if state is JobState.FAILED:
            result.error_code, result.error_message = held.code, held.message
        try:
            await self._bus.publish(
                subjects.JOB_RESULT,
                envelope.encode(packet),
                msg_id=f"{messages.msg_id_result(subjects.JOB_RESULT, record.id)}:released",
            )
        except BusError as error:
            log.warning("release not announced", event="release_not_announced", job_id=record.id, error=error.message)

    async def _record(self, record: JobRecord, caller: Caller, action: str, reason: str) -> None:
        await self._auditor.record(
            caller,
            action,
            resource_type="output",
            resource_id=record.id,
            job_id=record.id,
            reason=reason,
            decision=record.output_decision,
            matched_rule=record.output_safety.rule_id if record.output_safety is not None else "",
            tenant=record.tenant,
        )


def verified(record: JobRecord, result: bytes | None) -> bytes | None:
    """The result, unless it is not the one that was released: what a worker wrote there later was never checked."""
    if result is None or not record.output_digest or hashlib.sha256(result).hexdigest() == record.output_digest:
        return result
    log.error("a result was changed after its release", event="output_changed", job_id=record.id, tenant=record.tenant)
    return None


def output_members(record: JobRecord) -> dict[str, object]:
    """What the API says about the output policy's word on a job; nothing where there is none."""
    if not record.output_decision:
        return {}
    safety = record.output_safety or OutputSafety(decision=record.output_decision)
    usual = {name: getattr(safety, name) for name in _ALWAYS}
    return {
        "output_decision": record.output_decision,
        "output_safety": usual | msgspec.to_builtins(safety),
    }
