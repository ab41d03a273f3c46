"""The kernel's gRPC services: the standard one and the batch one, with messages as raw bytes (spec-safety section 2).

Policy outcomes are never gRPC errors. All standard calls share one evaluation; Check, Evaluate and CheckBatch take a
place in the windows of velocity rules, Simulate and Explain only look.
"""

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

import grpc
from cap.pb.cordum.agent.v1 import safety_pb2
from google.protobuf.message import DecodeError

from cordum.core.ids import SnapshotId
from cordum.core.policy.evaluate import JOB_TOPICS
from cordum.rpc.gen.cordum.v1 import kernel_pb2
from cordum.rpc.server import Service
from cordum.runtime import metrics
from cordum.services.safety_kernel.actions import ActionGates
from cordum.services.safety_kernel.callers import Callers, without_service_labels
from cordum.services.safety_kernel.counting import Counting, Recording
from cordum.services.safety_kernel.errors import LoadError
from cordum.services.safety_kernel.judge import Judge
from cordum.services.safety_kernel.trial import Trials, TrialsBusyError, TrialTooLargeError

STANDARD = "cordum.agent.v1.SafetyKernel"
BATCH = "cordum.v1.SafetyKernelBatch"
MAX_BATCH = 1024

Context = grpc.aio.ServicerContext[bytes, bytes]
Observe = Callable[[Iterable[bytes]], None]
"""Told of requests that were decided; must be quick."""
Snapshots = Callable[[], Awaitable[tuple[SnapshotId, ...]]]


class KernelCalls:
    """The calls; each takes and gives bytes."""

    def __init__(
        self,
        judge: Judge,
        actions: ActionGates,
        counting: Counting,
        snapshots: Snapshots,
        trials: Trials,
        callers: Callers,
        observe: Observe,
    ) -> None:
        self._judge = judge
        self._actions = actions
        self._counting = counting
        self._snapshots = snapshots
        self._trials = trials
        self._callers = callers
        self._observed = observe

    async def check(self, request: bytes, context: Context) -> bytes:
        """Check and Evaluate."""
        return await self._answer(request, context, Recording.RECORD)

    async def simulate(self, request: bytes, context: Context) -> bytes:
        """Simulate and Explain: the same decision, and nothing is left behind."""
        return await self._answer(request, context, Recording.PEEK)

    async def _answer(self, request: bytes, context: Context, recording: Recording) -> bytes:
        started = time.perf_counter()
        if not self._callers.trusts(context):
            request = without_service_labels(request)
        objections = await self._actions.objections((request,), self._judge.default_tenant)
        counted = await self._counting.one(request, recording)
        answer = self._judge.answer(request, counted, objections[0] if objections else None)
        if recording is Recording.RECORD:
            self._observed((request,))
        self._observe(started)
        return answer

    async def check_batch(self, request: bytes, context: Context) -> bytes:
        """CheckBatch: one decision per request, in order."""
        started = time.perf_counter()
        requests: Sequence[bytes]
        try:
            requests = kernel_pb2.CheckBatchRequest.FromString(request).requests
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not a CheckBatchRequest")
        if len(requests) > MAX_BATCH:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"{len(requests)} requests; at most {MAX_BATCH} in one batch"
            )
        if not self._callers.trusts(context):
            requests = [without_service_labels(one) for one in requests]
        objections = await self._actions.objections(requests, self._judge.default_tenant)
        counted = await self._counting.counted(requests, Recording.RECORD)
        answer = self._judge.answer_batch(requests, counted, objections)
        if requests:
            self._observed(requests)
            self._observe(started)
        return answer

    async def explain_in_detail(self, request: bytes, context: Context) -> bytes:
        """ExplainInDetail: the decision and the rules that were tried."""
        try:
            asked = kernel_pb2.ExplainInDetailRequest.FromString(request).request
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not an ExplainInDetailRequest")
        if not self._callers.trusts(context):
            asked = without_service_labels(asked)
        objections = await self._actions.objections((asked,), self._judge.default_tenant)
        counted = await self._counting.one(asked, Recording.PEEK)
        return self._judge.explain(asked, counted, objections[0] if objections else None).SerializeToString()

    async def trial(self, request: bytes, context: Context) -> bytes:
        """Trial: what a candidate policy would decide. It shows the policy and costs time, so not for everybody."""
        if not self._callers.trusts(context):
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "trials are for trusted callers")
        try:
            asked = kernel_pb2.TrialRequest.FromString(request)
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not a TrialRequest")
        try:
            answer = await self._trials.run(asked)
        except TrialTooLargeError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.message)
        except TrialsBusyError as error:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, error.message)
        except LoadError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, error.message)
        return answer.SerializeToString()

    async def list_snapshots(self, request: bytes, context: Context) -> bytes:
        """ListSnapshots: newest first."""
        answer: bytes = safety_pb2.ListSnapshotsResponse(snapshots=await self._snapshots()).SerializeToString()
        return answer

    def _observe(self, started: float) -> None:
        """One sample per call and topic: every decision of a batch took as long as the batch did."""
        took = time.perf_counter() - started
        decisions, topics = self._judge.take_counts()
        for topic in topics:
            metrics.EVAL_DURATION.labels(topic if topic.startswith(JOB_TOPICS) else metrics.OTHER).observe(took)
        for decision, count in decisions.items():
            if count:
                metrics.SAFETY_DECISIONS.labels(decision.value).inc(count)


def services(calls: KernelCalls) -> list[Service]:
    """What the kernel's gRPC server serves besides health."""
    standard = {
        **dict.fromkeys(("Check", "Evaluate"), calls.check),
        **dict.fromkeys(("Explain", "Simulate"), calls.simulate),
        "ListSnapshots": calls.list_snapshots,
    }
    return [
        _service(STANDARD, standard),
        _service(
            BATCH, {"CheckBatch": calls.check_batch, "ExplainInDetail": calls.explain_in_detail, "Trial": calls.trial}
        ),
    ]


def _service(name: str, calls: Mapping[str, Callable[..., object]]) -> Service:
    # Without (de)serialisers gRPC hands the bytes through.
    handlers = {method: grpc.unary_unary_rpc_method_handler(call) for method, call in calls.items()}
    handler = grpc.method_handlers_generic_handler(name, handlers)
    return Service(name, lambda server: server.add_generic_rpc_handlers((handler,)))
