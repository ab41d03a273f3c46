"""`WORKER_READINESS_REQUIRED`: what a worker announced once holds as long as it is heard (spec-scheduler 11.2)."""

import asyncio
import signal
import time

import pytest
from tests.integration.scheduler import attested
from tests.integration.scheduler.world import World, echo

from cordum.core.jobs.states import JobState

READY = {"WORKER_READINESS_REQUIRED": "true", "WORKER_READINESS_TTL": "1s"}


@pytest.mark.seed("S99")
async def test_heartbeats_keep_an_announcement_fresh_and_restarts_keep_it_at_all(world: World) -> None:
    token = await attested.issue(world, "worker", 1)
    _, scheduler = await asyncio.gather(world.start_kernel(), world.start_scheduler(**READY))
    await attested.start_agent(world, "worker", token, {"job.work": echo})
    started = time.monotonic()
    await world.until(await world.submit("job.work"), JobState.SUCCEEDED)
    while time.monotonic() < started + 1.5:
        await world.until(await world.submit("job.work"), JobState.SUCCEEDED)
        await asyncio.sleep(0.1)

    # The SDK announces its topics once. What the first scheduler heard, the next one knows: also when it is the first
    # to ask for the token, and when the check is taken back.
    for env in ({"WORKER_ATTESTATION": "enforce"}, {}):
        await settled(world)
        assert await scheduler.end(signal.SIGTERM) == 0
        scheduler = await world.start_scheduler(**READY, **env)
        await world.until(await world.submit("job.work"), JobState.SUCCEEDED)

    await world.handshake("worker", [])

    await world.until(await world.submit("job.work"), lambda now: now.pending_reason == "no_workers")


async def test_an_announcement_alone_makes_nobody_a_worker(world: World) -> None:
    await attested.issue(world, "issued", 2)
    _, scheduler = await asyncio.gather(
        world.start_kernel(), world.start_scheduler(WORKER_ATTESTATION="enforce", **READY)
    )

    await world.handshake("issued", ["job.work"])
    await world.handshake("stranger", ["job.work"])

    async def heard() -> bool:
        return attested.refusals(scheduler) == {("stranger", "credential_invalid")}

    await world.eventually(heard, "the stranger is refused")
    job = await world.submit("job.work")
    await world.until(job, lambda now: now.pending_reason == "no_workers")
    await settled(world)
    assert await attested.listed(world) == {}


async def test_a_worker_that_was_cut_off_is_ready_again_when_it_is_heard(world: World) -> None:
    _, scheduler = await asyncio.gather(world.start_kernel(), world.start_scheduler(**READY))
    await world.handshake("worker", ["job.work"])
    await world.heartbeat("worker", max_parallel=5)
    await world.until(await world.submit("job.work"), JobState.RUNNING)

    async def gone() -> bool:
        return bool(scheduler.events("worker_offline"))

    await world.eventually(gone, "silence is noticed")

    async def beat_on() -> None:
        # With room for the first job, too, which is tried again.
        while True:
            await world.heartbeat("worker", max_parallel=5)
            await asyncio.sleep(0.2)

    beating = asyncio.create_task(beat_on())

    await world.until(await world.submit("job.work"), JobState.RUNNING)
    beating.cancel()
    await asyncio.wait({beating})


async def settled(world: World) -> None:
    """Until a snapshot was written from now on."""
    await world.redis_command("DEL", "sys:workers:snapshot")

    async def written() -> bool:
        return await world.store.workers.load() is not None

    await world.eventually(written, "a snapshot is written")
