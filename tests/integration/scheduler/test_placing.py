"""Which worker gets a job, and when: capabilities, urgency, pools that drain, topics that move."""

import asyncio
import json
from typing import Any

import pytest
from cap.pb.cordum.agent.v1 import job_pb2
from tests.integration.scheduler import asking
from tests.integration.scheduler.world import Process, World, echo

from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState


def waits_for(reason: str) -> Any:
    def waits(record: JobRecord) -> bool:
        return record.pending_reason == reason and record.state is JobState.PENDING

    return waits


async def test_capabilities_of_jobs_topics_pools_and_workers_go_together(world: World) -> None:
    world.pools["pools"]["main"] = {"requires": ["gpu", "EU"]}
    world.write_files()
    await asyncio.gather(world.start_kernel(), world.start_scheduler(SCHEDULER_WORKER_TTL="60s"))
    await asking.heartbeat(world, "in-europe", "eu")
    plain = await world.until(await asking.submit(world, "plain"), JobState.RUNNING)
    needy = await asking.submit(world, "needy", requires=("GPU ", "eu"))
    impossible = await asking.submit(world, "impossible", requires=("tpu",))
    await world.until(needy, waits_for("no_workers"))
    await world.until(impossible, waits_for("no_pool_mapping"))

    await asking.heartbeat(world, "with-gpu", "Eu", "gpu")

    assert plain.worker_id == "in-europe"
    assert (await world.until(needy, JobState.RUNNING)).worker_id == "with-gpu"
    # What a topic's registration requires, all its jobs do.
    await asking.change_config(world, "system", "topics", lambda data: data["job.slow"].update(requires=["gpu"]))
    await asking.change_config(
        world, "system", "topics", lambda data: data["job.other"].update(requires=["gpu"], pool="main")
    )
    await asking.change_pools(world, lambda pools: pools["topics"].update({"job.other": "main"}))
    await until_routed(world)
    record = await world.until(await asking.submit(world, "by-topic", topic="job.other"), JobState.RUNNING)
    assert record.worker_id == "with-gpu"


async def test_urgent_jobs_go_first_in_memory_and_among_the_parked(world: World, scheduler: Process) -> None:
    done: list[str] = []
    hold = asyncio.Event()

    async def work(_context: Any, name: Any) -> Any:
        if name == "first":
            await hold.wait()
        else:
            done.append(name.rstrip("0123456789"))
        return {}

    await world.start_agent({"job.work": work}, max_parallel=1)
    for parked in (False, True):
        hold.clear()
        done.clear()
        first = await asking.submit(world, "first")
        await world.until(first, JobState.RUNNING)
        jobs = []
        for name, priority in (
            ("batch", job_pb2.JOB_PRIORITY_BATCH),
            ("plain", job_pb2.JOB_PRIORITY_INTERACTIVE),
            ("critical", job_pb2.JOB_PRIORITY_CRITICAL),
        ):
            jobs += [await asking.submit(world, f"{name}{number}", priority=priority) for number in range(3)]
        if parked:
            for job in jobs:
                await world.until(job, waits_for("pool_overloaded"))
        else:
            await asyncio.sleep(0.5)  # all of them wait in memory by now

        hold.set()
        await world.until_all_end([first, *jobs])

        places = [sum(at for at, name in enumerate(done) if name == kind) for kind in ("critical", "plain", "batch")]
        assert places == sorted(places), done
        if not parked:
            assert done == ["critical"] * 3 + ["plain"] * 3 + ["batch"] * 3


async def test_a_draining_pool_finishes_what_it_has_and_gets_nothing_new(world: World, scheduler: Process) -> None:
    hold = asyncio.Event()

    async def work(_context: Any, name: Any) -> Any:
        if name == "running":
            await hold.wait()
        return {}

    await world.start_agent({"job.work": work}, max_parallel=1)
    running = await asking.submit(world, "running")
    await world.until(running, JobState.RUNNING)
    parked = await asking.submit(world, "parked")
    await world.until(parked, waits_for("pool_overloaded"))

    await asking.change_pools(world, lambda pools: pools["pools"]["main"].update(status="draining"))

    await world.until(parked, waits_for("no_pool_mapping"), within=4.0)
    late = await asking.submit(world, "late")
    await world.until(late, waits_for("no_pool_mapping"))
    hold.set()
    await world.until(running, JobState.SUCCEEDED)

    await asking.change_pools(world, lambda pools: pools["pools"]["main"].pop("status"))

    await world.until(parked, JobState.SUCCEEDED, within=4.0)
    await world.until(late, JobState.SUCCEEDED, within=4.0)


@pytest.mark.seed("S201")
async def test_a_topic_moves_to_another_pool_with_its_parked_and_retried_jobs(world: World, scheduler: Process) -> None:
    beats = asyncio.create_task(world.keep_alive("old", active=1))
    retried = await asking.submit(world, "retried")
    given = await world.until(retried, JobState.RUNNING)
    parked = await asking.submit(world, "parked")
    await world.until(parked, waits_for("pool_overloaded"))
    assert (given.worker_id, given.pool) == ("old", "main")
    await world.start_agent({"job.work": echo}, worker_id="new", pool="other", max_parallel=9)

    await asking.change_pools(world, lambda pools: pools["topics"].update({"job.work": "other"}))
    await until_routed(world)
    await world.publish_result("old", retried, job_pb2.JOB_STATUS_FAILED_RETRYABLE, dispatch_id=given.dispatch_id)

    record = await world.until(retried, JobState.SUCCEEDED)
    assert (record.worker_id, record.pool, record.attempts) == ("new", "other", 2)
    record = await world.until(parked, JobState.SUCCEEDED)
    assert (record.worker_id, record.pool, record.attempts) == ("new", "other", 1)
    beats.cancel()


async def until_routed(world: World) -> None:
    """The scheduler has taken in the last change."""
    stored = await world.store.configs.get("system", "default")
    assert stored is not None

    async def taken_in() -> bool:
        snapshot = await world.redis_command("GET", "sys:workers:snapshot")
        expected = stored.data["pools"]["topics"]
        topics = json.loads(snapshot)["topics"] if snapshot else {}
        return all(
            topics.get(topic, {}).get("pool") == (pool if isinstance(pool, str) else pool[0])
            for topic, pool in expected.items()
        )

    await world.eventually(taken_in, "the routing is in force")
