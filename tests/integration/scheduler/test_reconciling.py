"""What the reconciler and the replayer find: jobs that took too long, jobs whose message was lost; and who leads."""

import asyncio
import signal
import time

import pytest
from tests.integration.scheduler.world import World, echo

from cordum.bus import envelope, subjects
from cordum.bus.core import CoreMessage
from cordum.core.ids import JobId, WorkerId, micros
from cordum.core.jobs.lifecycle import Change
from cordum.core.jobs.states import JobState
from cordum.embedded.servers import Server

LOCK = "cordum:reconciler:default"


async def put_with_worker(world: World, job_id: JobId, state: JobState, worker_id: str = "w-1") -> None:
    """Has a job stand with a worker, as another scheduler may have left it."""
    change = Change(
        to=state,
        allowed_from=frozenset(JobState),
        fields={"worker_id": WorkerId(worker_id), "dispatch_id": "d-1", "attempts": "1", "pool": "main"},
        trail=(state,),
    )
    await world.store.jobs.apply(job_id, change, now=micros(time.time()))


@pytest.mark.seed("S186", "S200", "S78")
async def test_a_dispatched_job_that_nobody_takes_up_times_out(world: World) -> None:
    world.timeouts["reconciler"] |= {"dispatch_timeout_seconds": 1}
    world.write_files()
    _, scheduler = await asyncio.gather(world.start_kernel(), world.start_scheduler(SCHEDULER_WORKER_TTL="30s"))
    cancels: list[str] = []

    async def note(message: CoreMessage) -> None:
        cancels.append(envelope.decode(message.data).job_cancel.job_id)

    tap = await world.bus.subscribe(subjects.JOB_CANCEL, note)
    job_id = await world.submit("job.work", publish=False)
    await put_with_worker(world, job_id, JobState.DISPATCHED)

    seen = 0.0
    while not seen:
        seen = await scheduler.metric("cordum_scheduler_stale_jobs", state="dispatched")
    await world.until(job_id, JobState.TIMEOUT)
    letter = await world.dead_letter(job_id)

    assert letter.reason.startswith("timeout: dispatched exceeded")
    assert (letter.reason_code, letter.last_state) == ("timeout", "DISPATCHED")

    async def cleared() -> bool:
        return await scheduler.metric("cordum_scheduler_stale_jobs", state="dispatched") == 0

    await world.eventually(cleared, "no stale jobs shown")
    assert cancels == [job_id]
    assert await scheduler.metric("cordum_jobs_completed_total", topic="job.work", status="timeout") == 1
    await tap.unsubscribe()


@pytest.mark.seed("S187", "S86")
async def test_each_topic_has_its_own_running_timeout(world: World) -> None:
    world.timeouts["topics"] = {"job.work": {"timeout_seconds": 1}}
    world.write_files()
    await asyncio.gather(world.start_kernel(), world.start_scheduler(SCHEDULER_WORKER_TTL="30s"))
    await world.heartbeat("w-1", max_parallel=5)
    await world.heartbeat("w-2", pool="other")
    short, long = await world.submit("job.work"), await world.submit("job.other")
    await world.until(short, JobState.RUNNING)
    await world.until(long, JobState.RUNNING)

    await world.until(short, JobState.TIMEOUT, within=8.0)

    assert (await world.dead_letter(short)).reason.startswith("timeout: running exceeded")
    assert (await world.record(long)).state is JobState.RUNNING


async def test_a_deadline_ends_a_job_wherever_it_stands(world: World) -> None:
    await asyncio.gather(world.start_kernel(), world.start_scheduler(SCHEDULER_WORKER_TTL="30s"))
    waiting = await world.submit("job.other", deadline_ms=1000)
    await world.heartbeat("w-1")
    running = await world.submit("job.work", deadline_ms=1000)
    await world.until(running, JobState.RUNNING)

    for job_id in (waiting, running):
        await world.until(job_id, JobState.TIMEOUT, within=8.0)
        assert (await world.dead_letter(job_id)).reason == "timeout: deadline expired"


async def test_index_entries_without_a_record_are_removed(world: World) -> None:
    now = micros(time.time() - 3600)
    await world.redis_command("ZADD", "job:index:running", now, "ghost")
    await world.redis_command("ZADD", "job:deadline", now, "ghost")

    await asyncio.gather(world.start_kernel(), world.start_scheduler())

    deadline = time.monotonic() + 8
    while await world.redis_command("ZCARD", "job:index:running") or await world.redis_command("ZCARD", "job:deadline"):
        assert time.monotonic() < deadline, "the ghost is still there"
        await asyncio.sleep(0.05)


@pytest.mark.seed("S182", "S80", "S181")
async def test_a_job_whose_message_was_lost_is_placed_from_its_record(world: World) -> None:
    world.timeouts["reconciler"] |= {"dispatch_timeout_seconds": 1}
    world.write_files()
    _, scheduler = await asyncio.gather(world.start_kernel(), world.start_scheduler())
    await world.start_agent({"job.work": echo})

    job_id = await world.submit("job.work", publish=False)

    await world.until(job_id, JobState.SUCCEEDED, within=10.0)
    assert await scheduler.metric("cordum_scheduler_orphan_replayed_total", topic="job.work") == 1


async def test_an_approval_whose_publisher_died_is_carried_out(world: World) -> None:
    world.timeouts["reconciler"] |= {"dispatch_timeout_seconds": 1}
    world.write_files()
    await asyncio.gather(world.start_kernel(), world.start_scheduler())
    await world.start_agent({"job.careful": echo})
    job_id = await world.submit("job.careful")
    await world.until(job_id, JobState.APPROVAL_REQUIRED)

    await world.approve(job_id, publish=False)

    record = await world.until(
        job_id, lambda now: now.state is JobState.SUCCEEDED and now.approval_publish_status == "published", within=10.0
    )
    assert record.approval_by == "boss"


async def test_a_rejection_whose_publisher_died_becomes_a_dead_letter(world: World) -> None:
    world.timeouts["reconciler"] |= {"dispatch_timeout_seconds": 1}
    world.write_files()
    await asyncio.gather(world.start_kernel(), world.start_scheduler())
    job_id = await world.submit("job.careful")
    await world.until(job_id, JobState.APPROVAL_REQUIRED)

    await world.reject(job_id)

    letter = await world.dead_letter(job_id)
    assert letter.reason_code == "approval_rejected"


@pytest.mark.seed("S175")
async def test_what_ran_out_while_redis_was_away_is_timed_out_afterwards(world: World, redis_server: Server) -> None:
    world.timeouts["topics"] = {"job.work": {"timeout_seconds": 2}}
    world.write_files()
    await asyncio.gather(world.start_kernel(), world.start_scheduler(SCHEDULER_WORKER_TTL="30s"))
    await world.heartbeat("w-1")
    job_id = await world.submit("job.work")
    await world.until(job_id, JobState.RUNNING)
    await asyncio.sleep(1.1)  # the append-only file is synced every second

    await redis_server.kill()
    await asyncio.sleep(2.0)
    await redis_server.restart()

    deadline = time.monotonic() + 20
    while True:
        try:
            await world.until(job_id, JobState.TIMEOUT, within=15.0)
            break
        except Exception:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
    assert (await world.dead_letter(job_id)).reason.startswith("timeout: running exceeded")


@pytest.mark.seed("S11", "S204")
async def test_of_two_schedulers_one_leads_and_its_lease_lasts_two_periods(world: World) -> None:
    await world.start_kernel()
    await asyncio.gather(world.start_scheduler(), world.start_scheduler())

    holders = set()
    longest = 0
    end = time.monotonic() + 2.0
    while time.monotonic() < end:
        holders.add(await world.redis_command("GET", LOCK))
        longest = max(longest, await world.redis_command("PTTL", LOCK))
        await asyncio.sleep(0.01)

    assert len(holders) == 1
    assert 900 <= longest <= 1000


@pytest.mark.seed("S12")
async def test_when_the_leader_dies_another_leads_within_one_time_to_live(world: World) -> None:
    await world.start_kernel()
    first = await world.start_scheduler()
    await world.start_scheduler()
    token = await world.redis_command("GET", LOCK)

    await first.kill()
    died = time.monotonic()
    while (holder := await world.redis_command("GET", LOCK)) in (token, None):
        assert time.monotonic() - died < 2.0 + 0.5, "nobody took over"
        await asyncio.sleep(0.01)

    assert holder != token


async def test_a_fresh_scheduler_does_not_take_everybody_for_dead(world: World) -> None:
    first = (await asyncio.gather(world.start_kernel(), world.start_scheduler()))[1]
    await world.start_worker("job.work", worker_id="patient", seconds=4)
    job_id = await world.submit("job.work")
    await world.until(job_id, JobState.RUNNING)

    await first.kill()
    await first.start()

    record = await world.until(job_id, JobState.SUCCEEDED, within=15.0)
    assert (record.attempts, record.worker_id) == (1, "patient")
    assert not first.events("worker_lost")


async def test_a_stopped_scheduler_that_goes_on_does_not_take_everybody_for_dead(world: World) -> None:
    scheduler = (await asyncio.gather(world.start_kernel(), world.start_scheduler()))[1]
    await world.start_worker("job.work", worker_id="patient", seconds=6)
    job_id = await world.submit("job.work")
    await world.until(job_id, JobState.RUNNING)

    scheduler.send(signal.SIGSTOP)
    await asyncio.sleep(3.0)
    scheduler.send(signal.SIGCONT)

    record = await world.until(job_id, JobState.SUCCEEDED, within=15.0)
    assert record.attempts == 1
