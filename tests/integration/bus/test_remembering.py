"""Asking a stream whether it has taken a message, without leaving a trace."""

from tests.support.jetstream import jetstream
from tests.support.tally import OpenBus

from cordum.bus import Bus, subjects
from cordum.embedded.servers import Server


async def test_a_stream_knows_what_it_has_taken_and_asking_stores_nothing(bus: Bus, nats_server: Server) -> None:
    await bus.publish("worker.w-1.jobs", b"go", msg_id="jobreq:1:1")

    assert await bus.has_stored(subjects.STREAM_JOBS, "jobreq:1:1")
    assert not await bus.has_stored(subjects.STREAM_JOBS, "jobreq:1:2")
    assert not await bus.has_stored(subjects.STREAM_JOBS, "jobreq:1:2"), "asking does not make it known"

    async with jetstream(nats_server.url) as js:
        assert (await js.stream_info(subjects.STREAM_JOBS)).state.messages == 1


async def test_it_knows_it_after_a_crash_of_the_server(open_bus: OpenBus, nats_server: Server) -> None:
    bus = await open_bus()
    await bus.publish("worker.w-1.jobs", b"go", msg_id="jobreq:1:1")

    await nats_server.kill()
    await nats_server.restart()

    assert await (await open_bus()).has_stored(subjects.STREAM_JOBS, "jobreq:1:1")
