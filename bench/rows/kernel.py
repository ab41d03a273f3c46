"""The safety kernel's gRPC: one decision a call, and 256 a call. The driver passes bytes through as they are."""

import asyncio
import time

import grpc
import grpc.aio

from bench import goals
from bench.lab import BenchError, Effort, Lab
from bench.packets import decision, policy_checks
from bench.rows.row import Measure, Row
from bench.stats import Run, latencies_ms
from cordum.rpc.gen.cordum.v1 import kernel_pb2

_CHECK = "/cordum.agent.v1.SafetyKernel/Check"
_CHECK_BATCH = "/cordum.v1.SafetyKernelBatch/CheckBatch"
_BATCH = 256
_BATCHES_IN_FLIGHT = 4
_CALL_S = 10.0


async def call_for(
    lab: Lab, address: str, effort: Effort, method: str, payloads: list[bytes], callers: int, size: int
) -> Run:
    """`callers` tasks call `method` one after the other until the time is up; `size` decisions a call."""
    latencies: list[float] = []
    clock = time.perf_counter
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary(method, request_serializer=None, response_deserializer=None)
        await call(payloads[0], timeout=_CALL_S)
        async with lab.metered() as reading:
            start = clock()
            until = start + effort.seconds

            async def caller(index: int) -> None:
                now = clock()
                while now < until:
                    await call(payloads[index % len(payloads)], timeout=_CALL_S)
                    index += callers
                    before, now = now, clock()
                    latencies.append(now - before)

            await asyncio.gather(*(caller(index) for index in range(callers)))
            elapsed = clock() - start
    done = len(latencies) * size
    p50, p99 = latencies_ms(latencies)
    return Run(
        value=done / elapsed, p50_ms=p50, p99_ms=p99, cpu_us=reading.spent.per_operation(done), others=reading.others
    )


async def _expect_allow(address: str, method: str, payload: bytes) -> None:
    """The rows measure decisions, not refusals: the workload's topic must be allowed."""
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary(method, request_serializer=None, response_deserializer=None)
        answer: bytes = await call(payload, timeout=_CALL_S)
    if method == _CHECK_BATCH:
        answer = kernel_pb2.CheckBatchResponse.FromString(answer).responses[0]
    allowed, reason = decision(answer)
    if not allowed:
        raise BenchError(f"the kernel does not allow the bench's topic: {reason!r}")


def _unary(callers: int) -> Measure:
    async def measure(lab: Lab, effort: Effort) -> Run:
        requests = policy_checks(512, lab.workload.topic, lab.workload.tenant)
        await _expect_allow(lab.addresses.kernel, _CHECK, requests[0])
        return await call_for(lab, lab.addresses.kernel, effort, _CHECK, requests, callers, 1)

    return measure


async def check_batch(lab: Lab, effort: Effort) -> Run:
    requests = policy_checks(8 * _BATCH, lab.workload.topic, lab.workload.tenant)
    batches = [
        kernel_pb2.CheckBatchRequest(requests=requests[at : at + _BATCH]).SerializeToString()
        for at in range(0, len(requests), _BATCH)
    ]
    await _expect_allow(lab.addresses.kernel, _CHECK_BATCH, batches[0])
    return await call_for(lab, lab.addresses.kernel, effort, _CHECK_BATCH, batches, _BATCHES_IN_FLIGHT, _BATCH)


ROWS = (
    Row(
        goals.CHECK_UNARY_1,
        _unary(1),
        needs=("kernel",),
        note="grpc.aio on both sides; half of the CPU is the caller's",
    ),
    Row(goals.CHECK_UNARY_16, _unary(16), needs=("kernel",), note="as above, 16 in flight"),
    Row(
        goals.CHECK_BATCH,
        check_batch,
        needs=("kernel",),
        note="four calls in flight, 2,048 different requests; latency is a call's",
    ),
)
