"""A store on a real server, and jobs to put into it."""

import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Protocol

import pytest_asyncio
import redis.asyncio as redis

from cordum.core.ids import JobId, Micros, TenantId, Topic, TraceId
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.embedded.servers import Server
from cordum.runtime.clock import Clock, SystemClock, unix_micros
from cordum.store import NewJob, Store, StoreOptions

_numbers = itertools.count(1)


def make_job(
    *,
    tenant: str = "default",
    state: JobState = JobState.PENDING,
    at: int = 0,
    topic: str = "job.default",
    trace_id: str = "",
    team: str = "",
    deadline: int = 0,
) -> NewJob:
    """A job as the gateway writes it; `at` in microseconds, 0 = now."""
    number = next(_numbers)
    moment = Micros(at) if at else unix_micros(SystemClock())
    record = JobRecord(
        id=JobId(f"job-{number}"),
        state=state,
        created_at=moment,
        updated_at=moment,
        tenant=TenantId(tenant),
        topic=Topic(topic),
        team=team,
        trace_id=TraceId(trace_id or f"trace-{number}"),
        labels={"_source": "api", "näme": "wört"},
        deadline_unix=Micros(deadline),
    )
    return NewJob(record=record, request=b'{"jobId":"x"}', context=b'{"prompt":"hi \xff"}')


class Open(Protocol):
    """Opens a store."""

    async def __call__(self, options: StoreOptions, clock: Clock | None = None) -> Store: ...


@pytest_asyncio.fixture
async def opened() -> AsyncIterator[Open]:
    """Opens stores that are closed when the test is over, however it ends."""
    async with AsyncExitStack() as stack:

        async def connect(options: StoreOptions, clock: Clock | None = None) -> Store:
            store = await Store.connect(options, clock=clock)
            stack.push_async_callback(store.aclose)
            return store

        yield connect


@pytest_asyncio.fixture
async def store(redis_server: Server, opened: Open) -> Store:
    return await opened(StoreOptions(url=redis_server.url))


@pytest_asyncio.fixture
async def peer(redis_server: Server, opened: Open) -> Store:
    """The store as another process sees it."""
    return await opened(StoreOptions(url=redis_server.url))


@pytest_asyncio.fixture
async def raw(redis_server: Server) -> AsyncIterator["redis.Redis"]:
    """The server as an operator's tool sees it."""
    client: redis.Redis = redis.from_url(redis_server.url, decode_responses=True, protocol=2)
    yield client
    await client.aclose()
