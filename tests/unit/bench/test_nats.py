import asyncio

import pytest
from bench.nats import NatsClient, NatsError
from bench.packets import SubmitWriter
from bench.worker import BenchWorker

from cordum.embedded.servers import Server


async def test_messages_come_whole_with_and_without_headers_and_reply() -> None:
    client = NatsClient()
    seen: list[tuple[bytes, bytes, bytes]] = []
    client._handlers[b"1"] = lambda subject, reply, payload: seen.append((subject, reply, payload))
    stream = (
        b"MSG a.b 1 5\r\nhello\r\n"
        b"MSG a.b 1 r.s 3\r\nx\r\n\r\n"
        b"HMSG c 1 12 14\r\nNATS/1.0\r\n\r\nok\r\n"
        b"HMSG c 1 r 12 12\r\nNATS/1.0\r\n\r\n\r\n"
        b"+OK\r\n"
    )
    for at in range(0, len(stream), 3):
        client.data_received(stream[at : at + 3])
    assert seen == [(b"a.b", b"", b"hello"), (b"a.b", b"r.s", b"x\r\n"), (b"c", b"", b"ok"), (b"c", b"r", b"")]


@pytest.mark.parametrize("line", [b"-ERR 'Authorization Violation'\r\n", b"HELLO\r\n", b"MSG a 1 -5\r\n", b"MSG a\r\n"])
async def test_what_it_cannot_read_ends_the_connection(line: bytes) -> None:
    client = NatsClient()
    client.data_received(line)
    assert client.failure is not None
    with pytest.raises((NatsError, ValueError)):
        await client._greeted


async def test_a_wrong_password_is_an_error(nats_server: Server) -> None:
    with pytest.raises((NatsError, ConnectionError)):
        await NatsClient.connect(f"nats://cordum:wrong@127.0.0.1:{nats_server.port}", name="test")


async def test_the_worker_answers_every_job_once(nats_server: Server) -> None:
    driver = await NatsClient.connect(nats_server.url, name="test")
    own = await NatsClient.connect(nats_server.url, name="worker")
    worker = BenchWorker(own, worker_id="w", pool="bench", topics=["job.bench"], capacity=4)
    results: list[bytes] = []
    all_here, beat = asyncio.Event(), asyncio.Event()

    def on_result(_subject: bytes, _reply: bytes, payload: bytes) -> None:
        results.append(payload)
        if len(results) == 101:
            all_here.set()

    driver.subscribe("sys.job.result", on_result)
    driver.subscribe("sys.heartbeat", lambda _s, _r, _p: beat.set())
    await driver.flush()
    await worker.start()
    writer = SubmitWriter("job.bench", "default", "bench", "test")
    for number in range(100):
        driver.publish(b"worker.w.jobs" if number % 2 else b"job.bench", writer.packet(f"job-{number}"))
    driver.publish(b"job.bench", writer.packet("job-7"))
    driver.publish(b"job.bench", b"\xff\xff")
    async with asyncio.timeout(10):
        await beat.wait()
        await all_here.wait()
    assert await worker.answered_all(100, 1.0)
    assert (worker.answered, worker.doubled) == (100, 1)
    assert not await worker.answered_all(101, 0.01)
    await worker.stop()
    driver.close()
