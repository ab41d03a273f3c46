"""Jobs: submitting them, running them to the end, and the time one takes at a steady pace."""

import asyncio
import time

from bench import goals
from bench.feed import feed
from bench.lab import CONNECTIONS, BenchError, Effort, Lab, new_job_id, read_job_id, read_state
from bench.load import ClosedLoop
from bench.nats import NatsClient
from bench.packets import SubmitWriter
from bench.rows.row import Row
from bench.stats import Run, latencies_ms

_DONE_WITHIN_S = 180.0
_STEADY_RATE = 100.0  # jobs per second
_STEADY_MIN_S = 10.0


async def submit(lab: Lab, effort: Effort) -> Run:
    """POST /jobs as fast as it is answered, while the stack dispatches what it accepted; then all is let finish."""
    worker = await lab.worker()
    request = lab.submit_request()
    async with lab.metered() as reading:
        loop = ClosedLoop(lab.endpoint, lambda _: request, connections=CONNECTIONS, seconds=effort.seconds)
        outcome = await loop.run()
        answered = worker.answered
    faults = outcome.faults()
    if not await worker.answered_all(outcome.good, _DONE_WITHIN_S):
        faults += (f"{outcome.good - worker.answered} of {outcome.good} jobs never reached the worker",)
    p50, p99 = latencies_ms(outcome.latencies)
    return Run(
        value=outcome.good / outcome.elapsed,
        p50_ms=p50,
        p99_ms=p99,
        cpu_us=reading.spent.per_operation(outcome.good),
        extra={"finished_meanwhile_per_s": answered / outcome.elapsed},
        others=reading.others,
        faults=faults + _doubled(worker.doubled),
    )


async def end_to_end(lab: Lab, effort: Effort) -> Run:
    """`jobs` posted at 64 connections; the clock stops when GET /jobs shows none of them active any more."""
    worker = await lab.worker()
    request, since = lab.submit_request(), time.time()
    async with lab.metered() as reading:
        loop = ClosedLoop(
            lab.endpoint, lambda _: request, connections=CONNECTIONS, count=effort.jobs, keep_bodies=effort.jobs
        )
        outcome = await loop.run()
        quiet = await _finished(lab, outcome.good, since)
    job_ids = [read_job_id(body) for body in outcome.bodies] if outcome.good == effort.jobs else []
    faults = outcome.faults() + _doubled(worker.doubled) + await _unfinished(lab, job_ids, quiet)
    p50, p99 = latencies_ms(outcome.latencies)
    return Run(
        value=outcome.good / reading.elapsed,
        p50_ms=p50,
        p99_ms=p99,
        cpu_us=reading.spent.per_operation(outcome.good),
        extra={"posted_per_s": outcome.good / outcome.elapsed},
        others=reading.others,
        faults=faults,
    )


async def scheduler(lab: Lab, effort: Effort) -> Run:
    """`jobs` packets published straight to `sys.job.submit`; the clock stops as in `end_to_end`."""
    worker = await lab.worker()
    writer = SubmitWriter(lab.workload.topic, lab.workload.tenant, lab.workload.principal, sender="api-gateway-http")
    job_ids = [new_job_id() for _ in range(effort.jobs)]
    nats = await NatsClient.connect(lab.addresses.nats, name="cordum-bench-feeder")
    try:
        since = time.time()
        async with lab.metered() as reading:
            await feed(nats, writer, job_ids, _DONE_WITHIN_S)
            quiet = await _finished(lab, effort.jobs, since)
    finally:
        nats.close()
    return Run(
        value=effort.jobs / reading.elapsed,
        cpu_us=reading.spent.per_operation(effort.jobs),
        others=reading.others,
        faults=_doubled(worker.doubled) + await _unfinished(lab, job_ids, quiet),
    )


async def steady(lab: Lab, effort: Effort) -> Run:
    """One job every 10 ms whether or not the earlier ones are done; latency counts from the moment the job was due."""
    await lab.worker()
    count = int(_STEADY_RATE * max(_STEADY_MIN_S if effort.jobs >= 1_000 else 0.0, effort.seconds))
    request, clock = lab.submit_request(), time.perf_counter
    latencies: list[float] = []
    faults: dict[str, int] = {}

    async def one(due: float) -> None:
        try:
            status, body = await lab.client(request)
            if not 200 <= status < 300:
                raise BenchError(f"POST /jobs answered {status}")
            status, body = await lab.client(lab.get(f"/jobs/{read_job_id(body)}?wait=30s"))
            if status != 200 or read_state(body) != "SUCCEEDED":
                raise BenchError(f"GET /jobs/{{id}}?wait=30s answered {status} {read_state(body)}")
        except Exception as error:
            said = str(error) or type(error).__name__
            faults[said] = faults.get(said, 0) + 1
            return
        latencies.append(clock() - due)

    async with lab.metered() as reading:
        start = clock() + 0.05
        async with asyncio.TaskGroup() as group:
            for index in range(count):
                due = start + index / _STEADY_RATE
                await asyncio.sleep(max(0.0, due - clock()))
                group.create_task(one(due))
    p50, p99 = latencies_ms(latencies)
    return Run(
        value=len(latencies) / reading.elapsed,
        p50_ms=p50,
        p99_ms=p99,
        cpu_us=reading.spent.per_operation(len(latencies)),
        extra={"max_ms": max(latencies, default=0.0) * 1e3},
        others=reading.others,
        faults=tuple(f"{times} times: {said}" for said, times in faults.items()),
    )


async def _finished(lab: Lab, count: int, since: float) -> bool:
    """Whether the worker answered `count` jobs and then no job is active any more."""
    worker = lab.running_worker
    return await worker.answered_all(count, _DONE_WITHIN_S) and await lab.all_quiet(since, _DONE_WITHIN_S)


async def _unfinished(lab: Lab, job_ids: list[str], quiet: bool) -> tuple[str, ...]:
    """Off the clock: every single job must show SUCCEEDED."""
    succeeded = await lab.count_succeeded(job_ids) if job_ids else 0
    said = [] if quiet else [f"jobs were still active after {_DONE_WITHIN_S:.0f} s"]
    if succeeded < len(job_ids):
        said.append(f"{len(job_ids) - succeeded} of {len(job_ids)} jobs did not succeed")
    return tuple(said)


def _doubled(count: int) -> tuple[str, ...]:
    return (f"{count} jobs were dispatched twice",) if count else ()


ROWS = (
    Row(
        goals.STEADY,
        steady,
        needs=("http", "nats"),
        note="open loop, latency from the due time through GET /jobs/{id}?wait=30s",
    ),
    Row(goals.SUBMIT, submit, needs=("http", "nats"), note="the scheduler dispatches and the worker answers meanwhile"),
    Row(
        goals.E2E,
        end_to_end,
        needs=("http", "nats"),
        note="until GET /jobs shows none active; then every job is read once",
    ),
    Row(goals.SCHEDULER, scheduler, needs=("http", "nats"), note="packets on sys.job.submit; ends as the row above"),
)
