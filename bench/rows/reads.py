"""Reading: health, one job, the newest fifty. Closed loop over 32 keep-alive connections."""

from collections.abc import Callable

from bench import goals
from bench.http import Endpoint
from bench.lab import Effort, Lab
from bench.load import ClosedLoop
from bench.rows.row import Row
from bench.stats import Run, latencies_ms

_CONNECTIONS = 32
_JOBS = 1_000


async def closed(lab: Lab, endpoint: Endpoint, effort: Effort, request: Callable[[int], bytes]) -> Run:
    """One closed loop over `endpoint`, metered."""
    async with lab.metered() as reading:
        outcome = await ClosedLoop(endpoint, request, connections=_CONNECTIONS, seconds=effort.seconds).run()
    p50, p99 = latencies_ms(outcome.latencies)
    return Run(
        value=outcome.good / outcome.elapsed,
        p50_ms=p50,
        p99_ms=p99,
        cpu_us=reading.spent.per_operation(outcome.good),
        others=reading.others,
        faults=outcome.faults(),
    )


async def health(lab: Lab, effort: Effort) -> Run:
    request = lab.get("//health")
    return await closed(lab, lab.endpoint, effort, lambda _: request)


async def get_job(lab: Lab, effort: Effort) -> Run:
    requests = [lab.get(f"/jobs/{job_id}") for job_id in await lab.job_ids(_JOBS)]
    return await closed(lab, lab.endpoint, effort, lambda index: requests[index % _JOBS])


async def list_jobs(lab: Lab, effort: Effort) -> Run:
    await lab.job_ids(_JOBS)
    request = lab.get("/jobs?limit=50")
    return await closed(lab, lab.endpoint, effort, lambda _: request)


ROWS = (
    Row(goals.HEALTH, health, needs=("http",), note="the public /health, its rate limit raised"),
    Row(goals.GET_JOB, get_job, needs=("http", "nats"), note="1,000 finished jobs in turn, full detail with context"),
    Row(goals.LIST_JOBS, list_jobs, needs=("http", "nats"), note="the newest fifty, as a dashboard asks for them"),
)
