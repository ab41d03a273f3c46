"""Many workers on one connection: each has its own name, subject and heartbeats; together they count what they did."""

import asyncio
import time

from google.protobuf.message import DecodeError

from bench import packets
from bench.nats import NatsClient

HEARTBEAT_S = 5.0
"""The SDK's default; spread, so that not all of them speak at once."""

_RESULT = b"sys.job.result"


class Fleet:
    """`size` workers that answer every job at once with SUCCEEDED.

    Args:
        capacity: jobs each takes in parallel.
    """

    def __init__(self, nats: NatsClient, *, size: int, pool: str, topics: list[str], capacity: int) -> None:
        self._nats = nats
        self._names = [f"fleet-{number:04d}" for number in range(size)]
        self._pool = pool
        self._topics = topics
        self._capacity = capacity
        self._beats: asyncio.Task[None] | None = None
        self._seen: set[str] = set()
        self._target = 0
        self._reached = asyncio.Event()
        self.doubled = 0
        self.used: set[str] = set()
        """The workers that were given a job."""
        self.last_at = 0.0
        """When the last job was answered, of `time.perf_counter`."""

    @property
    def answered(self) -> int:
        return len(self._seen)

    async def start(self) -> None:
        """Every worker has introduced itself when this returns."""
        for name in self._names:
            self._listen(name)
        await self._nats.flush()
        for number, name in enumerate(self._names):
            self._nats.publish(b"sys.handshake", packets.handshake(name, self._topics))
            self._beat(name)
            if number % 64 == 63:
                await self._nats.writable()
        await self._nats.flush()
        self._beats = asyncio.create_task(self._heartbeats(), name="fleet heartbeats")

    async def stop(self) -> None:
        if self._beats is not None:
            self._beats.cancel()
            await asyncio.gather(self._beats, return_exceptions=True)

    def forget(self) -> None:
        """Start counting anew."""
        self._seen.clear()
        self.used.clear()
        self.doubled = 0

    async def answered_all(self, count: int, within: float) -> bool:
        """Whether `count` jobs in all were answered within so many seconds."""
        self._target = count
        self._reached.clear()
        if self.answered < count:
            try:
                async with asyncio.timeout(within):
                    await self._reached.wait()
            except TimeoutError:
                return False
        return True

    def _listen(self, name: str) -> None:
        writer = packets.ResultWriter(name)

        def on_job(_subject: bytes, _reply: bytes, payload: bytes) -> None:
            try:
                job_id, answer = writer.answer(payload)
            except (DecodeError, ValueError):
                return
            self._nats.publish(_RESULT, answer)
            if job_id in self._seen:
                self.doubled += 1
                return
            self._seen.add(job_id)
            self.used.add(name)
            self.last_at = time.perf_counter()
            if self.answered >= self._target:
                self._reached.set()

        self._nats.subscribe(f"worker.{name}.jobs", on_job)

    def _beat(self, name: str) -> None:
        self._nats.publish(b"sys.heartbeat", packets.heartbeat(name, self._pool, self._capacity, 0, self._topics))

    async def _heartbeats(self) -> None:
        pause = HEARTBEAT_S / len(self._names)
        while self._nats.failure is None:
            for name in self._names:
                await asyncio.sleep(pause)
                self._beat(name)
