"""Two ways to load an HTTP interface: a closed loop (as fast as it answers), and a pool for single requests."""

import asyncio
import time
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.http import Connection, Endpoint, HttpError, open_connection

DRAIN_S = 30.0  # how long outstanding answers are waited for once no new request is sent


@dataclass
class Outcome:
    """What a load run saw. `latencies` are seconds, of answered requests; `bodies` only when they were asked for."""

    elapsed: float = 0.0
    latencies: "array[float]" = field(default_factory=lambda: array("d"))
    statuses: Counter[int] = field(default_factory=Counter)
    bodies: list[bytes] = field(default_factory=list)
    lost: int = 0

    @property
    def good(self) -> int:
        return sum(count for status, count in self.statuses.items() if 200 <= status < 300)

    def faults(self) -> tuple[str, ...]:
        """What must be said beside the figure."""
        said = [
            f"{count} answers had status {status}"
            for status, count in sorted(self.statuses.items())
            if not 200 <= status < 300
        ]
        if self.lost:
            said.append(f"{self.lost} requests got no answer")
        return tuple(said)


class ClosedLoop:
    """Keeps one request in flight on each of `connections` until `seconds` have passed or `count` were sent.

    `request(i)` gives the bytes of the i-th request; the callback form keeps the driver's share near 10 us a request.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        request: Callable[[int], bytes],
        *,
        connections: int,
        seconds: float | None = None,
        count: int | None = None,
        keep_bodies: int = 0,
    ) -> None:
        if connections < 1 or (seconds is None) == (count is None):
            raise ValueError("give connections >= 1 and either seconds or count")
        self._endpoint = endpoint
        self._request = request
        self._size = connections
        self._seconds = seconds
        self._limit = count if count is not None else 2**62
        self._keep = keep_bodies
        self._outcome = Outcome()
        self._sent = 0
        self._in_flight: set[Connection] = set()
        self._until = 0.0
        self._last = 0.0
        self._finished = asyncio.Event()

    async def run(self) -> Outcome:
        """Raises OSError or TimeoutError when the endpoint cannot be reached at all."""
        pool: list[Connection] = []
        try:
            while len(pool) < self._size:
                pool.append(await open_connection(self._endpoint, self._on_answer, self._on_lost))
            start = self._last = time.perf_counter()
            self._until = start + (self._seconds if self._seconds is not None else 3600.0)
            for connection in pool:
                self._next(connection)
            if self._in_flight:
                async with asyncio.timeout((self._seconds or 300.0) + DRAIN_S):
                    await self._finished.wait()
        except TimeoutError:
            if not self._sent:
                raise
            self._outcome.lost += len(self._in_flight)
        finally:
            self._in_flight.clear()
            for connection in pool:
                connection.close()
        self._outcome.elapsed = max(self._last - start, 1e-9)
        return self._outcome

    def _next(self, connection: Connection) -> None:
        index = self._sent
        if index >= self._limit:
            return
        self._sent = index + 1
        self._in_flight.add(connection)
        connection.sent_at = time.perf_counter()
        connection.send(self._request(index))

    def _on_answer(self, connection: Connection, status: int, body: bytes) -> None:
        now = self._last = time.perf_counter()
        outcome = self._outcome
        outcome.latencies.append(now - connection.sent_at)
        outcome.statuses[status] += 1
        if len(outcome.bodies) < self._keep:
            outcome.bodies.append(body)
        self._in_flight.discard(connection)
        if now < self._until:
            self._next(connection)
        if not self._in_flight:
            self._finished.set()

    def _on_lost(self, connection: Connection, _error: Exception | None) -> None:
        if connection in self._in_flight:
            self._in_flight.discard(connection)
            self._outcome.lost += 1
            if not self._in_flight:
                self._finished.set()


class Client:
    """Awaited requests over a pool of connections that grows to `limit`: for open loops, polls and set-up."""

    def __init__(self, endpoint: Endpoint, limit: int = 512) -> None:
        self._endpoint = endpoint
        self._free: list[Connection] = []
        self._waiting: dict[Connection, asyncio.Future[tuple[int, bytes]]] = {}
        self._slots = asyncio.Semaphore(limit)
        self._closed = False

    async def __call__(self, request: bytes, timeout: float = 40.0) -> tuple[int, bytes]:
        """(status, body) within `timeout` seconds; raises TimeoutError, OSError, HttpError."""
        async with self._slots, asyncio.timeout(timeout):
            connection = await self._take()
            answer: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
            self._waiting[connection] = answer
            try:
                connection.send(request)
                status, body = await answer
            except BaseException:
                self._waiting.pop(connection, None)
                connection.close()
                raise
            if connection.open and not self._closed:
                self._free.append(connection)
            return status, body

    async def _take(self) -> Connection:
        while self._free:
            connection = self._free.pop()
            if connection.open:
                return connection
        return await open_connection(self._endpoint, self._on_answer, self._on_lost)

    def _on_answer(self, connection: Connection, status: int, body: bytes) -> None:
        answer = self._waiting.pop(connection, None)
        if answer is not None and not answer.done():
            answer.set_result((status, body))

    def _on_lost(self, connection: Connection, error: Exception | None) -> None:
        answer = self._waiting.pop(connection, None)
        if answer is not None and not answer.done():
            answer.set_exception(HttpError(f"the connection was lost: {error or 'closed by the server'}"))

    def close(self) -> None:
        self._closed = True
        for connection in self._free:
            connection.close()
        self._free.clear()
