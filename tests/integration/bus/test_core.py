"""Core messages: for whoever listens just now."""

import asyncio

import pytest
from structlog.testing import capture_logs
from tests.support.processes import eventually
from tests.support.tally import OpenBus

from cordum.bus import BadSubjectError, Bus, BusUnavailableError, CoreMessage, PublishError, subjects


class Ear:
    """Remembers what it hears."""

    def __init__(self) -> None:
        self.heard: list[CoreMessage] = []

    async def hear(self, message: CoreMessage) -> None:
        self.heard.append(message)

    async def until(self, count: int) -> None:
        await eventually(lambda: len(self.heard) >= count, f"{count} messages")


async def test_every_listener_hears_a_broadcast_in_order(open_bus: OpenBus) -> None:
    speaker, first, second = await open_bus(), await open_bus(), await open_bus()
    ears = [Ear(), Ear()]
    await first.subscribe(subjects.HEARTBEAT, ears[0].hear)
    await second.subscribe("sys.>", ears[1].hear)
    await first.ping()
    await second.ping()
    for number in range(100):
        await speaker.publish_core(subjects.HEARTBEAT, str(number).encode())
    for ear in ears:
        await ear.until(100)
        assert [message.data for message in ear.heard] == [str(number).encode() for number in range(100)]
        assert ear.heard[0].subject == subjects.HEARTBEAT


async def test_one_member_of_a_queue_hears_each_message(open_bus: OpenBus) -> None:
    speaker, first, second = await open_bus(), await open_bus(), await open_bus()
    ears = [Ear(), Ear()]
    await first.subscribe(subjects.JOB_CANCEL, ears[0].hear, queue="q")
    await second.subscribe(subjects.JOB_CANCEL, ears[1].hear, queue="q")
    await first.ping()
    await second.ping()
    for number in range(200):
        await speaker.publish_core(subjects.JOB_CANCEL, str(number).encode())
    await eventually(lambda: len(ears[0].heard) + len(ears[1].heard) == 200, "each is heard")
    assert ears[0].heard and ears[1].heard


async def test_a_process_does_not_hear_itself_but_gets_its_acknowledgements(open_bus: OpenBus) -> None:
    bus, other = await open_bus(), await open_bus()
    own, others = Ear(), Ear()
    await bus.subscribe(subjects.ALL_WORKER_JOBS, own.hear)
    await other.subscribe(subjects.ALL_WORKER_JOBS, others.hear)
    await other.ping()
    await bus.publish(subjects.worker_jobs("w1"), b"mine", msg_id="jobreq:1:1")
    await other.publish(subjects.worker_jobs("w1"), b"theirs", msg_id="jobreq:2:1")
    await own.until(1)
    await others.until(1)
    await bus.ping()
    assert [message.data for message in own.heard] == [b"theirs"]
    assert [message.data for message in others.heard] == [b"mine"]


async def test_an_answered_ping_says_that_the_server_has_what_was_sent_before(open_bus: OpenBus) -> None:
    speaker, bus = await open_bus(), await open_bus()
    ears = [Ear() for _ in range(50)]
    for number, ear in enumerate(ears):
        await bus.subscribe(f"sys.said.{number}", ear.hear)
        await bus.ping()
        await speaker.publish_core(f"sys.said.{number}", b"once")
        await speaker.ping()
    for ear in ears:
        await ear.until(1)


async def test_a_handler_that_fails_hears_the_next_message(open_bus: OpenBus) -> None:
    speaker, bus = await open_bus(), await open_bus()
    ear = Ear()

    async def fail_first(message: CoreMessage) -> None:
        await ear.hear(message)
        if len(ear.heard) == 1:
            raise ValueError("not this one")

    await bus.subscribe(subjects.HEARTBEAT, fail_first)
    await bus.ping()
    await speaker.publish_core(subjects.HEARTBEAT, b"1")
    await speaker.publish_core(subjects.HEARTBEAT, b"2")
    await ear.until(2)


async def test_what_a_slow_subscriber_loses_is_told_once(open_bus: OpenBus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cordum.bus.core.MAX_WAITING", 10)
    speaker, bus = await open_bus(), await open_bus()
    ear, go_on = Ear(), asyncio.Event()

    async def dawdle(message: CoreMessage) -> None:
        await ear.hear(message)
        await go_on.wait()

    await bus.subscribe(subjects.HEARTBEAT, dawdle)
    await bus.ping()
    with capture_logs() as logs:
        for _ in range(100):
            await speaker.publish_core(subjects.HEARTBEAT, b"")
        await speaker.ping()
        await bus.ping()
        # Everything has arrived; the client reports its losses a turn or two of the event loop later.
        await eventually(lambda: any(line["event"] == "bus_slow_consumer" for line in logs), "the loss is told")
        go_on.set()
        await ear.until(10)
    told = [line for line in logs if line["event"] == "bus_slow_consumer"]
    assert [(line["log_level"], line["subject"]) for line in told] == [("error", subjects.HEARTBEAT)]


async def test_after_unsubscribe_nothing_is_heard(open_bus: OpenBus) -> None:
    speaker, bus = await open_bus(), await open_bus()
    ear = Ear()
    subscription = await bus.subscribe(subjects.HEARTBEAT, ear.hear)
    await bus.ping()
    await speaker.publish_core(subjects.HEARTBEAT, b"1")
    await ear.until(1)
    await subscription.unsubscribe()
    await subscription.unsubscribe()
    await bus.ping()
    await speaker.publish_core(subjects.HEARTBEAT, b"2")
    await speaker.ping()
    await bus.ping()
    assert len(ear.heard) == 1


async def test_core_messages_do_not_pile_up(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cordum.bus.connection.MAX_BACKLOG", 1000)
    await bus.publish_core(subjects.HEARTBEAT, bytes(5000))
    with pytest.raises(PublishError, match="does not keep up"):
        await bus.publish_core(subjects.HEARTBEAT, bytes(5000))
    await bus.ping()
    await bus.publish_core(subjects.HEARTBEAT, bytes(5000))


@pytest.mark.parametrize(
    ("subject", "queue"), [("", ""), ("a b", ""), ("a..b", ""), ("a.>.b", ""), ("a", "q q"), ("a\r\n", "")]
)
async def test_a_bad_subject_or_queue_is_refused(bus: Bus, subject: str, queue: str) -> None:
    with pytest.raises(BadSubjectError):
        await bus.subscribe(subject, Ear().hear, queue=queue)


async def test_a_closed_bus_says_so(open_bus: OpenBus) -> None:
    bus = await open_bus()
    await bus.aclose()
    await bus.aclose()
    assert not bus.connected
    with pytest.raises(BusUnavailableError):
        await bus.subscribe(subjects.HEARTBEAT, Ear().hear)
    with pytest.raises(BusUnavailableError):
        await bus.ping()
    with pytest.raises(PublishError):
        await bus.publish_core(subjects.HEARTBEAT, b"")


async def test_an_error_line_of_the_server_does_not_end_the_connection(bus: Bus) -> None:
    await bus._wire._ps.parse(b"-ERR 'Maximum Connections Exceeded'\r\n")
    await asyncio.sleep(0)
    await bus.ping()
    assert bus.connected


async def test_a_reader_that_ended_by_accident_is_replaced(bus: Bus) -> None:
    back = asyncio.Event()

    async def note() -> None:
        back.set()

    bus.on_reconnect(note)
    bus._wire._reading_task.cancel()  # type: ignore[union-attr]
    await asyncio.wait_for(back.wait(), 10)
    await bus.ping()
    await bus.publish(subjects.JOB_SUBMIT, b"", msg_id="m")
