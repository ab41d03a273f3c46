"""What the machine gives to Python servers that do nothing: no row of the same kind can be faster."""

from dataclasses import replace

from bench import baseline, goals
from bench.http import Endpoint, build_request
from bench.lab import Effort, Lab
from bench.rows.kernel import call_for
from bench.rows.reads import closed
from bench.rows.row import Row
from bench.stats import Run


async def hello_http(lab: Lab, effort: Effort) -> Run:
    async with baseline.server("http") as (port, pid):
        endpoint = Endpoint("127.0.0.1", port)
        request = build_request("GET", "/health", endpoint, {"X-API-Key": "k" * 64, "X-Tenant-ID": "default"})
        return await closed(_with(lab, pid), endpoint, effort, lambda _: request)


async def hello_grpc(lab: Lab, effort: Effort) -> Run:
    async with baseline.server("grpc") as (port, pid):
        return await call_for(_with(lab, pid), f"127.0.0.1:{port}", effort, baseline.METHOD, [b"x" * 131], 16, 1)


def _with(lab: Lab, pid: int) -> Lab:
    """The same laboratory, its meter on the baseline's process."""
    return Lab(replace(lab.addresses, pids={"baseline": [pid]}), lab.workload)


ROWS = (
    Row(
        goals.HELLO_HTTP,
        hello_http,
        note="uvicorn with a bare ASGI function, 32 connections: the ceiling of GET /health",
    ),
    Row(goals.HELLO_GRPC, hello_grpc, note="grpc.aio echoing 131 bytes, 16 callers: the ceiling of unary Check"),
)
