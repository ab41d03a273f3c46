"""Whether a message was stored is asked of a replicated stream without hurting it."""

import asyncio
import uuid

import pytest
from blockbuster import BlockBuster
from tests.cluster.installation import Installation

from cordum.bus import Bus, subjects
from cordum.runtime.settings import NatsSettings, load

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_asking_what_three_servers_stored_leaves_them_in_step(
    clusters: Installation, event_loop_guard: BlockBuster
) -> None:
    event_loop_guard.deactivate()  # certificates are read when a process starts
    bus = await Bus.connect(load(NatsSettings, {**clusters.nats.env, "NATS_JS_REPLICAS": "3"}))
    try:
        await bus.ensure_streams()
        stored, never = f"jobreq:{uuid.uuid4()}:1", f"jobreq:{uuid.uuid4()}:1"
        await bus.publish("job.nobody-listens", b"one", msg_id=stored)
        for _ in range(3):
            answers = await asyncio.gather(*(bus.has_stored(subjects.STREAM_JOBS, one) for one in (stored, never)))
            assert answers == [True, False]
        await bus.publish("job.nobody-listens", b"two", msg_id=never)
        assert await bus.has_stored(subjects.STREAM_JOBS, never)
        await clusters.nats.in_step("CORDUM_JOBS")
        leader = await clusters.nats.leader("CORDUM_JOBS")
        await clusters.nats.api("STREAM.LEADER.STEPDOWN.CORDUM_JOBS")
        await clusters.nats.in_step("CORDUM_JOBS")
        assert await clusters.nats.leader("CORDUM_JOBS") is not leader, "another one can take over"
        assert await bus.has_stored(subjects.STREAM_JOBS, never)
    finally:
        await bus.aclose()
