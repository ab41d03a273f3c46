"""The bench's worker: answers every job at once with SUCCEEDED, speaking CAP over the raw NATS client."""

import asyncio
import time

from google.protobuf.message import DecodeError

from bench import packets
from bench.nats import NatsClient

HEARTBEAT_S = 0.5
_RESULT = b"sys.job.result"


class BenchWorker:
    """Counts what it was given. It does nothing but answer, so its cost is the bus's and the codec's.

    Results carry no result pointer: a worker's own Redis write is not part of the stack's work.
    """

    def __init__(self, nats: NatsClient, *, worker_id: str, pool: str, topics: list[str], capacity: int) -> None:
        self._nats = nats
        self._id = worker_id
        self._pool = pool
        self._topics = topics
        self._capacity = capacity
        self._writer = packets.ResultWriter(worker_id)
        self._beat: asyncio.Task[None] | None = None
        self._seen: set[str] = set()
        self._target = 0
        self._reached = asyncio.Event()
        self.answered = 0
        self.doubled = 0
        self.refused = 0
        self.last_at = 0.0

    async def start(self) -> None:
        self._nats.subscribe(f"worker.{self._id}.jobs", self._on_job)
        for topic in self._topics:
            self._nats.subscribe(topic, self._on_job, queue=topic)
        await self._nats.flush()
        self._nats.publish(b"sys.handshake", packets.handshake(self._id, self._topics))
        self._beat = asyncio.create_task(self._heartbeats(), name="bench-heartbeats")

    async def stop(self) -> None:
        if self._beat is not None:
            self._beat.cancel()
            await asyncio.gather(self._beat, return_exceptions=True)
        self._nats.close()

    def forget(self) -> None:
        """Start counting anew."""
        self._seen.clear()
        self.answered = self.doubled = 0

    async def answered_all(self, count: int, timeout: float) -> bool:
        """Whether `count` jobs in all were answered within `timeout` seconds."""
        self._target = count
        self._reached.clear()
        if self.answered < count:
            try:
                async with asyncio.timeout(timeout):
                    await self._reached.wait()
            except TimeoutError:
                return False
        return True

    async def _heartbeats(self) -> None:
        while self._nats.failure is None:
            self._nats.publish(
                b"sys.heartbeat", packets.heartbeat(self._id, self._pool, self._capacity, 0, self._topics)
            )
            await asyncio.sleep(HEARTBEAT_S)

    def _on_job(self, _subject: bytes, _reply: bytes, payload: bytes) -> None:
        try:
            job_id, answer = self._writer.answer(payload)
        except (DecodeError, ValueError):
            self.refused += 1
            return
        self._nats.publish(_RESULT, answer)
        if job_id in self._seen:
            self.doubled += 1
            return
        self._seen.add(job_id)
        self.answered += 1
        self.last_at = time.perf_counter()
        if self.answered >= self._target:
            self._reached.set()
