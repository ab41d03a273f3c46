"""Things die: workers, schedulers, the kernel, Redis. Nothing is lost and nothing ends twice."""

import asyncio
import signal
from typing import Any

import pytest
from cap.pb.cordum.agent.v1 import job_pb2
from tests.integration.scheduler.world import Process, World, echo

from cordum.core.ids import JobId
from cordum.core.jobs.states import JobState
from cordum.embedded.servers import Server


async def test_a_killed_workers_job_is_tried_again_elsewhere(world: World, scheduler: Process) -> None:
    doomed = await world.start_worker("job.work", worker_id="doomed", seconds=60)
    job_id = await world.submit("job.work")
    await world.until(job_id, JobState.RUNNING)

    doomed.kill()
    await world.start_agent({"job.work": echo}, worker_id="heir")

    # Silent for longer than 2 s, found by the next sweep (0.5 s), placed at once.
    record = await world.until(job_id, JobState.SUCCEEDED, within=8.0)
    assert (record.worker_id, record.attempts) == ("heir", 2)
    assert scheduler.events("worker_lost")[0]["worker_id"] == "doomed"


async def test_a_job_whose_worker_dies_every_time_fails_as_worker_lost(world: World) -> None:
    world.timeouts["topics"] = {"job.work": {"max_retries": 0}}
    world.write_files()
    await asyncio.gather(world.start_kernel(), world.start_scheduler())
    doomed = await world.start_worker("job.work", worker_id="doomed", seconds=60)
    job_id = await world.submit("job.work")
    await world.until(job_id, JobState.RUNNING)

    doomed.kill()

    await world.until(job_id, JobState.FAILED, within=8.0)
    letter = await world.dead_letter(job_id)
    assert letter.reason_code == "worker_lost"
    assert letter.reason.startswith("worker_lost: worker doomed went silent")


async def test_a_worker_restarted_under_its_name_does_not_keep_a_job_it_forgot(
    world: World, scheduler: Process
) -> None:
    doomed = await world.start_worker("job.work", worker_id="phoenix", seconds=60)
    job_id = await world.submit("job.work")
    await world.until(job_id, JobState.RUNNING)

    doomed.kill()
    await doomed.wait()
    await world.start_agent({"job.work": echo}, worker_id="phoenix")

    record = await world.until(job_id, JobState.SUCCEEDED, within=15.0)
    assert record.attempts == 2


async def test_a_scheduler_that_dies_takes_nothing_with_it(world: World) -> None:
    await asyncio.gather(world.start_kernel(), world.start_scheduler(NATS_JS_ACK_WAIT="2s"))
    first = await world.start_scheduler(NATS_JS_ACK_WAIT="2s")
    await world.start_agent({"job.work": echo}, max_parallel=20)
    await world.start_agent({"job.work": echo}, max_parallel=20)
    jobs = await asyncio.gather(*(world.submit("job.work") for _ in range(150)))

    await first.kill()
    jobs += await asyncio.gather(*(world.submit("job.work") for _ in range(150)))

    await all_succeed_once(world, jobs)


async def test_a_lone_scheduler_killed_in_mid_burst_finishes_after_its_restart(world: World) -> None:
    await asyncio.gather(world.start_kernel(), world.start_scheduler(NATS_JS_ACK_WAIT="2s"))
    (scheduler,) = world.schedulers
    await world.start_agent({"job.work": echo}, max_parallel=10)
    jobs = await asyncio.gather(*(world.submit("job.work") for _ in range(200)))
    await world.until(jobs[20], lambda record: record.state is not JobState.PENDING)

    await scheduler.kill()
    await scheduler.start()

    await all_succeed_once(world, jobs)


@pytest.mark.seed("S167", "S169", "S74")
async def test_without_a_kernel_jobs_wait_and_run_when_it_is_back(world: World, scheduler: Process) -> None:
    await world.start_agent({"job.work": echo}, max_parallel=5)
    await world.until(await world.submit("job.work"), JobState.SUCCEEDED)

    await world.kernel.kill()
    jobs = [await world.submit("job.work") for _ in range(20)]
    await world.until(jobs[0], lambda record: record.pending_reason == "safety_unavailable")
    await asyncio.sleep(1.0)
    states = {record.state for record in await world.store.jobs.get_many(jobs) if record is not None}

    assert states == {JobState.PENDING}
    assert await scheduler.metric("cordum_jobs_dispatched_total", topic="job.work") == 1
    assert await scheduler.metric("cordum_safety_unavailable_total", topic="job.work") >= 1

    await world.kernel.start()

    records = await world.until_all_end(jobs, within=15)
    assert {record.state for record in records} == {JobState.SUCCEEDED}


@pytest.mark.seed("S174")
async def test_what_cannot_be_persisted_is_not_acknowledged(
    world: World, scheduler: Process, redis_server: Server
) -> None:
    await world.start_agent({"job.work": echo}, max_parallel=20)
    jobs = await asyncio.gather(*(world.submit("job.work") for _ in range(50)))

    await redis_server.kill()
    await asyncio.sleep(1.0)
    await redis_server.restart()
    for _ in range(50):
        try:
            jobs.append(await world.submit("job.work"))
        except Exception:
            await asyncio.sleep(0.1)

    records = await world.until_all_end(jobs, within=60)
    # An agent that could not write its result reports a failure of its own; what counts is that every job ended.
    assert {record.state for record in records} <= {JobState.SUCCEEDED, JobState.FAILED}
    assert sum(record.state is JobState.SUCCEEDED for record in records) >= len(jobs) // 2


async def test_nats_killed_in_mid_burst_loses_nothing(world: World, nats_server: Server) -> None:
    await asyncio.gather(world.start_kernel(), world.start_scheduler(SCHEDULER_WORKER_TTL="6s"))
    await world.start_agent({"job.work": rest}, max_parallel=10)
    await world.start_agent({"job.work": rest}, max_parallel=10)
    jobs = await asyncio.gather(*(world.submit("job.work") for _ in range(300)))
    await world.until(jobs[100], lambda record: record.state is not JobState.PENDING)

    await nats_server.kill()
    await nats_server.restart()

    records = await world.until_all_end(jobs, within=60)
    assert {record.state for record in records} == {JobState.SUCCEEDED}


@pytest.mark.seed("S241")
async def test_a_scheduler_told_to_stop_under_load_loses_nothing(world: World, scheduler: Process) -> None:
    await world.start_agent({"job.work": echo}, max_parallel=10)
    jobs = await asyncio.gather(*(world.submit("job.work") for _ in range(300)))
    await world.until(jobs[10], lambda record: record.state is not JobState.PENDING)

    code = await scheduler.end(signal.SIGTERM, within=15.0)
    locks = [await world.locks(name) for name in ("cordum:reconciler:default", "cordum:replayer:pending")]
    await scheduler.start()

    assert code == 0
    assert locks == [None, None]
    await all_succeed_once(world, jobs)


@pytest.mark.seed("S180")
async def test_a_submit_delivered_twice_runs_its_job_once(world: World, scheduler: Process) -> None:
    runs: list[str] = []

    async def count(context: Any, _data: Any) -> Any:
        runs.append(context.job_id)
        return {}

    await world.start_agent({"job.work": count}, max_parallel=10)
    jobs = [await world.submit("job.work") for _ in range(20)]
    for job_id in jobs:
        await world.publish_again(job_id)
        await world.publish_again(job_id)

    await all_succeed_once(world, jobs)
    assert sorted(runs) == sorted(jobs)


async def test_a_result_of_an_older_dispatch_is_ignored(world: World, scheduler: Process) -> None:
    await world.handshake("w-1", ["job.work"])
    await world.heartbeat("w-1")
    job_id = await world.submit("job.work")
    running = await world.until(job_id, JobState.RUNNING)

    await world.publish_result("w-1", job_id, job_pb2.JOB_STATUS_SUCCEEDED, dispatch_id="another")
    await world.publish_result("w-2", job_id, job_pb2.JOB_STATUS_SUCCEEDED)
    await world.publish_result("w-1", JobId("no-such-job"), job_pb2.JOB_STATUS_SUCCEEDED)

    async def refused() -> bool:
        return len(scheduler.events("result_stale")) == 2 and len(scheduler.events("result_unknown_job")) == 1

    await world.eventually(refused, "three results refused")
    assert (await world.record(job_id)).state is JobState.RUNNING

    await world.publish_result("w-1", job_id, job_pb2.JOB_STATUS_SUCCEEDED, dispatch_id=running.dispatch_id)
    await world.publish_result("w-1", job_id, job_pb2.JOB_STATUS_FAILED, dispatch_id=running.dispatch_id)
    await world.until(job_id, JobState.SUCCEEDED)
    await ended_once(world, job_id)


@pytest.mark.seed("S190")
async def test_a_job_that_may_be_tried_again_is_until_its_tries_are_used_up(world: World) -> None:
    world.timeouts["topics"] = {"job.work": {"max_retries": 1}}
    world.write_files()
    _, scheduler = await asyncio.gather(world.start_kernel(), world.start_scheduler(SCHEDULER_WORKER_TTL="30s"))
    await world.heartbeat("w-1")
    job_id = await world.submit("job.work")
    first = await world.until(job_id, JobState.RUNNING)

    await world.publish_result("w-1", job_id, job_pb2.JOB_STATUS_FAILED_RETRYABLE)
    second = await world.until(job_id, lambda now: now.attempts == 2)
    assert second.dispatch_id != first.dispatch_id
    await world.publish_result("w-1", job_id, job_pb2.JOB_STATUS_FAILED_RETRYABLE)

    await world.until(job_id, JobState.FAILED)
    letter = await world.dead_letter(job_id)
    assert letter.reason.startswith("max retries exceeded")
    assert (letter.reason_code, letter.attempts) == ("max_retries_exceeded", 2)
    assert await scheduler.metric("cordum_jobs_dispatched_total", topic="job.work") == 2


async def test_a_cancelled_job_frees_its_slot(world: World, scheduler: Process) -> None:
    await world.handshake("w-1", ["job.work"])
    keep_alive = asyncio.create_task(world.keep_alive("w-1"))
    first = await world.submit("job.work")
    await world.until(first, JobState.RUNNING)
    second = await world.submit("job.work")

    await world.publish_cancel(first)

    await world.until(first, JobState.CANCELLED)
    await world.until(second, JobState.RUNNING, within=5.0)
    keep_alive.cancel()
    await asyncio.wait({keep_alive})


async def rest(_context: Any, _data: Any) -> Any:
    await asyncio.sleep(0.1)
    return {}


async def all_succeed_once(world: World, jobs: list[JobId]) -> None:
    records = await world.until_all_end(jobs)
    assert {record.state for record in records} == {JobState.SUCCEEDED}
    for job_id in jobs:
        await ended_once(world, job_id)


async def ended_once(world: World, job_id: JobId) -> None:
    """A move that is refused may stand in the history until the next round trip takes it out."""

    async def once() -> bool:
        return await world.terminal_events(job_id) == ["SUCCEEDED"]

    await world.eventually(once, f"{job_id} has one end")
