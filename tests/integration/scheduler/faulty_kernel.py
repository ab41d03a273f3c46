"""A safety kernel that does as it is told: what a real one does only when it breaks, it does now.

Its messages are those of the contract, over real gRPC; only the decisions are the test's.
"""

import asyncio
from collections.abc import Awaitable, Callable

import grpc
from cap.pb.cordum.agent.v1 import safety_pb2

from cordum.rpc.gen.cordum.v1 import kernel_pb2, output_pb2, output_scope_pb2

SNAPSHOT = "told:1"

Check = Callable[[output_pb2.OutputCheckRequest], Awaitable[bytes]]
Decide = Callable[[bytes], Awaitable[bytes]]


async def allow(_: bytes) -> bytes:
    """The answer to one question about a job."""
    return bytes(safety_pb2.PolicyCheckResponse(decision=1, policy_snapshot=SNAPSHOT).SerializeToString())


async def nonsense(_: object) -> bytes:
    return b"\xff\xff\xff\xff\xff"


async def never(_: object) -> bytes:
    await asyncio.Event().wait()
    raise AssertionError


def released() -> bytes:
    return output_pb2.OutputCheckResponse(policy_snapshot=SNAPSHOT).SerializeToString()


async def release(_: output_pb2.OutputCheckRequest) -> bytes:
    return released()


class FaultyKernel:
    """Serves checks of jobs, checks of results, and the scope of the output rules.

    Attributes:
        decide: answers one question about a job; `check` one about a result.
        asked: every question about a result, in order.
        topics: globs of the output rules.
    """

    def __init__(self) -> None:
        self.decide: Decide = allow
        self.check: Check = release
        self.asked: list[output_pb2.OutputCheckRequest] = []
        self.scopes_asked = 0
        self.everything = False
        self.topics: tuple[str, ...] = ()
        self._server: grpc.aio.Server | None = None

    async def start(self, port: int) -> None:
        self._server = grpc.aio.server()
        for name, calls in (
            ("cordum.v1.SafetyKernelBatch", {"CheckBatch": self._check_batch}),
            ("cordum.agent.v1.SafetyKernel", {"Check": self._check, "ListSnapshots": self._snapshots}),
            ("cordum.v1.OutputPolicyService", {"CheckOutput": self._check_output}),
            ("cordum.v1.OutputScope", {"Describe": self._describe}),
        ):
            handlers = {method: grpc.unary_unary_rpc_method_handler(call) for method, call in calls.items()}
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
        assert self._server.add_insecure_port(f"127.0.0.1:{port}") == port
        await self._server.start()

    async def aclose(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    async def _check_batch(self, request: bytes, _: object) -> bytes:
        asked = kernel_pb2.CheckBatchRequest.FromString(request).requests
        answers = [await self.decide(question) for question in asked]
        return kernel_pb2.CheckBatchResponse(responses=answers).SerializeToString()

    async def _check(self, request: bytes, _: object) -> bytes:
        return await self.decide(request)

    async def _snapshots(self, _: bytes, __: object) -> bytes:
        return bytes(safety_pb2.ListSnapshotsResponse(snapshots=[SNAPSHOT]).SerializeToString())

    async def _check_output(self, request: bytes, _: object) -> bytes:
        question = output_pb2.OutputCheckRequest.FromString(request)
        self.asked.append(question)
        return await self.check(question)

    async def _describe(self, _: bytes, __: object) -> bytes:
        self.scopes_asked += 1
        return output_scope_pb2.OutputScopeResponse(
            snapshot=SNAPSHOT, everything=self.everything, topics=self.topics
        ).SerializeToString()
