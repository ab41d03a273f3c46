"""What is to become of one result: it is read, the output policy is asked, and the answer is taken at its strictest.

Nothing here lets a result go that the policy has not plainly allowed: what cannot be read, is too long to be looked at
to its end, or was to be redacted and was not, goes into quarantine (spec-safety section 10).
"""

import hashlib
from typing import Final

import msgspec
from cap.pb.cordum.agent.v1 import job_pb2

from cordum.core.ids import Micros, micros
from cordum.core.jobs.output import MESSAGE, OutputPhase, OutputSafety, without_secrets
from cordum.core.jobs.record import JobRecord
from cordum.core.policy.decision import OutputDecision
from cordum.rpc.output_client import OutputAnswer, OutputClient, OutputQuestion, OutputTimeoutError
from cordum.runtime import metrics
from cordum.runtime.clock import Clock
from cordum.store import Output, Store

READ_TRIES: Final = 6
READ_PAUSE: Final = 0.1
"""Tries, and seconds between them, to find a result that its worker says it has written."""

POINTER_UNREADABLE: Final = "pointer_unreadable"
TRUNCATED: Final = "content_truncated"
UNREDACTED: Final = "redaction_failed"
_LEAST_SECRET: Final = 4  # bytes; a shorter match says nothing


class Ruling(msgspec.Struct, frozen=True, kw_only=True):
    """The decision about one result.

    Attributes:
        safety: as it is recorded.
        output: what was at the result's pointer; None when there was nothing, or it cannot be read.
        redacted: what may be read instead, and `message` instead of the worker's words; only with REDACT.
        digest: of the content that may be read.
    """

    safety: OutputSafety
    output: Output | None = None
    redacted: bytes | None = None
    message: str = ""
    digest: str = ""

    @property
    def decision(self) -> OutputDecision:
        return OutputDecision(self.safety.decision)


class Rulings:
    """Makes rulings."""

    def __init__(self, store: Store, client: OutputClient, clock: Clock, most_bytes: int) -> None:
        self._store = store
        self._client = client
        self._clock = clock
        self._most = most_bytes

    async def load(self, result: job_pb2.JobResult) -> Output | None:
        """The beginning of the result, if there is one to be read right now."""
        return await self._store.outputs.load(result.result_ptr, self._most) if result.result_ptr else None

    async def decide(self, result: job_pb2.JobResult, record: JobRecord, output: Output | None) -> Ruling:
        """The ruling on a result.

        Args:
            output: as `load` found it.

        Raises:
            OutputUnavailableError: there is no decision.
            StoreError: the result could not be looked for.
        """
        pointer = str(result.result_ptr)
        if pointer:
            output = output or await self._look_again(result)
            if output is None:
                return Ruling(safety=self._without_reading(POINTER_UNREADABLE, OutputPhase.POINTER, pointer))
        began = self._clock.monotonic()
        question = _question(result, record, output)
        try:
            answer = await self._client.check(question)
        except OutputTimeoutError:
            metrics.OUTPUT_TIMEOUTS.labels(record.topic).inc()
            raise
        metrics.OUTPUT_EVALUATIONS.labels(record.topic).inc()
        took = int((self._clock.monotonic() - began) * 1000)
        return _ruling(question, answer, output, pointer, self._now(), took)

    def unchecked(self, decision: OutputDecision, why: str, pointer: str, output: Output | None) -> Ruling:
        """The ruling of a fail mode on a result nobody could look at."""
        safety = msgspec.structs.replace(
            self._without_reading(why, OutputPhase.UNCHECKED, pointer), decision=decision.value
        )
        return Ruling(safety=safety, output=output, digest=_digest(output))

    async def _look_again(self, result: job_pb2.JobResult) -> Output | None:
        for _ in range(READ_TRIES - 1):
            await self._clock.sleep(READ_PAUSE)
            if (output := await self.load(result)) is not None:
                return output
        return None

    def _without_reading(self, reason: str, phase: OutputPhase, pointer: str) -> OutputSafety:
        return OutputSafety(
            decision=OutputDecision.QUARANTINE.value,
            reason=reason,
            original_ptr=pointer,
            checked_at=self._now(),
            phase=phase,
        )

    def _now(self) -> Micros:
        return micros(self._clock.now())


def _question(result: job_pb2.JobResult, record: JobRecord, output: Output | None) -> OutputQuestion:
    content = output.content if output is not None else b""
    return OutputQuestion(
        job_id=record.id,
        topic=record.topic,
        tenant=record.tenant,
        labels=record.labels,
        result_ptr=result.result_ptr,
        artifact_ptrs=tuple(result.artifact_ptrs),
        error_message=result.error_message,
        error_code=result.error_code,
        worker_id=result.worker_id,
        execution_ms=result.execution_ms,
        size=output.size if output is not None else 0,
        content_hash=hashlib.sha256(content).hexdigest() if content else "",
        workflow_id=record.labels.get("workflow_id", ""),
        step_id=record.labels.get("step_id", ""),
        content=content,
        capability=record.capability,
        risk_tags=record.risk_tags,
        principal_id=record.principal,
        pack_id=record.pack_id,
        content_type="application/json" if content.lstrip()[:1] in (b"{", b"[", b'"') else "text/plain",
    )


def _ruling(
    question: OutputQuestion, answer: OutputAnswer, output: Output | None, pointer: str, now: Micros, took: int
) -> Ruling:
    decision, reason = answer.decision, answer.reason
    redacted = answer.redacted if decision is OutputDecision.REDACT else None
    if decision is OutputDecision.REDACT and output is not None and not output.complete:
        decision, reason, redacted = OutputDecision.QUARANTINE, TRUNCATED, None
    elif decision is OutputDecision.REDACT and output is not None and not _is_redacted(question, answer):
        decision, reason, redacted = (
            OutputDecision.QUARANTINE,
            f"{UNREDACTED}: {reason}" if reason else UNREDACTED,
            None,
        )
    findings, reason = without_secrets(
        answer.findings, reason, content=question.content, message=question.error_message.encode()
    )
    safety = OutputSafety(
        decision=decision.value,
        reason=reason,
        rule_id=answer.rule_id,
        policy_snapshot=answer.snapshot,
        findings=findings,
        original_ptr=pointer,
        checked_at=now,
        check_duration_ms=took,
    )
    if decision is OutputDecision.ALLOW:
        return Ruling(safety=safety, output=output, digest=_digest(output))
    digest = hashlib.sha256(redacted).hexdigest() if redacted is not None else ""
    message = answer.redacted_message if decision is OutputDecision.REDACT else ""
    return Ruling(safety=safety, output=output, redacted=redacted, message=message, digest=digest)


def _is_redacted(question: OutputQuestion, answer: OutputAnswer) -> bool:
    """Whether the copy is there, and nothing that was found is still in it."""
    copy = answer.redacted
    if copy is None:
        return False
    found = (
        question.content[item.offset : item.offset + item.length] for item in answer.findings if item.source != MESSAGE
    )
    return not any(len(secret) >= _LEAST_SECRET and secret in copy for secret in found)


def _digest(output: Output | None) -> str:
    return hashlib.sha256(output.content).hexdigest() if output is not None and output.complete else ""
