"""What an acknowledgement is worth: the server is killed in the middle of it all."""

import asyncio

import pytest
from tests.support.jetstream import comes_true, jetstream, unacknowledged
from tests.support.tally import OpenBus, Tally, payloads, submit

from cordum.bus import Bus, PublishError, subjects
from cordum.embedded.servers import Server

DURABLE = "dur_cordum-scheduler__sys_job_submit"


@pytest.mark.seed("S3")
async def test_what_was_acknowledged_survives_a_killed_server(bus: Bus, nats_server: Server) -> None:
    await submit(bus, *range(500))
    for number in range(500):
        await bus.publish(subjects.worker_jobs("w1"), b"job", msg_id=f"jobreq:{number}:1")
    await asyncio.sleep(1.2)  # the server syncs each second, and the statement grants it that
    await nats_server.kill()
    await nats_server.restart()
    tally = Tally()
    async with jetstream(nats_server.url) as js:
        assert (await js.stream_info(subjects.STREAM_SYS)).state.messages == 500
        assert (await js.stream_info(subjects.STREAM_JOBS)).state.messages == 500
    await comes_true(lambda: _connected(bus), "reconnected")
    await tally.consume(bus)
    await tally.until(lambda: set(tally.seen) == payloads(*range(500)))


@pytest.mark.seed("S3")
async def test_a_server_killed_in_mid_burst_loses_nothing_that_was_acknowledged(
    open_bus: OpenBus, nats_server: Server
) -> None:
    bus = await open_bus(nats_js_ack_wait=2)
    tally = Tally()
    await tally.consume(bus, max_in_flight=64)
    queue = iter(range(4000))
    acknowledged: list[int] = []

    async def publish_until_acknowledged() -> None:
        for number in queue:
            for _ in range(20):
                try:
                    await bus.publish(subjects.JOB_SUBMIT, str(number).encode(), msg_id=f"jobreq:{number}")
                    acknowledged.append(number)
                    break
                except PublishError:
                    await asyncio.sleep(0.1)

    publishing = asyncio.gather(*(publish_until_acknowledged() for _ in range(64)))
    await tally.until(lambda: len(tally.seen) > 300)
    assert len(acknowledged) < 4000
    await nats_server.kill()
    await nats_server.restart()
    await publishing
    assert len(acknowledged) == 4000
    await tally.until(lambda: len(tally.seen) == 4000, within=30)

    async def none_left() -> bool:
        return await unacknowledged(nats_server.url, subjects.STREAM_SYS, DURABLE) == 0

    await comes_true(none_left, "everything is acknowledged")


async def test_subscriptions_consumers_and_callbacks_survive_a_restart(bus: Bus, nats_server: Server) -> None:
    back = asyncio.Event()

    async def note() -> None:
        back.set()

    async def fail() -> None:
        raise RuntimeError("not my day")

    bus.on_reconnect(fail)
    bus.on_reconnect(note)
    tally = Tally()
    await tally.consume(bus)
    for number in range(3):
        await submit(bus, number)
        await tally.until(lambda number=number: len(tally.seen) == number + 1)  # type: ignore[misc]
        back.clear()
        await nats_server.stop()
        assert not bus.connected
        await nats_server.restart()
        await asyncio.wait_for(back.wait(), 10)
        assert bus.connected
    await submit(bus, 100)
    await tally.until(lambda: b"100" in tally.seen)


async def test_a_server_that_comes_back_empty_gets_its_streams_again(open_bus: OpenBus, nats_server: Server) -> None:
    bus = await open_bus()
    tally = Tally()
    await tally.consume(bus)
    await submit(bus, 1)
    await tally.until(lambda: len(tally.seen) == 1)
    async with jetstream(nats_server.url) as js:
        await js.delete_stream(subjects.STREAM_SYS)
        await js.delete_stream(subjects.STREAM_JOBS)
    await nats_server.kill()
    await nats_server.restart()

    async def publishable() -> bool:
        try:
            await submit(bus, 2)
        except PublishError:
            return False
        return True

    await comes_true(publishable, "the stream is back", within=20)
    await tally.until(lambda: b"2" in tally.seen)


async def _connected(bus: Bus) -> bool:
    return bus.connected
