"""The stack as such: how long it takes to start, what it costs while idle, how often a job goes to Redis."""

import asyncio
import time

from bench import goals, own, procs
from bench.lab import BenchError, Effort, Lab
from bench.redis_info import Counters, RedisInfo
from bench.rows.row import Row
from bench.stats import Run

_IDLE_S = 5.0
_TRIP_JOBS = 100
_TRIP_PACE_S = 0.02  # one job at a time, so that group commit cannot share a trip between jobs
_TRIP_SETTLE_S = 1.0


async def cold_start(lab: Lab, _effort: Effort) -> Run:
    """From nothing to every part ready, in a new data directory; a second stack beside the one that is measured."""
    async with own.stack(lab.workload) as addresses:
        return Run(value=addresses.started_in)


async def idle_memory(lab: Lab, _effort: Effort) -> Run:
    """Proportional memory of all processes of the stack (resident where the kernel does not tell), in MB."""
    sizes = {name: [procs.memory(pid) for pid in pids] for name, pids in lab.addresses.pids.items()}
    flat = [size for group in sizes.values() for size in group]
    if not flat:
        raise BenchError("no process of the stack is known: give --pid name=pid")
    whole = all(size.pss for size in flat)
    extra = {
        f"{name}_mb": sum(size.pss if whole else size.rss for size in group) / 1e6 for name, group in sizes.items()
    }
    extra["rss_mb"] = sum(size.rss for size in flat) / 1e6
    return Run(value=sum(size.pss if whole else size.rss for size in flat) / 1e6, extra=extra)


async def idle_cpu(lab: Lab, _effort: Effort) -> Run:
    """CPU time of all processes of the stack over five quiet seconds, in per cent of one core."""
    async with lab.metered() as reading:
        await asyncio.sleep(_IDLE_S)
    shares = {
        name: 100 * seconds / reading.elapsed for name, seconds in reading.spent.by_name.items() if name != procs.DRIVER
    }
    return Run(
        value=sum(shares.values()),
        extra={f"{name}_percent": share for name, share in shares.items()},
        others=reading.others,
    )


async def redis_trips(lab: Lab, _effort: Effort) -> Run:
    """Socket reads Redis counts while jobs go through one after the other, less those of an idle stretch, per job.

    A trip is a read event of the server: a pipeline that arrives in one piece is one.
    """
    worker = await lab.worker()
    request, redis = lab.submit_request(), RedisInfo(lab.addresses.redis)
    try:
        before = await redis.counters()
        started = time.perf_counter()
        for _ in range(_TRIP_JOBS):
            status, _body = await lab.client(request)
            if not 200 <= status < 300:
                raise BenchError(f"POST /jobs answered {status}")
            await asyncio.sleep(_TRIP_PACE_S)
        done = await worker.answered_all(_TRIP_JOBS, 30.0)
        await asyncio.sleep(_TRIP_SETTLE_S)
        busy, busy_s = await redis.counters(), time.perf_counter() - started
        await asyncio.sleep(busy_s)
        idle = await redis.counters()
    finally:
        await redis.aclose()
    reads, commands = _per_job(before, busy, idle)
    faults = () if done else (f"only {worker.answered} of {_TRIP_JOBS} jobs reached the worker",)
    return Run(value=reads, extra={"commands": commands}, faults=faults)


def _per_job(before: Counters, busy: Counters, idle: Counters) -> tuple[float, float]:
    reads = (busy.reads - before.reads) - (idle.reads - busy.reads)
    commands = (busy.commands - before.commands) - (idle.commands - busy.commands)
    return reads / _TRIP_JOBS, commands / _TRIP_JOBS


ROWS = (
    Row(
        goals.COLD_START,
        cold_start,
        needs=("started_in",),
        warm=False,
        note="a new data directory until every part is ready",
    ),
    Row(
        goals.IDLE_MEMORY,
        idle_memory,
        needs=("pids",),
        warm=False,
        note="proportional set size, all processes of the stack",
    ),
    Row(goals.IDLE_CPU, idle_cpu, needs=("pids",), warm=False, note="over 5 s without work"),
)
TRIPS = Row(
    goals.REDIS_TRIPS,
    redis_trips,
    needs=("http", "nats", "redis"),
    warm=False,
    note="server's count of socket reads (INFO total_reads_processed), jobs one by one, idle reads taken off",
)
