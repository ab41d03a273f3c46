"""Many jobs and several schedulers: each job is dispatched once and ends once, and costs few round trips."""

import asyncio

import pytest
from tests.integration.scheduler.world import World, echo

from cordum.bus import Bus
from cordum.core.jobs.states import JobState
from cordum.rpc.kernel_client import KernelClient
from cordum.rpc.output_client import OutputClient
from cordum.runtime.clock import SystemClock
from cordum.runtime.lifecycle import Lifecycle
from cordum.runtime.settings import SchedulerSettings
from cordum.services.scheduler.app import Scheduler
from cordum.services.scheduler.config_files import read_config_files
from cordum.store import Store

MOST_ROUND_TRIPS = 5


@pytest.mark.seed("S13", "S205")
async def test_a_thousand_jobs_through_two_schedulers_end_once_each(world: World) -> None:
    await asyncio.gather(world.start_kernel(), world.start_scheduler(), world.start_scheduler())
    for _ in range(4):
        await world.start_agent({"job.work": echo}, max_parallel=8)
    jobs = []
    for _ in range(10):
        jobs += await asyncio.gather(*(world.submit("job.work") for _ in range(100)))

    records = await world.until_all_end(jobs, within=90)

    assert {record.state for record in records} == {JobState.SUCCEEDED}
    assert {record.attempts for record in records} == {1}
    for job_id in jobs:
        assert await world.terminal_events(job_id) == ["SUCCEEDED"]
    dispatched = [
        await scheduler.metric("cordum_jobs_dispatched_total", topic="job.work") for scheduler in world.schedulers
    ]
    received = [
        await scheduler.metric("cordum_jobs_received_total", topic="job.work") for scheduler in world.schedulers
    ]
    assert sum(dispatched) == sum(received) == 1000
    assert min(received) > 0  # the queue group shares the work


async def test_a_job_costs_few_round_trips(world: World) -> None:
    """One job after the other, so that nothing is shared: what is counted is what one job needs."""
    await world.start_kernel()
    settings = SchedulerSettings.model_validate(
        {
            "nats_url": world.nats.url,
            "redis_url": world.redis.url,
            "safety_kernel_addr": f"127.0.0.1:{world.kernel_port}",
            "config_reload_interval": 600.0,
            "worker_snapshot_interval": 600.0,
        }
    )
    files = await asyncio.to_thread(
        read_config_files, str(world.directory / "pools.yaml"), str(world.directory / "none.yaml")
    )
    clock = SystemClock()
    store = await Store.connect(settings, clock=clock)
    bus = await Bus.connect(settings)
    kernel = KernelClient.from_settings(settings, clock)
    life = Lifecycle()
    output = OutputClient.from_settings(settings, clock)
    scheduler = Scheduler(settings, files, bus=bus, store=store, kernel=kernel, output=output, clock=clock)
    await scheduler.start(life)
    await world.start_agent({"job.work": echo})
    first = await world.until(await world.submit("job.work"), JobState.SUCCEEDED)

    before, started = store.round_trips, clock.monotonic()
    for _ in range(20):
        await world.until(await world.submit("job.work", decided_as=first), JobState.SUCCEEDED)
    used, took = store.round_trips - before, clock.monotonic() - started
    # Looks for parked jobs and the instance key go on meanwhile: at most three a second.
    background = 3 * took + 3

    assert used <= 3 * 20 + background
    assert MOST_ROUND_TRIPS >= 1 + 3  # the gateway's one, and ours: claim, commit, result
    await life.unwind()
    await kernel.aclose()
    await output.aclose()
    await bus.aclose()
    await store.aclose()
