"""Taking messages from a stream of a real server."""

import asyncio

import pytest
from tests.support.jetstream import comes_true, jetstream, unacknowledged
from tests.support.processes import eventually
from tests.support.tally import OpenBus, Tally, payloads, submit

from cordum.bus import ACK, Bus, Consumer, Delivery, Outcome, Poison, Retry, subjects
from cordum.bus.consumer import Handler, OnPoison
from cordum.embedded.servers import Server

DURABLE = "dur_cordum-scheduler__sys_job_submit"


async def all_settled(url: str, durable: str = DURABLE) -> None:
    """Waits until the consumer has nothing left to deal with."""

    async def none_left() -> bool:
        return await unacknowledged(url, subjects.STREAM_SYS, durable) == 0

    await comes_true(none_left, f"{durable} is done")


async def test_each_of_5000_messages_is_handled_once_and_acknowledged(bus: Bus, nats_server: Server) -> None:
    tally = Tally()
    await submit(bus, *range(2500))
    consumer = await tally.consume(bus, max_in_flight=256)
    await submit(bus, *range(2500, 5000))
    await tally.until(lambda: len(tally.seen) == 5000)
    await all_settled(nats_server.url)
    assert set(tally.seen.values()) == {1}
    assert consumer.in_flight == 0
    first = tally.deliveries[0]
    assert (first.subject, first.attempt, first.seq, first.headers) == (
        subjects.JOB_SUBMIT,
        1,
        1,
        {"Nats-Msg-Id": f"jobreq:{first.data.decode()}"},
    )


async def test_never_more_than_max_in_flight_are_handled_at_once(bus: Bus) -> None:
    tally = Tally()
    tally.hold = asyncio.Event()
    await submit(bus, *range(100))
    consumer = await tally.consume(bus, max_in_flight=10, batch=4)
    await tally.until(lambda: len(tally.seen) == 10)
    await bus.ping()
    await bus.ping()
    assert len(tally.seen) == 10
    assert consumer.in_flight == 10
    tally.hold.set()
    await tally.until(lambda: len(tally.seen) == 100)


@pytest.mark.seed("S205")
async def test_two_processes_share_the_work(open_bus: OpenBus, nats_server: Server) -> None:
    one, two = Tally(), Tally()
    first, second = await open_bus(), await open_bus()
    await one.consume(first, max_in_flight=16)
    await two.consume(second, max_in_flight=16)
    await submit(first, *range(1000))
    await eventually(lambda: len(one.seen) + len(two.seen) == 1000, "all are handled", within=20)
    await all_settled(nats_server.url)
    assert set((one.seen + two.seen).values()) == {1}
    assert one.seen and two.seen


async def test_a_retry_comes_back_after_its_delay(bus: Bus) -> None:
    times: list[float] = []
    answers: list[Outcome] = [Retry(), Retry(0.5), ACK]
    tally = Tally()

    async def handle(delivery: Delivery) -> Outcome:
        times.append(delivery.received_at)
        await tally.handle(delivery)
        return answers[delivery.attempt - 1]

    await _consume(bus, handle, tally)
    await submit(bus, 1)
    await tally.until(lambda: len(times) == 3)
    assert times[1] - times[0] < 0.4
    assert 0.45 <= times[2] - times[1] < 2.0


async def test_a_handler_that_fails_gets_the_message_again_a_second_later(bus: Bus) -> None:
    tally = Tally()

    async def handle(delivery: Delivery) -> Outcome:
        await tally.handle(delivery)
        if delivery.attempt == 1:
            raise RuntimeError("cannot")
        return ACK

    await _consume(bus, handle, tally)
    await submit(bus, 1)
    await tally.until(lambda: len(tally.deliveries) == 2)
    assert 0.9 <= tally.deliveries[1].received_at - tally.deliveries[0].received_at < 3.0


async def test_poison_is_put_away_and_never_seen_again(bus: Bus, nats_server: Server) -> None:
    tally = Tally(Poison("no packet"))
    await tally.consume(bus)
    await submit(bus, 1)
    await tally.until(lambda: bool(tally.poisoned))
    await all_settled(nats_server.url)
    assert tally.poisoned == [(b"1", "no packet")]
    assert tally.seen[b"1"] == 1


async def test_poison_that_cannot_be_put_away_stays(bus: Bus, nats_server: Server) -> None:
    tally = Tally(Poison("no packet"))
    tried = asyncio.Event()

    async def fail(_delivery: Delivery, _reason: str) -> None:
        tried.set()
        raise ConnectionError("Redis is gone")

    await _consume(bus, tally.handle, tally, fail)
    await submit(bus, 1)
    await asyncio.wait_for(tried.wait(), 10)
    await bus.ping()
    assert await unacknowledged(nats_server.url, subjects.STREAM_SYS, DURABLE) == 1


async def test_after_100_deliveries_a_message_is_poison(
    bus: Bus, nats_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cordum.bus.consumer.WARN_DELIVERIES", 3)
    monkeypatch.setattr("cordum.bus.consumer.MAX_DELIVERIES", 5)
    tally = Tally(Retry())
    await tally.consume(bus)
    await submit(bus, 1)
    await tally.until(lambda: bool(tally.poisoned))
    await all_settled(nats_server.url)
    assert tally.seen[b"1"] == 4
    assert tally.poisoned == [(b"1", "delivered 5 times without an end")]


@pytest.mark.seed("S180")
async def test_what_a_crashed_process_had_taken_comes_back_after_the_ack_wait(
    open_bus: OpenBus, nats_server: Server
) -> None:
    crashing, surviving = Tally(), Tally()
    crashing.hold = asyncio.Event()
    victim = await open_bus(nats_js_ack_wait=2)
    await crashing.consume(victim)
    await submit(victim, *range(10))
    await crashing.until(lambda: len(crashing.seen) == 10)
    victim._ticker.cancel()  # type: ignore[union-attr]  # a dead process reports no progress
    await victim._wire._close(victim._wire.CLOSED, do_cbs=False)  # nor does it give anything back

    survivor = await open_bus(nats_js_ack_wait=2)
    await surviving.consume(survivor)
    await surviving.until(lambda: len(surviving.seen) == 10)
    assert {delivery.attempt for delivery in surviving.deliveries} == {2}
    await all_settled(nats_server.url)


async def test_a_slow_handler_keeps_its_message(open_bus: OpenBus, nats_server: Server) -> None:
    bus = await open_bus(nats_js_ack_wait=2)
    tally = Tally()
    tally.hold = asyncio.Event()
    await tally.consume(bus)
    await submit(bus, 1)
    await tally.until(lambda: bool(tally.seen))
    await asyncio.sleep(5)  # twice the ack wait and more: that nothing happens takes its time
    assert tally.seen[b"1"] == 1
    tally.hold.set()
    await all_settled(nats_server.url)


async def test_a_handler_without_end_is_cancelled(
    open_bus: OpenBus, nats_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cordum.bus.consumer.MAX_HELD", 0.1)
    bus = await open_bus(nats_js_ack_wait=2)
    tally = Tally()
    tally.hold = asyncio.Event()
    await tally.consume(bus)
    await submit(bus, 1)
    await tally.until(lambda: tally.seen[b"1"] == 2)
    tally.hold.set()
    await all_settled(nats_server.url)


async def test_a_paused_consumer_takes_nothing_until_it_is_resumed(bus: Bus, nats_server: Server) -> None:
    tally = Tally()
    consumer = await tally.consume(bus, batch=8)
    await submit(bus, 0)
    await tally.until(lambda: len(tally.seen) == 1)
    consumer.pause()
    await submit(bus, *range(1, 101))
    await eventually(lambda: consumer.in_flight >= 7, "the last request is filled")
    await bus.ping()
    assert len(tally.seen) == 1
    assert consumer.in_flight <= 8
    consumer.resume()
    await tally.until(lambda: len(tally.seen) == 101)
    await all_settled(nats_server.url)
    assert set(tally.seen.values()) == {1}


async def test_stop_lets_handlers_end(open_bus: OpenBus, nats_server: Server) -> None:
    bus = await open_bus()
    tally = Tally()
    tally.hold = asyncio.Event()
    consumer = await tally.consume(bus)
    await submit(bus, *range(20))
    await tally.until(lambda: len(tally.seen) == 20)
    stopping = asyncio.create_task(consumer.stop(grace=10))
    await bus.ping()
    tally.hold.set()
    await asyncio.wait_for(stopping, 5)
    await all_settled(nats_server.url)
    await submit(bus, 100)
    await bus.ping()
    assert b"100" not in tally.seen


async def test_stop_gives_back_what_is_not_done_in_time(open_bus: OpenBus, nats_server: Server) -> None:
    stopping_bus, other_bus = await open_bus(), await open_bus()
    stuck, other = Tally(), Tally()
    stuck.hold = asyncio.Event()
    consumer = await stuck.consume(stopping_bus, max_in_flight=5)
    await submit(stopping_bus, *range(5))
    await stuck.until(lambda: len(stuck.seen) == 5)
    await consumer.stop(grace=0.05)
    assert consumer.in_flight == 0
    await other.consume(other_bus)
    await other.until(lambda: len(other.seen) == 5, within=5)  # at once, not after the 60 s of the ack wait
    assert {delivery.attempt for delivery in other.deliveries} == {2}
    await all_settled(nats_server.url)


async def test_stop_under_load_loses_and_delays_nothing(open_bus: OpenBus, nats_server: Server) -> None:
    first_bus, second_bus = await open_bus(), await open_bus()
    first, second = Tally(), Tally()
    consumer = await first.consume(first_bus, max_in_flight=64)
    publishing = asyncio.create_task(submit(second_bus, *range(3000)))
    await first.until(lambda: len(first.seen) >= 500)
    await consumer.stop(grace=5)
    await second.consume(second_bus)
    await publishing
    await second.until(lambda: len(first.seen | second.seen) == 3000, within=10)
    await all_settled(nats_server.url)
    assert set((first.seen + second.seen).values()) == {1}


async def test_a_push_consumer_of_that_name_is_left_alone(bus: Bus, nats_server: Server) -> None:
    async with jetstream(nats_server.url) as js:
        await js.add_consumer(
            subjects.STREAM_SYS,
            durable_name=DURABLE,
            name=DURABLE,
            deliver_subject="_INBOX.somebody",
            deliver_group="cordum-scheduler",
            filter_subject=subjects.JOB_SUBMIT,
            ack_policy="explicit",
        )
    tally = Tally()
    consumer = await tally.consume(bus)
    await submit(bus, 1)
    await tally.until(lambda: bool(tally.seen))
    assert consumer.name == f"{subjects.STREAM_SYS} {DURABLE}__pull"
    await all_settled(nats_server.url, f"{DURABLE}__pull")


async def test_an_existing_consumer_is_brought_up_to_date(open_bus: OpenBus, nats_server: Server) -> None:
    tally = Tally()
    await (await tally.consume(await open_bus(nats_js_ack_wait=2))).stop(grace=0)
    await tally.consume(await open_bus(nats_js_ack_wait=30, nats_max_ack_pending=4096))
    async with jetstream(nats_server.url) as js:
        config = (await js.consumer_info(subjects.STREAM_SYS, DURABLE)).config
    assert (config.ack_wait, config.max_ack_pending, config.max_deliver) == (30, 4096, -1)


async def test_a_consumer_that_somebody_deletes_is_made_again(bus: Bus, nats_server: Server) -> None:
    tally = Tally()
    await tally.consume(bus)
    await submit(bus, 1)
    await tally.until(lambda: bool(tally.seen))
    async with jetstream(nats_server.url) as js:
        await js.delete_consumer(subjects.STREAM_SYS, DURABLE)
    await submit(bus, 2)
    await tally.until(lambda: b"2" in tally.seen)


async def test_a_stream_that_somebody_deletes_is_made_again(bus: Bus, nats_server: Server) -> None:
    tally = Tally()
    await tally.consume(bus)
    async with jetstream(nats_server.url) as js:
        await js.delete_stream(subjects.STREAM_SYS)

    async def stream_exists() -> bool:
        async with jetstream(nats_server.url) as js:
            return subjects.STREAM_SYS in [info.config.name for info in await js.streams_info()]

    await comes_true(stream_exists, "the stream is back")
    await submit(bus, 2)
    await tally.until(lambda: set(tally.seen) == payloads(2))


async def _consume(bus: Bus, handle: Handler, tally: Tally, put_away: OnPoison | None = None) -> Consumer:
    return await bus.consume(
        stream=subjects.STREAM_SYS,
        subject=subjects.JOB_SUBMIT,
        queue=subjects.SCHEDULER_QUEUE,
        handler=handle,
        on_poison=put_away or tally.put_away,
    )
