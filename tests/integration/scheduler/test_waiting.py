"""Jobs that cannot run at once: they wait with a visible reason, and run when they can."""

import asyncio
import time
from typing import Any

import msgspec
import pytest
from cap.pb.cordum.agent.v1 import job_pb2
from tests.integration.scheduler.world import Process, World, echo

from cordum.bus import envelope, subjects
from cordum.core.ids import micros
from cordum.core.jobs.states import JobState


class Gauge:
    """A handler that counts how many of it run at once."""

    def __init__(self, seconds: float) -> None:
        self.now = self.most = self.done = 0
        self._seconds = seconds

    async def __call__(self, _context: Any, _data: Any) -> Any:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(self._seconds)
        self.now -= 1
        self.done += 1
        return {}


async def test_a_job_without_a_worker_is_parked_and_runs_when_one_appears(world: World, scheduler: Process) -> None:
    job_id = await world.submit("job.work")
    record = await world.until(job_id, lambda now: now.pending_reason == "no_workers")
    assert record.state is JobState.PENDING
    assert await parked(world) == 1

    await world.start_agent({"job.work": echo})

    await world.until(job_id, JobState.SUCCEEDED, within=5.0)
    await until_empty(world)


async def test_a_job_no_pool_serves_runs_once_a_pool_is_mapped(world: World, scheduler: Process) -> None:
    await world.start_agent({"job.new": echo})
    await world.store.configs.update(
        "system", "topics", lambda data: {**data, "job.new": {"name": "job.new", "status": "active"}}
    )
    await announce_config(world)
    await asyncio.sleep(0.3)
    job_id = await world.submit("job.new")
    await world.until(job_id, lambda now: now.pending_reason == "no_pool_mapping")

    def mapped(data: dict[str, Any]) -> dict[str, Any]:
        pools = data["pools"]
        return {**data, "pools": {**pools, "topics": {**pools["topics"], "job.new": "main"}}}

    await world.store.configs.update("system", "default", mapped)
    await announce_config(world)

    await world.until(job_id, JobState.SUCCEEDED, within=5.0)


async def test_a_busy_pool_makes_jobs_wait_and_is_never_overfilled(world: World, scheduler: Process) -> None:
    one, two = Gauge(0.05), Gauge(0.05)
    await world.start_agent({"job.work": one}, max_parallel=2)
    await world.start_agent({"job.work": two}, max_parallel=1)

    jobs = [await world.submit("job.work") for _ in range(60)]
    records = await world.until_all_end(jobs)

    assert {record.state for record in records} == {JobState.SUCCEEDED}
    assert (one.done + two.done, one.most, two.most) == (60, 2, 1)
    assert one.done > two.done > 5  # the load went where there was room


async def test_a_job_that_waits_longer_is_parked_with_the_reason_and_runs_in_the_end(
    world: World, scheduler: Process
) -> None:
    gauge = Gauge(3.0)
    await world.start_agent({"job.work": gauge}, max_parallel=1)
    first = await world.submit("job.work")
    await world.until(first, JobState.RUNNING)

    second = await world.submit("job.work")
    await world.until(second, lambda now: now.pending_reason == "pool_overloaded")

    await world.until_all_end([first, second])
    assert gauge.most == 1


async def test_a_tenant_limit_lets_one_job_run_after_the_other(world: World, scheduler: Process) -> None:
    gauge = Gauge(0.3)
    await world.start_agent({"job.single": gauge}, max_parallel=10)

    jobs = [await world.submit("job.single") for _ in range(4)]
    elsewhere = await world.submit("job.single", tenant="acme")
    await world.until(jobs[-1], lambda now: now.pending_reason == "tenant_limit" or now.state.is_terminal)
    records = await world.until_all_end([*jobs, elsewhere], within=30)

    assert {record.state for record in records} == {JobState.SUCCEEDED}
    assert gauge.most <= 2  # one of each tenant


async def test_constraints_reach_the_worker(world: World, scheduler: Process) -> None:
    seen: list[job_pb2.JobRequest] = []

    async def look(context: Any, _data: Any) -> Any:
        seen.append(context.job)
        return {}

    await world.start_agent({"job.single": look})
    record = await world.until(await world.submit("job.single", deadline_ms=90_000), JobState.SUCCEEDED)

    (request,) = seen
    constraints = msgspec.json.decode(request.env["CORDUM_POLICY_CONSTRAINTS"])
    assert constraints["budgets"] == {"maxRuntimeMs": "60000", "maxRetries": 1, "maxConcurrentJobs": 1}
    assert request.env["CORDUM_MAX_CONCURRENT_JOBS"] == "1"
    assert request.env["CORDUM_MAX_RETRIES"] == "1"
    assert request.budget.deadline_ms == 60_000
    assert record.safety_decision == "ALLOW_WITH_CONSTRAINTS"


async def test_a_worker_never_gets_a_topic_it_did_not_announce(world: World, scheduler: Process) -> None:
    await world.start_agent({"job.other": echo}, pool="main")

    job_id = await world.submit("job.work")

    await world.until(job_id, lambda now: now.pending_reason == "no_workers")
    assert await scheduler.metric("cordum_jobs_dispatched_total", topic="job.work") == 0


@pytest.mark.seed("S98")
async def test_readiness_can_be_demanded_before_a_worker_gets_jobs(world: World) -> None:
    await asyncio.gather(world.start_kernel(), world.start_scheduler(WORKER_READINESS_REQUIRED="true"))
    await world.heartbeat("bare")
    job_id = await world.submit("job.work")
    await world.until(job_id, lambda now: now.pending_reason == "no_workers")

    await world.start_agent({"job.work": echo}, worker_id="ready")

    assert (await world.until(job_id, JobState.SUCCEEDED)).worker_id == "ready"


@pytest.mark.seed("S98")
async def test_without_the_demand_a_worker_that_only_heartbeats_gets_jobs(world: World, scheduler: Process) -> None:
    await world.heartbeat("bare")

    record = await world.until(await world.submit("job.work"), JobState.RUNNING)

    assert record.worker_id == "bare"


@pytest.mark.seed("S99")
async def test_an_announcement_holds_for_its_time_to_live(world: World) -> None:
    await asyncio.gather(
        world.start_kernel(),
        world.start_scheduler(WORKER_READINESS_REQUIRED="true", WORKER_READINESS_TTL="1s", SCHEDULER_WORKER_TTL="30s"),
    )
    await world.handshake("seldom", ["job.work"])
    await world.heartbeat("seldom", max_parallel=5)
    await world.until(await world.submit("job.work"), JobState.RUNNING)
    await asyncio.sleep(1.2)
    late = await world.submit("job.work")
    await world.until(late, lambda now: now.pending_reason == "no_workers")

    await world.handshake("seldom", ["job.work"])

    await world.until(late, JobState.RUNNING)


async def test_names_of_the_control_plane_are_refused_to_workers(world: World, scheduler: Process) -> None:
    await world.heartbeat(subjects.SCHEDULER_ID)
    await world.heartbeat("honest")
    await world.until(await world.submit("job.work"), JobState.RUNNING)

    assert [entry["worker_id"] for entry in scheduler.events("worker_refused")] == [subjects.SCHEDULER_ID]
    assert [entry["worker_id"] for entry in scheduler.events("worker_online")] == ["honest"]


async def parked(world: World) -> int:
    """Jobs that stand in any lane."""
    return sum(queue.count for queue in (await world.store.parked.queues(micros(time.time()))).values())


async def until_empty(world: World) -> None:
    deadline = asyncio.get_running_loop().time() + 5
    while await parked(world):
        assert asyncio.get_running_loop().time() < deadline, "a job that runs is still parked"
        await asyncio.sleep(0.02)


async def announce_config(world: World) -> None:
    packet = envelope.packet(subjects.GATEWAY_CONTROL_ID, "config", 1.0)
    packet.alert.message = "config changed"
    packet.alert.level, packet.alert.component, packet.alert.code = "info", "gateway", "config_changed"
    await world.bus.publish_core(subjects.CONFIG_CHANGED, envelope.encode(packet))
