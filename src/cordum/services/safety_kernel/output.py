"""The output policy as a gRPC service (spec-safety sections 2 and 10): what a worker answered, judged before release.

Policy outcomes are never gRPC errors. Whatever goes wrong while a result is looked at puts it into quarantine.
"""

import time
from typing import Final

import grpc
import msgspec
from google.protobuf.message import DecodeError

from cordum.core.ids import SnapshotId
from cordum.core.output.finding import Finding
from cordum.core.output.rules import ContentState, OutputJudge, OutputRequest, OutputVerdict, held
from cordum.core.policy.decision import OutputDecision
from cordum.rpc.gen.cordum.v1 import output_pb2
from cordum.rpc.server import MAX_MESSAGE_BYTES, Service
from cordum.runtime import logging, metrics
from cordum.services.safety_kernel.scanning import ScannersBusyError, Scanning

SERVICE: Final = "cordum.v1.OutputPolicyService"
MAX_SECONDS: Final = 30.0
"""A scan takes no longer, whatever deadline the caller has."""
MAX_FINDINGS: Final = 100
"""In one answer; redaction knows all of them."""

_MARGIN: Final = 0.75  # of the caller's deadline, so that the answer arrives within it
_ROOM: Final = 64 * 1024  # bytes of an answer besides the content

Context = grpc.aio.ServicerContext[bytes, bytes]

_log = logging.get_logger(__name__)

_DECISIONS = {
    OutputDecision.ALLOW: output_pb2.OUTPUT_DECISION_ALLOW,
    OutputDecision.REDACT: output_pb2.OUTPUT_DECISION_REDACT,
    OutputDecision.QUARANTINE: output_pb2.OUTPUT_DECISION_QUARANTINE,
    OutputDecision.DENY: output_pb2.OUTPUT_DECISION_QUARANTINE,
}


class _InForce(msgspec.Struct, frozen=True, eq=False):
    """The output rules in force, of which policy they are, and whose results those of nobody are."""

    judge: OutputJudge
    snapshot: SnapshotId
    default_tenant: str


class OutputPolicy:
    """Judges results by the policy in force. Until there is one, every result goes into quarantine."""

    def __init__(self, scanning: Scanning) -> None:
        self._scanning = scanning
        self._in_force: _InForce | None = None

    def adopt(self, judge: OutputJudge, snapshot: SnapshotId, default_tenant: str) -> None:
        """From the next request on, judges by these rules."""
        self._in_force = _InForce(judge, snapshot, default_tenant)

    async def check_output(self, request: bytes, context: Context) -> bytes:
        """CheckOutput."""
        started = time.perf_counter()
        try:
            asked = output_pb2.OutputCheckRequest.FromString(request)
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not an OutputCheckRequest")
        now = self._in_force
        try:
            verdict = await self._judged(now, asked, context.time_remaining())
        except ScannersBusyError as error:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, error.message)
        answer = _answer(verdict, now.snapshot if now is not None else "").SerializeToString()
        topic = asked.topic if asked.topic.startswith("job.") else metrics.OTHER
        metrics.EVAL_DURATION.labels(topic).observe(time.perf_counter() - started)
        return answer

    async def _judged(
        self, now: _InForce | None, asked: output_pb2.OutputCheckRequest, time_left: float | None
    ) -> OutputVerdict:
        if now is None:
            return held("no_policy", "no policy loaded — fail-closed")
        request = _request(asked, now.default_tenant)
        seconds = MAX_SECONDS if time_left is None else min(MAX_SECONDS, time_left * _MARGIN)
        try:
            return await self._scanning.run(
                lambda expired: now.judge.check(request, expired),
                len(request.content) + len(request.error_message),
                seconds,
                _late,
            )
        except ScannersBusyError:
            raise
        except Exception as error:
            _log.exception("a result could not be judged", event="output_check_failed", job_id=asked.job_id)
            return held("check_failed", f"the output check failed: {type(error).__name__}")


def service(policy: OutputPolicy) -> Service:
    """What the kernel's gRPC server serves for results."""
    handler = grpc.method_handlers_generic_handler(
        SERVICE, {"CheckOutput": grpc.unary_unary_rpc_method_handler(policy.check_output)}
    )
    return Service(SERVICE, lambda server: server.add_generic_rpc_handlers((handler,)))


def _late() -> OutputVerdict:
    return held("scan_timeout", "the result could not be scanned in time")


def _request(asked: output_pb2.OutputCheckRequest, default_tenant: str) -> OutputRequest:
    # What the job said of itself when it was submitted goes before what it was labelled with on the way.
    labels = {**asked.labels, **asked.original_labels}
    if asked.workflow_id:
        labels["workflow_id"] = asked.workflow_id
    content = asked.output_content
    return OutputRequest(
        topic=asked.topic,
        tenant=asked.tenant or default_tenant,
        labels=labels,
        capabilities=tuple(asked.capabilities),
        risk_tags=tuple(asked.risk_tags),
        content_type=asked.content_type,
        size=max(asked.output_size_bytes, len(content)),
        has_error=bool(asked.error_message or asked.error_code),
        job_id=asked.job_id,
        content=content,
        error_message=asked.error_message,
        state=_state(asked),
    )


def _state(asked: output_pb2.OutputCheckRequest) -> ContentState:
    """What is not all there is never taken for all: neither an unknown state nor a size that says otherwise."""
    state, content = asked.content_state, asked.output_content
    if state not in (output_pb2.CONTENT_STATE_UNSPECIFIED, output_pb2.CONTENT_STATE_WHOLE):
        truncated = state == output_pb2.CONTENT_STATE_TRUNCATED
        return ContentState.TRUNCATED if truncated and content else ContentState.UNREADABLE
    if asked.output_size_bytes > len(content):
        return ContentState.TRUNCATED if content else ContentState.UNREADABLE
    return ContentState.WHOLE


def _answer(verdict: OutputVerdict, snapshot: str) -> output_pb2.OutputCheckResponse:
    redacted, error = verdict.redacted or b"", verdict.redacted_error
    if len(redacted) + len(error) * 4 > MAX_MESSAGE_BYTES - _ROOM:
        verdict = held("redacted_too_large", "the redacted result is too large to be sent", verdict.rule_id)
        redacted, error = b"", ""
    return output_pb2.OutputCheckResponse(
        decision=_DECISIONS[verdict.decision],
        denied=verdict.decision is OutputDecision.DENY,
        reason=verdict.reason,
        rule_id=verdict.rule_id,
        policy_snapshot=snapshot,
        findings=[_finding(finding) for finding in verdict.findings[:MAX_FINDINGS]],
        redacted_content=redacted,
        redacted_error_message=error,
    )


def _finding(finding: Finding) -> output_pb2.OutputFinding:
    return output_pb2.OutputFinding(
        type=finding.type,
        severity=finding.severity.value,
        detail=finding.detail,
        offset=finding.offset,
        length=finding.length,
        scanner=finding.scanner,
        confidence=finding.confidence,
        matched_pattern=finding.matched,
        digest=finding.digest,
        source=finding.source.value,
    )
