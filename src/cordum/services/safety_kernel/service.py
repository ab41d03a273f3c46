"""The kernel's gRPC services: the standard one and the batch one, with messages as raw bytes (spec-safety section 2).

Policy outcomes are never gRPC errors. All standard calls share one evaluation; nothing is recorded by any of them.
"""

import time
from collections.abc import Callable

import grpc
from cap.pb.cordum.agent.v1 import safety_pb2
from google.protobuf.message import DecodeError

from cordum.core.ids import SnapshotId
from cordum.core.policy.evaluate import JOB_TOPICS
from cordum.rpc.gen.cordum.v1 import kernel_pb2
from cordum.rpc.server import Service
from cordum.runtime import metrics
from cordum.services.safety_kernel.judge import Judge

STANDARD = "cordum.agent.v1.SafetyKernel"
BATCH = "cordum.v1.SafetyKernelBatch"
MAX_BATCH = 1024

Context = grpc.aio.ServicerContext[bytes, bytes]
Snapshots = Callable[[], tuple[SnapshotId, ...]]


class KernelCalls:
    """The calls; each takes and gives bytes."""

    def __init__(self, judge: Judge, snapshots: Snapshots) -> None:
        self._judge = judge
        self._snapshots = snapshots

    async def check(self, request: bytes, context: Context) -> bytes:
        """Check, Evaluate, Explain and Simulate."""
        started = time.perf_counter()
        answer = self._judge.answer(request)
        self._observe(started)
        return answer

    async def check_batch(self, request: bytes, context: Context) -> bytes:
        """CheckBatch: one decision per request, in order."""
        started = time.perf_counter()
        try:
            requests = kernel_pb2.CheckBatchRequest.FromString(request).requests
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not a CheckBatchRequest")
        if len(requests) > MAX_BATCH:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"{len(requests)} requests; at most {MAX_BATCH} in one batch"
            )
        answer = self._judge.answer_batch(requests)
        if requests:
            self._observe(started)
        return answer

    async def explain_in_detail(self, request: bytes, context: Context) -> bytes:
        """ExplainInDetail: the decision and the rules that were tried."""
        try:
            asked = kernel_pb2.ExplainInDetailRequest.FromString(request).request
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not an ExplainInDetailRequest")
        return self._judge.explain(asked).SerializeToString()

    async def list_snapshots(self, request: bytes, context: Context) -> bytes:
        """ListSnapshots: newest first."""
        answer: bytes = safety_pb2.ListSnapshotsResponse(snapshots=self._snapshots()).SerializeToString()
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


def services(judge: Judge, snapshots: Snapshots) -> list[Service]:
    """What the kernel's gRPC server serves besides health."""
    calls = KernelCalls(judge, snapshots)
    standard = dict.fromkeys(("Check", "Evaluate", "Explain", "Simulate"), calls.check)
    return [
        _service(STANDARD, {**standard, "ListSnapshots": calls.list_snapshots}),
        _service(BATCH, {"CheckBatch": calls.check_batch, "ExplainInDetail": calls.explain_in_detail}),
    ]


def _service(name: str, calls: dict[str, Callable[..., object]]) -> Service:
    # Without (de)serialisers gRPC hands the bytes through.
    handlers = {method: grpc.unary_unary_rpc_method_handler(call) for method, call in calls.items()}
    handler = grpc.method_handlers_generic_handler(name, handlers)
    return Service(name, lambda server: server.add_generic_rpc_handlers((handler,)))
