"""Limits of how many jobs run at once: exact over replicas, visible, and nothing ever waits behind them for good."""

import asyncio
import time
from collections import Counter
from typing import Any

from cap.pb.cordum.agent.v1 import job_pb2
from tests.integration.scheduler import asking
from tests.integration.scheduler.world import World

from cordum.core.ids import TenantId, micros
from cordum.core.jobs import lifecycle
from cordum.core.jobs.states import JobState
from cordum.store.concurrency import INSTALLATION, tenant_scope


class Gauge:
    """A handler that counts how many jobs run at once, of each tenant and in all."""

    def __init__(self, seconds: float) -> None:
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self._seconds = seconds

    async def __call__(self, context: Any, _data: Any) -> Any:
        names = context.job.tenant_id, "all"
        for name in names:
            self.now[name] += 1
            self.most[name] = max(self.most[name], self.now[name])
        await asyncio.sleep(self._seconds)
        self.now.subtract(names)
        return {}


async def test_limits_of_tenants_and_of_the_installation_hold_over_two_schedulers(world: World) -> None:
    await world.store.configs.update("org", "acme", lambda data: {**data, "limits": {"max_concurrent_jobs": 2}})
    await world.store.configs.update("system", "default", lambda data: {**data, "limits": {"max_concurrent_jobs": 4}})
    await asyncio.gather(world.start_kernel(), world.start_scheduler(), world.start_scheduler())
    gauge = Gauge(0.1)
    for _ in range(2):
        await world.start_agent({"job.work": gauge, "job.single": gauge}, max_parallel=20)
    reasons: set[str] = set()

    tenants = ("acme", "umbrella", "wayne")
    jobs = [await asking.submit(world, "j", tenant=tenant) for _ in range(12) for tenant in tenants]
    single = [await asking.submit(world, "s", tenant="stark", topic="job.single") for _ in range(8)]

    async def all_ended() -> bool:
        records = await world.store.jobs.get_many([*jobs, *single])
        reasons.update(record.pending_reason for record in records if record is not None)
        return all(record is not None and record.state is JobState.SUCCEEDED for record in records)

    await world.eventually(all_ended, "all jobs have succeeded", within=45)
    assert gauge.most["all"] <= 4 and gauge.most["acme"] <= 2 and gauge.most["stark"] == 1
    assert gauge.most["all"] >= 3, "the limit is used"
    assert reasons >= {"tenant_limit", "tier_limit_exceeded"}
    records = await world.store.jobs.get_many([*jobs, *single])
    assert {(record.attempts, record.placement_tries) for record in records if record is not None} == {(1, 0)}
    await until_free(world, INSTALLATION, tenant_scope(TenantId("acme")), tenant_scope(TenantId("stark")))

    # Lifted at run time, and read without a restart.
    gauge.most.clear()
    await asking.change_config(world, "org", "acme", lambda data: data.pop("limits"))
    await asking.change_config(world, "system", "default", lambda data: data["limits"].update(max_concurrent_jobs=0))
    await asyncio.sleep(0.5)
    await world.until_all_end([await asking.submit(world, "j", tenant="acme") for _ in range(12)])
    assert gauge.most["acme"] > 4


async def test_a_limit_outlives_the_scheduler_and_dies_with_the_job(world: World) -> None:
    """One job at a time: its scheduler is killed, it asks for another try, it is cancelled; the next always runs."""
    await asyncio.gather(world.start_kernel(), world.start_scheduler())
    first_scheduler = world.schedulers[0]
    await asking.heartbeat(world, "w", slots=9)
    beats = asyncio.create_task(keep_beating(world))
    one = await asking.submit(world, "one", topic="job.single")
    given = await world.until(one, JobState.RUNNING)
    await world.start_scheduler()
    two = await asking.submit(world, "two", topic="job.single")
    await world.until(two, lambda now: now.pending_reason == "tenant_limit")

    await first_scheduler.kill()
    three = await asking.submit(world, "three", topic="job.single")
    await world.until(three, lambda now: now.pending_reason == "tenant_limit")
    assert (await world.record(two)).state is JobState.PENDING, "the first one still runs, so it still counts"

    # It wants another try, and goes behind the others.
    await world.publish_result("w", one, job_pb2.JOB_STATUS_FAILED_RETRYABLE, dispatch_id=given.dispatch_id)
    jobs = {one, two, three}
    order = []
    while jobs:
        running = [record async for record in running_of(world, jobs)]
        assert len(running) <= 1
        for record in running:
            order.append(record.id)
            jobs.discard(record.id)
            if record.id == two:
                # As a gateway does it: first the record, then the word.
                change = lifecycle.cancel("not needed")
                await world.store.jobs.apply(record.id, change, now=micros(time.time()), known=record)
                await world.publish_cancel(record.id)
            else:
                await world.publish_result("w", record.id, job_pb2.JOB_STATUS_SUCCEEDED, dispatch_id=record.dispatch_id)
        await asyncio.sleep(0.02)

    assert sorted(order) == sorted([one, two, three])
    await until_free(world, tenant_scope(TenantId("default")))
    beats.cancel()


async def running_of(world: World, jobs: Any) -> Any:
    for record in await world.store.jobs.get_many(list(jobs)):
        if record is not None and record.state is JobState.RUNNING:
            yield record


async def keep_beating(world: World) -> None:
    while True:
        await asking.heartbeat(world, "w", slots=9)
        await asyncio.sleep(0.3)


async def until_free(world: World, *scopes: str) -> None:
    async def free() -> bool:
        return not any([await world.store.concurrency.count(scope, micros(time.time())) for scope in scopes])

    await world.eventually(free, "nobody has a place any more", within=5)
