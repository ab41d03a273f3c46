"""Dispatches per second: fed from NATS, with one worker to a thousand, one scheduler or two, one Redis or a cluster.

Each repeat has a stack of its own. All of it, the feeder and the workers too, shares this machine: a second scheduler
or six Redis nodes are here for what they cost, not for what they would bring on machines of their own.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack

from bench import goals, own
from bench.feed import feed
from bench.fleet import Fleet
from bench.lab import BenchError, Effort, Lab, new_job_id
from bench.nats import NatsClient
from bench.packets import SubmitWriter
from bench.redis_cluster import redis_cluster
from bench.rows.row import Measure, Row
from bench.stats import Run
from cordum.embedded import services

_CAPACITY = 512
"""Jobs that all workers together take at once, unless there are more workers."""
_WITHIN_S = 180.0
_WARM_JOBS = 200


async def _dispatch(
    lab: Lab, effort: Effort, *, workers: int, schedulers: int = 1, redis: Mapping[str, str] | None = None
) -> Run:
    """`jobs` packets published to `sys.job.submit`; the clock stops when the workers have answered the last of them."""
    work = lab.workload
    env = dict.fromkeys((services.GATEWAY, services.KERNEL, services.SCHEDULER), redis or {})
    async with AsyncExitStack() as cleanup:
        addresses = await cleanup.enter_async_context(
            own.stack(work, replicas={services.SCHEDULER: schedulers}, service_env=env)
        )
        inner = Lab(addresses, work)
        cleanup.push_async_callback(inner.aclose)
        clients = [await NatsClient.connect(addresses.nats, name=name) for name in ("bench-fleet", "bench-feeder")]
        for client in clients:
            cleanup.callback(client.close)
        fleet = Fleet(
            clients[0], size=workers, pool=work.pool, topics=[work.topic], capacity=max(1, _CAPACITY // workers)
        )
        await fleet.start()
        cleanup.push_async_callback(fleet.stop)
        writer = SubmitWriter(work.topic, work.tenant, work.principal, sender="api-gateway-http")
        await feed(clients[1], writer, [new_job_id() for _ in range(_WARM_JOBS)], _WITHIN_S)
        if not await fleet.answered_all(_WARM_JOBS, _WITHIN_S):
            raise BenchError(f"only {fleet.answered} of the first {_WARM_JOBS} jobs reached a worker")
        fleet.forget()
        job_ids = [new_job_id() for _ in range(effort.jobs)]
        since = time.time()
        async with inner.metered() as reading:
            began = time.perf_counter()
            feeding = asyncio.create_task(feed(clients[1], writer, job_ids, _WITHIN_S))
            done = await fleet.answered_all(effort.jobs, _WITHIN_S)
            await feeding
        quiet = await inner.all_quiet(since, _WITHIN_S)
        succeeded = await inner.count_succeeded(job_ids)
        said = (
            [] if done and quiet else [f"{effort.jobs - fleet.answered} of {effort.jobs} jobs never reached a worker"]
        )
        if succeeded < effort.jobs:
            said.append(f"{effort.jobs - succeeded} of {effort.jobs} jobs did not succeed")
        if fleet.doubled:
            said.append(f"{fleet.doubled} jobs were dispatched twice")
        return Run(
            value=effort.jobs / (fleet.last_at - began),
            cpu_us=reading.spent.per_operation(effort.jobs),
            extra={"workers_used": len(fleet.used)},
            others=reading.others,
            faults=tuple(said),
        )


def _to(workers: int, schedulers: int = 1) -> Measure:
    async def measure(lab: Lab, effort: Effort) -> Run:
        return await _dispatch(lab, effort, workers=workers, schedulers=schedulers)

    return measure


async def _on_cluster(lab: Lab, effort: Effort) -> Run:
    async with redis_cluster() as settings:
        return await _dispatch(lab, effort, workers=10, redis=settings)


ROWS = (
    Row(goals.DISPATCH_1, _to(1), warm=False, note="one worker that takes 512 at once"),
    Row(goals.DISPATCH_10, _to(10), warm=False, note="51 at once each"),
    Row(goals.DISPATCH_100, _to(100), warm=False, note="5 at once each"),
    Row(goals.DISPATCH_1000, _to(1_000), warm=False, note="1 at once each, heartbeats every 5 s"),
    Row(goals.DISPATCH_TWO, _to(10, schedulers=2), warm=False, note="as with 10 workers, on the same two cores"),
    Row(goals.DISPATCH_CLUSTER, _on_cluster, warm=False, note="as with 10 workers; six Redis nodes on the same cores"),
)
