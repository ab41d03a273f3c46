"""The scheduler's way to the output policy: bounded in time and size, and never a release by itself.

spec-safety sections 2, 3 and 10. The calls share the kernel's address with the checks of jobs, and have a circuit
breaker of their own: a scan that hangs must not stop dispatch, nor the other way round.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

import grpc
import msgspec

from cordum.core.errors import CordumError
from cordum.core.jobs.output import OutputFinding
from cordum.core.policy.decision import OutputDecision
from cordum.core.policy.output_scope import OutputScope
from cordum.rpc.breaker import Breaker
from cordum.rpc.channel import open_channel
from cordum.rpc.gen.cordum.v1 import output_pb2, output_pb2_grpc, output_scope_pb2, output_scope_pb2_grpc
from cordum.rpc.kernel_client import tls_of
from cordum.runtime.clock import Clock
from cordum.runtime.settings import SchedulerSettings

SCOPE_TIMEOUT: Final = 2.0  # seconds
MAX_IN_FLIGHT: Final = 16
"""Checks on their way at once; contents are large, and the kernel has other work."""

_FAULT_OF_THE_QUESTION: Final = frozenset(
    {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.OUT_OF_RANGE}
)


class OutputUnavailableError(CordumError):
    """The output policy gave no decision, so there is none."""

    code = "output_check_unavailable"


class OutputTimeoutError(OutputUnavailableError):
    """The output policy gave no decision in time."""


class OutputQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """A result, as the output policy gets to see it.

    Attributes:
        content: what the worker wrote, or its first bytes; `size` is how many there are in all.
        error_message: the worker's words.
        execution_ms: how long it took.
    """

    job_id: str
    topic: str
    tenant: str
    labels: Mapping[str, str] = {}
    result_ptr: str = ""
    artifact_ptrs: tuple[str, ...] = ()
    error_message: str = ""
    error_code: str = ""
    worker_id: str = ""
    execution_ms: int = 0
    size: int = 0
    content_hash: str = ""
    workflow_id: str = ""
    step_id: str = ""
    content: bytes = b""
    capability: str = ""
    risk_tags: tuple[str, ...] = ()
    principal_id: str = ""
    pack_id: str = ""
    content_type: str = ""


class OutputAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the output policy says. With REDACT: the content and the error message without what was found in them."""

    decision: OutputDecision
    reason: str = ""
    rule_id: str = ""
    snapshot: str = ""
    findings: tuple[OutputFinding, ...] = ()
    redacted: bytes | None = None
    redacted_message: str = ""


class OutputClient:
    """One channel to the output policy, shared by everything in the process."""

    def __init__(self, channel: grpc.aio.Channel, clock: Clock, *, meta_timeout: float, content_timeout: float) -> None:
        """Takes over the channel (closed by `aclose`).

        Args:
            meta_timeout: seconds for the check of a result without content.
            content_timeout: seconds for one with content.
        """
        self._channel = channel
        self._clock = clock
        self._meta_timeout = meta_timeout
        self._content_timeout = content_timeout
        self._policy = output_pb2_grpc.OutputPolicyServiceStub(channel)
        self._scopes = output_scope_pb2_grpc.OutputScopeStub(channel)
        self._breaker = Breaker()
        self._room = asyncio.Semaphore(MAX_IN_FLIGHT)

    @classmethod
    def from_settings(cls, settings: SchedulerSettings, clock: Clock) -> "OutputClient":
        """Opens the channel the settings describe; nothing is sent yet. Raises ChannelError for unusable TLS files."""
        return cls(
            open_channel(
                str(settings.safety_kernel_addr),
                tls_of(settings),
                keepalive=settings.grpc_client_keepalive_time,
                keepalive_timeout=settings.grpc_client_keepalive_timeout,
            ),
            clock,
            meta_timeout=settings.output_meta_timeout_ms / 1000,
            content_timeout=settings.output_content_timeout_ms / 1000,
        )

    async def check(self, question: OutputQuestion) -> OutputAnswer:
        """What the output policy says about a result; asked once more when the first answer does not come in time.

        Raises:
            OutputTimeoutError: twice no answer in time.
            OutputUnavailableError: no answer, or one that makes no sense.
        """
        request = _request(question)
        timeout = self._content_timeout if question.content or question.error_message else self._meta_timeout
        async with self._room:
            try:
                return await self._check(request, timeout)
            except OutputTimeoutError:
                return await self._check(request, timeout)

    async def _check(self, request: output_pb2.OutputCheckRequest, timeout: float) -> OutputAnswer:
        probing = self._enter()
        try:
            answer = await self._policy.CheckOutput(request, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            if error.code() in _FAULT_OF_THE_QUESTION:
                # Another question may well be answered.
                self._succeeded(probing)
            else:
                self._failed(probing)
            kind = OutputTimeoutError if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED else OutputUnavailableError
            raise kind(f"the output policy gave no decision: {error.code().name}: {error.details()}") from error
        except grpc.aio.BaseError as error:
            self._failed(probing)
            raise OutputUnavailableError(f"the output policy cannot be asked: {error}") from error
        except BaseException:
            self._failed(probing)  # cancelled: nobody knows
            raise
        try:
            read = _answer(answer)
        except ValueError as error:
            self._failed(probing)
            raise OutputUnavailableError(f"the output policy gave {error}") from error
        self._succeeded(probing)
        return read

    async def scope(self) -> tuple[str, OutputScope]:
        """The snapshot in force, and which topics its output rules could touch. Raises OutputUnavailableError."""
        try:
            answer = await self._scopes.Describe(output_scope_pb2.OutputScopeRequest(), timeout=SCOPE_TIMEOUT)
        except (grpc.aio.AioRpcError, grpc.aio.BaseError) as error:
            raise OutputUnavailableError(f"the output policy does not say what it is about: {error}") from error
        if answer is None or not answer.snapshot:
            raise OutputUnavailableError("the output policy has no policy")
        return answer.snapshot, OutputScope(everything=answer.everything, topics=tuple(answer.topics))

    async def aclose(self) -> None:
        await self._channel.close(None)

    # The breaker: when it is open, one check at a time tries whether all is well again.

    def _enter(self) -> bool:
        if self._breaker.admits():
            return False
        if self._breaker.start_probe(self._clock.monotonic()):
            return True
        raise OutputUnavailableError("the output policy does not answer: circuit open")

    def _succeeded(self, probing: bool) -> None:
        if probing:
            self._breaker.probe_succeeded()
        self._breaker.call_succeeded()

    def _failed(self, probing: bool) -> None:
        if probing:
            self._breaker.probe_failed(self._clock.monotonic())
        else:
            self._breaker.call_failed(self._clock.monotonic())


def _request(question: OutputQuestion) -> output_pb2.OutputCheckRequest:
    return output_pb2.OutputCheckRequest(
        job_id=question.job_id,
        topic=question.topic,
        tenant=question.tenant,
        labels=question.labels,
        result_ptr=question.result_ptr,
        artifact_ptrs=question.artifact_ptrs,
        error_message=question.error_message,
        error_code=question.error_code,
        worker_id=question.worker_id,
        execution_ms=question.execution_ms,
        output_size_bytes=question.size,
        content_hash=question.content_hash,
        workflow_id=question.workflow_id,
        step_id=question.step_id,
        output_content=question.content,
        capabilities=(question.capability,) if question.capability else (),
        risk_tags=question.risk_tags,
        principal_id=question.principal_id,
        pack_id=question.pack_id,
        content_type=question.content_type,
        original_labels=question.labels,
        content_state=(
            output_pb2.CONTENT_STATE_TRUNCATED
            if question.size > len(question.content)
            else output_pb2.CONTENT_STATE_WHOLE
        ),
    )


def _answer(answer: output_pb2.OutputCheckResponse | None) -> OutputAnswer:
    """The answer as our type; raises ValueError for one that makes no sense. gRPC gives None for an unreadable one."""
    if answer is None:
        raise ValueError("an answer that cannot be read")
    match answer.decision:
        case output_pb2.OUTPUT_DECISION_ALLOW:
            # The decision is 0 on the wire, as is that of an answer nobody has filled in: only a policy that names
            # itself has allowed anything.
            if not answer.policy_snapshot:
                raise ValueError("an answer that names no policy")
            decision = OutputDecision.ALLOW
        case output_pb2.OUTPUT_DECISION_QUARANTINE:
            decision = OutputDecision.DENY if answer.denied else OutputDecision.QUARANTINE
        case output_pb2.OUTPUT_DECISION_REDACT:
            decision = OutputDecision.REDACT
        case other:
            raise ValueError(f"the unknown decision {other}")
    return OutputAnswer(
        decision=decision,
        reason=answer.reason,
        rule_id=answer.rule_id,
        snapshot=answer.policy_snapshot,
        findings=tuple(
            OutputFinding(
                type=finding.type,
                severity=finding.severity,
                detail=finding.detail,
                offset=finding.offset,
                length=finding.length,
                scanner=finding.scanner,
                confidence=finding.confidence,
                matched_pattern=finding.matched_pattern,
                digest=finding.digest,
                source=finding.source,
            )
            for finding in answer.findings
        ),
        redacted=answer.redacted_content or None,
        redacted_message=answer.redacted_error_message,
    )
