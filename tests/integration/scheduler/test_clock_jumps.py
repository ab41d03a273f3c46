"""The wall clock is set while jobs run: none ends before its time for it, and none is kept for ever."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.integration.scheduler.world import World

from cordum.core.ids import JobId, micros
from cordum.core.jobs.lifecycle import Change
from cordum.core.jobs.states import JobState
from cordum.rpc.kernel_client import KernelClient
from cordum.rpc.output_client import OutputClient
from cordum.runtime import metrics
from cordum.runtime.settings import SchedulerSettings, load
from cordum.services.scheduler.app import Scheduler
from cordum.services.scheduler.config_files import read_config_files

HOUR = 3600.0
LIMIT = 1.0
"""Seconds jobs may run."""


class SetClock:
    """A wall clock that can be set, beside a steady one that goes on as it does."""

    def __init__(self) -> None:
        self.shift = 0.0
        self.skipped = 0.0

    def now(self) -> float:
        return time.time() + self.skipped + self.shift

    def monotonic(self) -> float:
        return time.monotonic() + self.skipped

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Idle:
    """A scheduler that does nothing by itself, with its clock in our hands."""

    def __init__(self, scheduler: Scheduler, clock: SetClock, world: World) -> None:
        self.scheduler = scheduler
        self.clock = clock
        self.world = world

    async def tick(self) -> None:
        await self.scheduler.reconciler.tick()

    def pass_time(self, seconds: float) -> None:
        """Both clocks go on."""
        self.clock.skipped += seconds

    async def running(self, *, written: float = 0.0, deadline: float = 0.0) -> JobId:
        """A job that has just been given to a worker; `written` seconds ahead, by a clock that is wrong."""
        job_id = await self.world.submit(publish=False)
        at = micros(self.clock.now() + written)
        fields = {"worker_id": "w", "dispatch_id": "d", "attempts": "1", "pool": "main", "dispatched_at": str(at)}
        fields["created_at"] = str(at)
        until = micros(self.clock.now() + written + deadline) if deadline else micros(0)
        change = Change(
            to=JobState.RUNNING,
            allowed_from=frozenset(JobState),
            fields=fields | ({"deadline_unix": str(until)} if until else {}),
            deadline=until,
        )
        await self.world.store.jobs.apply(job_id, change, now=at)
        # The script keeps times growing; the record is to say what that clock said.
        await self.world.redis_command("HSET", f"job:meta:{job_id}", "updated_at", at)
        await self.world.redis_command("ZADD", "job:index:running", at, job_id)
        return job_id

    async def states(self, *job_ids: JobId) -> set[JobState]:
        return {(await self.world.record(job_id)).state for job_id in job_ids}


@pytest_asyncio.fixture
async def idle(world: World) -> AsyncIterator[Idle]:
    world.timeouts["reconciler"] |= {"running_timeout_seconds": LIMIT}
    world.write_files()
    pools, timeouts = str(world.directory / "pools.yaml"), str(world.directory / "timeouts.yaml")
    settings = load(
        SchedulerSettings,
        {
            "NATS_URL": world.nats.url,
            "REDIS_URL": world.redis.url,
            "SAFETY_KERNEL_ADDR": f"127.0.0.1:{world.kernel_port}",
            "POOL_CONFIG_PATH": pools,
            "TIMEOUT_CONFIG_PATH": timeouts,
        },
    )
    files = await asyncio.to_thread(read_config_files, pools, timeouts)
    clock = SetClock()
    kernel, output = KernelClient.from_settings(settings, clock), OutputClient.from_settings(settings, clock)
    scheduler = Scheduler(settings, files, bus=world.bus, store=world.store, kernel=kernel, output=output, clock=clock)
    yield Idle(scheduler, clock, world)
    await kernel.aclose()
    await output.aclose()


async def test_a_clock_set_forward_times_out_nobody_before_their_time(idle: Idle) -> None:
    jobs = [await idle.running() for _ in range(5)]
    bounded = await idle.running(deadline=10 * HOUR)
    await idle.tick()
    idle.clock.shift = 30 * HOUR
    await idle.tick()
    after = await idle.running()
    assert await idle.states(*jobs, bounded, after) == {JobState.RUNNING}

    idle.pass_time(LIMIT + 0.1)
    await idle.tick()

    assert await idle.states(*jobs, bounded, after) == {JobState.TIMEOUT}
    letter = await idle.world.dead_letter(jobs[0])
    assert letter.reason == "timeout: running exceeded (1 s)"
    assert (await idle.world.dead_letter(bounded)).reason == "timeout: running exceeded (1 s)"


async def test_a_deadline_is_as_far_away_as_before_the_clock_was_set(idle: Idle) -> None:
    timeouts = idle.scheduler.routes.now.timeouts
    assert timeouts.reconciler.running_timeout_seconds == LIMIT
    short = await idle.running(deadline=0.5)
    await idle.tick()
    idle.clock.shift = HOUR
    await idle.tick()
    assert await idle.states(short) == {JobState.RUNNING}

    idle.pass_time(0.6)
    await idle.tick()

    assert (await idle.world.dead_letter(short)).reason == "timeout: deadline expired"


@pytest.mark.parametrize("seen_before", [True, False])
async def test_a_clock_set_back_stops_no_timeouts(idle: Idle, seen_before: bool) -> None:
    jobs = [await idle.running() for _ in range(5)]
    idle.pass_time(0.3)
    if seen_before:
        await idle.tick()
    jumps = metrics.CLOCK_JUMPS._value.get()
    idle.clock.shift = -30 * HOUR
    await idle.tick()
    after = await idle.running()
    assert metrics.CLOCK_JUMPS._value.get() == jumps + 1
    assert await idle.states(*jobs, after) == {JobState.RUNNING}

    idle.pass_time(LIMIT - 0.2)
    await idle.tick()

    assert await idle.states(*jobs) == {JobState.TIMEOUT} and await idle.states(after) == {JobState.RUNNING}
    idle.pass_time(0.3)
    await idle.tick()
    assert await idle.states(after) == {JobState.TIMEOUT}


async def test_what_a_wrong_clock_wrote_ends_too(idle: Idle) -> None:
    """The clock was set before this scheduler began: nothing tells how old the job is, but that we see it stand."""
    job_id = await idle.running(written=10_000 * HOUR)
    await idle.tick()
    idle.pass_time(LIMIT / 2)
    await idle.tick()
    assert await idle.states(job_id) == {JobState.RUNNING}

    idle.pass_time(LIMIT)
    await idle.tick()

    assert await idle.states(job_id) == {JobState.TIMEOUT}
    assert await idle.world.redis_command("ZCARD", "job:index:running") == 0


async def test_waiting_jobs_are_no_orphans_because_the_clock_was_set(idle: Idle) -> None:
    job_id = await idle.world.submit(publish=False)
    idle.clock.shift = HOUR

    await idle.scheduler.replayer.tick()

    assert (await idle.world.record(job_id)).updated_at == (await idle.world.record(job_id)).created_at
    assert metrics.ORPHAN_REPLAYED.labels("job.work")._value.get() == 0


async def test_many_deadlines_that_are_not_due_hide_none_that_is(idle: Idle) -> None:
    """After a jump many deadlines seem to have passed; they must not stand before those that have."""
    far = [await idle.running(deadline=HOUR) for _ in range(3)]
    near = await idle.running(deadline=0.2)
    idle.clock.shift = 2 * HOUR
    await idle.tick()
    idle.pass_time(0.3)

    await idle.tick()

    assert await idle.states(near) == {JobState.TIMEOUT} and await idle.states(*far) == {JobState.RUNNING}
