"""Acknowledged publishing against a real server."""

import asyncio
from typing import Any

import pytest
from tests.support.jetstream import jetstream
from tests.support.tally import OpenBus, submit

from cordum.bus import BadSubjectError, Bus, CoreMessage, MessageTooLargeError, PublishError, subjects
from cordum.bus.publisher import Publisher
from cordum.embedded.servers import Server


async def stored(url: str, stream: str = subjects.STREAM_SYS) -> int:
    async with jetstream(url) as js:
        return (await js.stream_info(stream)).state.messages


async def test_a_publish_returns_when_the_message_is_stored(bus: Bus, nats_server: Server) -> None:
    await bus.publish(subjects.JOB_SUBMIT, b"data", msg_id="m1", headers={"traceparent": "00-x"})
    async with jetstream(nats_server.url) as js:
        message = await js.get_msg(subjects.STREAM_SYS, 1)
    assert message.data == b"data"
    assert message.headers == {"Nats-Msg-Id": "m1", "traceparent": "00-x"}


async def test_the_same_message_id_is_stored_once(bus: Bus, nats_server: Server) -> None:
    await submit(bus, 1, 1, 1)
    await submit(bus, 1)
    await bus.publish(subjects.JOB_SUBMIT, b"without id")
    await bus.publish(subjects.JOB_SUBMIT, b"without id")
    assert await stored(nats_server.url) == 3


async def test_dispatches_and_submits_do_not_shadow_each_other(bus: Bus, nats_server: Server) -> None:
    await bus.publish(subjects.JOB_SUBMIT, b"s", msg_id="jobreq:1")
    await bus.publish(subjects.worker_jobs("w1"), b"d", msg_id="jobreq:1")
    assert await stored(nats_server.url) == 1
    assert await stored(nats_server.url, subjects.STREAM_JOBS) == 1


async def test_a_subject_without_stream_is_an_error(bus: Bus) -> None:
    with pytest.raises(PublishError, match="no stream takes this subject"):
        await bus.publish("nobody.wants.this", b"")


async def test_what_the_stream_refuses_is_an_error(bus: Bus, nats_server: Server) -> None:
    async with jetstream(nats_server.url) as js:
        await js.add_stream(name="FULL", subjects=["full"], max_msgs=1, discard="new")
    await bus.publish("full", b"1")
    with pytest.raises(PublishError, match="maximum messages exceeded"):
        await bus.publish("full", b"2")


async def test_a_listener_beside_no_stream_does_not_make_it_stored(bus: Bus, nats_server: Server) -> None:
    async def ignore(_message: CoreMessage) -> None: ...

    async with jetstream(nats_server.url) as js:
        await js._nc.subscribe("heard.only", cb=_ignore)
        await js._nc.flush()
        impatient = Publisher(bus._wire, ack_timeout=0.3)
        await impatient.start()
        with pytest.raises(PublishError, match=r"not acknowledged within 0\.3 s"):
            await impatient.publish("heard.only", b"")
        await impatient.aclose(grace=1.0)


async def _ignore(_message: object) -> None: ...


async def test_a_message_too_large_is_refused_at_once(bus: Bus) -> None:
    with pytest.raises(MessageTooLargeError):
        await bus.publish(subjects.JOB_SUBMIT, bytes(5 * 1024 * 1024))


@pytest.mark.parametrize("subject", ["", "job.*", "a b", "a\r\nPING"])
async def test_a_bad_subject_is_refused(bus: Bus, subject: str) -> None:
    with pytest.raises(BadSubjectError):
        await bus.publish(subject, b"")
    with pytest.raises(BadSubjectError):
        await bus.publish_core(subject, b"")


async def test_the_window_holds_back_what_is_too_much(bus: Bus, nats_server: Server) -> None:
    narrow = Publisher(bus._wire, window=4, ack_timeout=5.0)
    await narrow.start()
    most = 0

    async def publish(number: int) -> None:
        nonlocal most
        await narrow.publish(subjects.JOB_SUBMIT, b"", f"w{number}")
        most = max(most, narrow.in_flight)

    publishing = asyncio.gather(*(publish(number) for number in range(200)))
    await asyncio.sleep(0)
    assert narrow.in_flight == 4
    await publishing
    assert most <= 4
    assert narrow.in_flight == 0
    assert await stored(nats_server.url) == 200
    await narrow.aclose(grace=1.0)


async def test_the_window_counts_bytes_as_well(bus: Bus, nats_server: Server) -> None:
    narrow = Publisher(bus._wire, window_bytes=250_000)
    await narrow.start()
    publishing = asyncio.gather(*(narrow.publish(subjects.JOB_SUBMIT, bytes(100_000), f"b{n}") for n in range(10)))
    await asyncio.sleep(0)
    assert narrow.in_flight == 2
    await publishing
    await narrow.publish(subjects.JOB_SUBMIT, bytes(300_000), "larger than the window")
    assert await stored(nats_server.url) == 11
    await narrow.aclose(grace=1.0)


async def test_too_many_waiting_publishers_are_turned_away(bus: Bus) -> None:
    narrow = Publisher(bus._wire, window=1, max_waiting=2)
    await narrow.start()
    outcomes = await asyncio.gather(
        *(narrow.publish(subjects.JOB_SUBMIT, b"", f"t{n}") for n in range(5)), return_exceptions=True
    )
    assert sum(isinstance(outcome, PublishError) for outcome in outcomes) == 2
    await narrow.aclose(grace=1.0)


async def test_a_cancelled_publisher_leaves_no_hole_in_the_window(bus: Bus, nats_server: Server) -> None:
    narrow = Publisher(bus._wire, window=2)
    await narrow.start()
    tasks = [asyncio.create_task(narrow.publish(subjects.JOB_SUBMIT, b"", f"c{n}")) for n in range(6)]
    await asyncio.sleep(0)
    tasks[0].cancel()  # on its way
    tasks[3].cancel()  # waiting
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(outcome, asyncio.CancelledError) for outcome in outcomes] == [
        True,
        False,
        False,
        True,
        False,
        False,
    ]
    await asyncio.gather(*(narrow.publish(subjects.JOB_SUBMIT, b"", f"d{n}") for n in range(6)))
    assert await stored(nats_server.url) == 11
    await narrow.aclose(grace=1.0)


async def test_while_the_server_is_gone_a_publish_fails_and_says_so(bus: Bus, nats_server: Server) -> None:
    impatient = Publisher(bus._wire, ack_timeout=0.3)
    await impatient.start()
    await nats_server.kill()
    with pytest.raises(PublishError):
        await impatient.publish(subjects.JOB_SUBMIT, b"1", "m1")
    with pytest.raises(PublishError, match="not connected"):
        await impatient.publish(subjects.JOB_SUBMIT, b"2", "m2")
    with pytest.raises(PublishError, match="not connected"):
        await bus.publish_core(subjects.HEARTBEAT, b"")
    await impatient.aclose(grace=0)


async def test_closing_without_a_server_closes_all_the_same(open_bus: OpenBus, nats_server: Server) -> None:
    bus = await open_bus()
    wire: Any = bus._wire
    await nats_server.kill()
    # Words the client had no time to write before the server was gone.
    wire._pending = [b"PING\r\n"]
    wire._pending_data_size = 6
    wire._transport._io_writer.transport.abort()
    await bus.aclose()
    assert wire.is_closed and not bus.connected


async def test_a_short_absence_of_the_server_is_not_noticed_by_publishers(bus: Bus, nats_server: Server) -> None:
    await submit(bus, 0)
    await nats_server.kill()
    publishing = asyncio.create_task(submit(bus, *range(1, 50)))
    await asyncio.sleep(0)
    await nats_server.restart()
    await publishing
    assert await stored(nats_server.url) == 50


async def test_closing_waits_for_what_is_on_its_way(open_bus: OpenBus, nats_server: Server) -> None:
    bus = await open_bus()
    publishing = asyncio.create_task(submit(bus, *range(100)))
    await asyncio.sleep(0)
    await bus.aclose()
    await publishing
    assert await stored(nats_server.url) == 100
    with pytest.raises(PublishError, match="closed"):
        await bus.publish(subjects.JOB_SUBMIT, b"")
