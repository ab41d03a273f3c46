"""One hot topic, or one busy tenant, does not starve the others."""

import asyncio
import statistics
import time
from typing import Any

import pytest
from tests.integration.scheduler import asking
from tests.integration.scheduler.world import World

from cordum.core.ids import JobId
from cordum.core.jobs.states import JobState

FLOOD = 1_000
SLOTS = 8
TAKES = 0.05
PINGS = 8


async def work(_context: Any, _data: Any) -> Any:
    await asyncio.sleep(TAKES)
    return {}


@pytest.mark.seed("S198")
async def test_a_flood_of_one_topic_delays_neither_another_topic_nor_another_tenant(world: World) -> None:
    world.pools["topics"]["job.cold"] = "main"
    world.write_files()
    await asyncio.gather(world.start_kernel(), world.start_scheduler())
    for _ in range(2):
        await world.start_agent({"job.work": work, "job.cold": work}, max_parallel=SLOTS // 2)
    await world.until(await asking.submit(world, "warm-up", topic="job.cold"), JobState.SUCCEEDED)
    idle = await latency(world, "acme", "job.cold")

    flood: list[JobId] = []
    for at in range(0, FLOOD, 100):
        flood += await asyncio.gather(
            *(asking.submit(world, f"hot-{at + number}", tenant="acme") for number in range(100))
        )
    begun = time.monotonic()
    topics, tenants = [], []
    for _ in range(PINGS):
        topics.append(await latency(world, "acme", "job.cold"))
        tenants.append(await latency(world, "umbrella", "job.work"))
    took = time.monotonic() - begun
    left = sum(record is not None and not record.state.is_terminal for record in await world.store.jobs.get_many(flood))

    seen = (
        f"latency of one job: alone {idle:.3f} s; beside {FLOOD} jobs of another topic "
        f"median {statistics.median(topics):.3f} s, most {max(topics):.3f} s; of another tenant "
        f"median {statistics.median(tenants):.3f} s, most {max(tenants):.3f} s; "
        f"{left} of the flood were left after {took:.1f} s"
    )
    assert left > SLOTS, f"the flood was over too soon to prove anything: {seen}"
    # In the order of arrival each would have waited for most of the flood.
    assert statistics.median(topics) < 1.0 and max(topics) < 3.0, seen
    assert statistics.median(tenants) < 1.0 and max(tenants) < 3.0, seen
    records = await world.until_all_end(flood, within=60)
    assert {record.state for record in records} == {JobState.SUCCEEDED}


async def latency(world: World, tenant: str, topic: str) -> float:
    begun = time.monotonic()
    await world.until(await asking.submit(world, "ping", tenant=tenant, topic=topic), JobState.SUCCEEDED, within=30)
    return time.monotonic() - begun
