"""Those who watch: each with its tenant and a bounded queue, so that a slow one costs nobody but itself."""

import asyncio
from collections import deque
from typing import Final

from cordum.core.ids import JobId, TenantId
from cordum.runtime import metrics

SLOW: Final = 1013
"""WebSocket close code "try again later", for clients that do not keep up."""


ALL_JOBS: Final = JobId("")


class Event:
    """One event on its way to clients."""

    __slots__ = ("body", "job_id", "kind", "number")

    def __init__(self, kind: str, body: str, job_id: JobId, number: int) -> None:
        self.kind = kind
        self.body = body
        self.job_id = job_id
        self.number = number


class Client:
    """One open stream.

    Attributes:
        tenant: whose events it gets.
        job_id: the one job it watches; "" = all, and what concerns no job.
        crosses: whether it also gets what belongs to no tenant.
        evicted: set when it did not keep up.
    """

    def __init__(self, tenant: TenantId, *, buffer: int, job_id: JobId = ALL_JOBS, crosses: bool = False) -> None:
        self.tenant = tenant
        self.job_id = job_id
        self.crosses = crosses
        self.evicted = False
        self._buffer = buffer
        self._ended = False
        self._waiting: deque[Event] = deque()
        self._arrived = asyncio.Event()

    def offer(self, event: Event) -> None:
        """Puts an event into the queue; a client whose queue is full is evicted."""
        if self.evicted or self._ended:
            return
        if len(self._waiting) >= self._buffer:
            self.evicted = True
            metrics.WS_EVICTIONS.inc()
            metrics.WS_PACKETS_DROPPED.inc(len(self._waiting) + 1)
            self._waiting.clear()
        else:
            self._waiting.append(event)
        self._arrived.set()

    def end(self) -> None:
        """There is nothing more to come."""
        self._ended = True
        self._waiting.clear()
        self._arrived.set()

    async def next(self) -> Event | None:
        """The next event; None once the client is evicted, or the stream is at its end."""
        while not self._waiting:
            if self.evicted or self._ended:
                return None
            self._arrived.clear()
            await self._arrived.wait()
        return self._waiting.popleft()


class Audience:
    """All clients, by tenant."""

    def __init__(self) -> None:
        self._of: dict[TenantId, set[Client]] = {}
        self.count = 0

    def add(self, client: Client) -> None:
        self._of.setdefault(client.tenant, set()).add(client)
        self.count += 1
        metrics.WS_CLIENTS.set(self.count)

    def remove(self, client: Client) -> None:
        clients = self._of.get(client.tenant, set())
        if client in clients:
            clients.remove(client)
            self.count -= 1
            metrics.WS_CLIENTS.set(self.count)
        if not clients:
            self._of.pop(client.tenant, None)

    def of_tenant(self, tenant: TenantId, job_id: JobId) -> list[Client]:
        """Who gets an event of this tenant."""
        return [client for client in self._of.get(tenant, ()) if not client.job_id or client.job_id == job_id]

    def of_nobody(self) -> list[Client]:
        """Who gets an event that belongs to no tenant and is not for everybody's eyes."""
        return [client for clients in self._of.values() for client in clients if client.crosses and not client.job_id]

    def end(self) -> None:
        """Ends every stream."""
        for clients in self._of.values():
            for client in clients:
                client.end()

    def everybody(self) -> list[Client]:
        """Who gets what concerns all tenants alike."""
        return [client for clients in self._of.values() for client in clients if not client.job_id]
