"""The gateway's and the scheduler's way to the safety kernel: batched, bounded in time, never an allow by itself.

spec-safety sections 2 and 3, spec-scheduler sections 8.2 and 16, guide section 11 ("Safety Kernel Unreachable").
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import grpc
import msgspec
from cap.pb.cordum.agent.v1 import safety_pb2, safety_pb2_grpc
from google.protobuf.message import DecodeError

from cordum.core.errors import CordumError
from cordum.core.ids import micros
from cordum.core.policy.decision import Decision, Verdict
from cordum.rpc import convert
from cordum.rpc.breaker import Breaker, BreakerState
from cordum.rpc.channel import ClientTls, open_channel
from cordum.rpc.gen.cordum.v1 import kernel_pb2, kernel_pb2_grpc
from cordum.runtime.clock import Clock
from cordum.runtime.groupcommit import GroupClosedError, GroupCommit, OverloadedError
from cordum.runtime.settings import KernelClientSettings

CHECK_TIMEOUT_SECONDS = 2.0
EVALUATE_TIMEOUT_SECONDS = 5.0
TRIAL_TIMEOUT_SECONDS = 60.0
"""A trial compiles a whole policy, and may search for differences."""
MAX_BATCH = 256
MAX_BATCH_BYTES = 8 * 1024 * 1024
MAX_REQUEST_BYTES = 4 * 1024 * 1024
BATCH_RETRY_SECONDS: Final = 60.0
"""How long a kernel without CheckBatch is spoken to one by one before the batch call is tried again."""
_REMEMBERED_ANSWERS = 4096

Answer = TypeVar("Answer")

_TOO_LARGE = Verdict(decision=Decision.DENY, reason="the job is too large for the safety kernel to judge")


class KernelUnavailableError(CordumError):
    """The safety kernel gave no decision, so there is none."""

    code = "safety_unavailable"


class TrialRefusedError(CordumError):
    """The safety kernel does not make this trial: it asks for too much."""

    code = "policy_trial_refused"


class _NotImplementedThereError(KernelUnavailableError):
    """The kernel is there and does not offer this call."""


class KernelClient:
    """One channel to the safety kernel, shared by everything in the process.

    Every method but `aclose` and `wait_closed` raises KernelUnavailableError when the kernel cannot be reached, does
    not answer in time, answers something else than asked, or while the circuit breaker is open.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        clock: Clock,
        *,
        max_in_flight: int = 4,
        check_timeout: float = CHECK_TIMEOUT_SECONDS,
        evaluate_timeout: float = EVALUATE_TIMEOUT_SECONDS,
    ) -> None:
        """Takes over the channel (closed by `aclose`); timeouts in seconds."""
        self._channel = channel
        self._clock = clock
        self._check_timeout = check_timeout
        self._evaluate_timeout = evaluate_timeout
        self._standard = safety_pb2_grpc.SafetyKernelStub(channel)
        self._batched = kernel_pb2_grpc.SafetyKernelBatchStub(channel)
        self._unary_until = 0.0
        self._breaker = Breaker()
        self._closed = asyncio.Event()
        self._closed.set()
        self._recovery: asyncio.Task[None] | None = None
        self._verdicts: dict[bytes, Verdict] = {}
        self._waiting: GroupCommit[bytes, Verdict] = GroupCommit(
            self._send, name="kernel", max_batch=MAX_BATCH, max_in_flight=max_in_flight
        )

    @classmethod
    def from_settings(cls, settings: KernelClientSettings, clock: Clock) -> "KernelClient":
        """Opens the channel the settings describe; nothing is sent yet. Raises ChannelError for unusable TLS files."""
        return cls(
            open_channel(
                str(settings.safety_kernel_addr),
                tls_of(settings),
                keepalive=settings.grpc_client_keepalive_time,
                keepalive_timeout=settings.grpc_client_keepalive_timeout,
            ),
            clock,
        )

    @property
    def state(self) -> BreakerState:
        """Whether calls pass (closed), fail at once (open), or a probe is on its way (half_open)."""
        return self._breaker.state

    @property
    def batches(self) -> int:
        """How many groups of checks were sent so far."""
        return self._waiting.batches

    async def wait_closed(self) -> None:
        """Returns once the breaker is closed: at once when it is, else when a probe has been answered."""
        await self._closed.wait()

    async def check(self, request: safety_pb2.PolicyCheckRequest) -> Verdict:
        """The kernel's verdict on one job; what waits at the same moment travels in one call."""
        self._ask_breaker()
        wire: bytes = request.SerializeToString()
        if len(wire) > MAX_REQUEST_BYTES:
            return msgspec.structs.replace(_TOO_LARGE, checked_at=micros(self._clock.now()))
        try:
            return await self._waiting.submit(wire)
        except (OverloadedError, GroupClosedError) as error:
            raise KernelUnavailableError(f"the safety kernel is not asked: {error.message}") from error

    async def evaluate(self, request: safety_pb2.PolicyCheckRequest) -> safety_pb2.PolicyCheckResponse:
        """The kernel's plain answer, for the policy API."""
        return await self._standard_call(self._standard.Evaluate, request)

    async def simulate(self, request: safety_pb2.PolicyCheckRequest) -> safety_pb2.PolicyCheckResponse:
        """As `evaluate`, leaving no trace in anything the policy counts."""
        return await self._standard_call(self._standard.Simulate, request)

    async def explain(self, request: safety_pb2.PolicyCheckRequest) -> safety_pb2.PolicyCheckResponse:
        """As `simulate`; see `explain_in_detail` for the reasons."""
        return await self._standard_call(self._standard.Explain, request)

    async def explain_in_detail(self, request: safety_pb2.PolicyCheckRequest) -> kernel_pb2.ExplainInDetailResponse:
        """The decision with the rules that were tried; only the response when the kernel can do no more."""
        self._ask_breaker()
        question = kernel_pb2.ExplainInDetailRequest(request=request.SerializeToString())
        try:
            return await self._call(self._batched.ExplainInDetail, question, self._evaluate_timeout)
        except _NotImplementedThereError:
            answer = await self.explain(request)
        return kernel_pb2.ExplainInDetailResponse(response=answer.SerializeToString())

    async def trial(self, request: kernel_pb2.TrialRequest) -> kernel_pb2.TrialResponse:
        """What a candidate policy would decide (see TrialRequest); nothing in force changes and nothing is counted.

        A trial that fails says nothing about the kernel's decisions, so the breaker does not hear of it.

        Raises:
            TrialRefusedError: it asks for too much; the message says of what.
        """
        self._ask_breaker()
        try:
            answer: kernel_pb2.TrialResponse | None = await self._batched.Trial(request, timeout=TRIAL_TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                raise TrialRefusedError(error.details()) from error
            raise KernelUnavailableError(f"the safety kernel made no trial: {_described(error)}") from error
        except grpc.aio.BaseError as error:
            raise KernelUnavailableError(f"the safety kernel cannot be asked: {error}") from error
        if answer is None or not _is_complete(answer, len(request.requests)):
            raise KernelUnavailableError("the safety kernel gave an answer to a trial that makes no sense")
        return answer

    async def snapshots(self) -> tuple[str, ...]:
        """The ids of the policies the kernel had, newest first."""
        answer = await self._standard_call(self._standard.ListSnapshots, safety_pb2.ListSnapshotsRequest())
        return tuple(answer.snapshots)

    async def aclose(self) -> None:
        """Fails what still waits and closes the channel."""
        if self._recovery is not None:
            self._recovery.cancel()
            await asyncio.gather(self._recovery, return_exceptions=True)
        await self._waiting.aclose()
        await self._channel.close(None)

    # Calls

    async def _standard_call(
        self, call: Callable[..., Awaitable[Answer]], request: safety_pb2.PolicyCheckRequest
    ) -> Answer:
        self._ask_breaker()
        answer = await self._call(call, request, self._evaluate_timeout)
        if isinstance(answer, safety_pb2.PolicyCheckResponse) and (fault := convert.nonsense_in(answer)):
            raise self._nonsense(fault)
        self._breaker.call_succeeded()
        return answer

    async def _call(self, call: Callable[..., Awaitable[Answer]], request: object, timeout: float) -> Answer:
        """One gRPC call; whatever goes wrong is KernelUnavailableError and counts as a failure."""
        try:
            answer = await call(request, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                raise _NotImplementedThereError("the safety kernel does not know this call") from error
            raise self._failed(error) from error
        except grpc.aio.BaseError as error:
            raise KernelUnavailableError(f"the safety kernel cannot be asked: {error}") from error
        # gRPC gives None for an answer that is not of the expected type.
        if answer is None:
            raise self._nonsense("an answer that cannot be read")
        return answer

    async def _send(self, waiting: Sequence[bytes]) -> Sequence[Verdict | BaseException]:
        """Answers one group: a verdict or the reason why there is none, in order."""
        verdicts: list[Verdict | BaseException] = []
        for part in _parts(waiting):
            try:
                verdicts.extend(await self._ask(part))
            except KernelUnavailableError as error:
                verdicts.extend([error] * len(part))
        return verdicts

    async def _ask(self, part: Sequence[bytes]) -> list[Verdict]:
        self._ask_breaker()
        if self._clock.monotonic() < self._unary_until:
            return await self._ask_one_by_one(part)
        try:
            answer = await self._call(
                self._batched.CheckBatch, kernel_pb2.CheckBatchRequest(requests=part), self._check_timeout
            )
        except _NotImplementedThereError:
            self._unary_until = self._clock.monotonic() + BATCH_RETRY_SECONDS
            return await self._ask_one_by_one(part)
        if len(answer.responses) != len(part):
            raise self._nonsense(f"{len(answer.responses)} answers to {len(part)} requests")
        return self._verdicts_from(answer.responses)

    async def _ask_one_by_one(self, part: Sequence[bytes]) -> list[Verdict]:
        answers = await asyncio.gather(
            *(
                self._call(self._standard.Check, safety_pb2.PolicyCheckRequest.FromString(wire), self._check_timeout)
                for wire in part
            )
        )
        return self._verdicts_from([answer.SerializeToString() for answer in answers])

    def _verdicts_from(self, answers: Sequence[bytes]) -> list[Verdict]:
        now = self._clock.now()
        stamp = micros(now)
        verdicts = []
        for answer in answers:
            known = self._verdicts.get(answer)
            if known is None:
                verdicts.append(self._read(answer, now))
            else:
                verdicts.append(msgspec.structs.replace(known, checked_at=stamp))
        self._breaker.call_succeeded()
        return verdicts

    def _read(self, answer: bytes, now: float) -> Verdict:
        """Most answers are one of a few: those that name no job are remembered by their bytes."""
        try:
            response = safety_pb2.PolicyCheckResponse.FromString(answer)
        except DecodeError as error:
            raise self._nonsense("an answer that cannot be read") from error
        if fault := convert.nonsense_in(response):
            raise self._nonsense(fault)
        verdict = convert.verdict_from_response(response, now)
        if not response.approval_ref:
            if len(self._verdicts) >= _REMEMBERED_ANSWERS:
                self._verdicts.clear()
            self._verdicts[answer] = verdict
        return verdict

    # The breaker

    def _ask_breaker(self) -> None:
        if not self._breaker.admits():
            raise KernelUnavailableError("the safety kernel does not answer: circuit open")

    def _failed(self, error: grpc.aio.AioRpcError) -> KernelUnavailableError:
        self._count_failure()
        return KernelUnavailableError(f"the safety kernel gave no decision: {_described(error)}")

    def _nonsense(self, what: str) -> KernelUnavailableError:
        self._count_failure()
        return KernelUnavailableError(f"the safety kernel gave {what}")

    def _count_failure(self) -> None:
        self._breaker.call_failed(self._clock.monotonic())
        if not self._breaker.admits() and self._closed.is_set():
            self._closed.clear()
            self._recovery = asyncio.create_task(self._recover(), name="kernel-breaker")

    async def _recover(self) -> None:
        """Probes until the kernel answers; ordinary calls fail at once meanwhile."""
        while True:
            await self._clock.sleep(self._breaker.probe_in(self._clock.monotonic()))
            if not self._breaker.start_probe(self._clock.monotonic()):
                continue
            if not await self._answers():
                self._breaker.probe_failed(self._clock.monotonic())
                continue
            self._breaker.probe_succeeded()
            self._closed.set()
            return

    async def _answers(self) -> bool:
        """Whether the kernel answers an empty batch, or says that it knows no batches, which is an answer too."""
        try:
            answer: object = await self._batched.CheckBatch(kernel_pb2.CheckBatchRequest(), timeout=self._check_timeout)
        except grpc.aio.AioRpcError as error:
            return error.code() is grpc.StatusCode.UNIMPLEMENTED
        return answer is not None


def _described(error: grpc.aio.AioRpcError) -> str:
    return f"{error.code().name}: {error.details()}" if error.details() else error.code().name


def _is_complete(answer: kernel_pb2.TrialResponse, asked: int) -> bool:
    """A trial answers every request under both policies, or has faults and answers under the one in force."""
    if len(answer.current_responses) != asked:
        return False
    return bool(answer.faults) or (bool(answer.snapshot) and len(answer.responses) == asked)


def tls_of(settings: KernelClientSettings) -> ClientTls | None:
    """TLS whenever a CA is named; the settings have refused to load where TLS is required and there is none."""
    if not settings.safety_kernel_tls_ca:
        return None
    return ClientTls.from_files(
        settings.safety_kernel_tls_ca,
        settings.safety_kernel_tls_client_cert,
        settings.safety_kernel_tls_client_key,
    )


def _parts(waiting: Sequence[bytes]) -> list[Sequence[bytes]]:
    """Cuts a group so that no message passes MAX_BATCH_BYTES; nearly always there is one part."""
    if sum(map(len, waiting)) <= MAX_BATCH_BYTES:
        return [waiting]
    parts: list[list[bytes]] = [[]]
    size = 0
    for wire in waiting:
        if parts[-1] and size + len(wire) > MAX_BATCH_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(wire)
        size += len(wire)
    return list(parts)
