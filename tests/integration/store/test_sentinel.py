"""Sentinel: the store finds the master, and follows it when another server takes over."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
import redis.asyncio as redis
from tests.integration.store.conftest import Open, make_job

from cordum.core.jobs import lifecycle
from cordum.core.jobs.states import JobState
from cordum.embedded import binaries
from cordum.embedded.servers import Server
from cordum.store import Applied, StoreOptions, StoreUnavailableError

PASSWORD = "sentinel-test"


async def call(port: int, password: str, *command: str) -> str:
    client: redis.Redis = redis.Redis(port=port, password=password, protocol=2, decode_responses=True)
    try:
        return str(await client.execute_command(*command))  # type: ignore[no-untyped-call]
    finally:
        await client.aclose()


async def eventually(port: int, password: str, command: tuple[str, ...], wanted: str, within: float = 20.0) -> None:
    deadline = time.monotonic() + within
    while True:
        try:
            answer = await call(port, password, *command)
            if wanted in answer:
                return
        except redis.RedisError as error:
            answer = str(error)
        assert time.monotonic() < deadline, answer
        await asyncio.sleep(0.05)


@pytest_asyncio.fixture
async def watched(tmp_path: Path, free_port: Callable[[], int]) -> AsyncIterator[tuple[Server, Server, int]]:
    """A master, its replica, and the port of the Sentinel that watches them."""
    async with AsyncExitStack() as stack:
        auth = f"masterauth {PASSWORD}\nrepl-diskless-sync-delay 0\n"
        master = Server("redis", tmp_path / "master", password=PASSWORD, extra=auth)
        await master.start()
        stack.push_async_callback(master.aclose)
        replica = Server(
            "redis", tmp_path / "replica", password=PASSWORD, extra=f"{auth}replicaof 127.0.0.1 {master.port}\n"
        )
        await replica.start()
        stack.push_async_callback(replica.aclose)
        await eventually(replica.port, PASSWORD, ("INFO", "replication"), "master_link_status': 'up")
        port = free_port()
        config = tmp_path / "sentinel.conf"
        config.write_text(
            f"port {port}\nbind 127.0.0.1\nrequirepass watcher-{PASSWORD}\n"
            f"sentinel monitor main 127.0.0.1 {master.port} 1\n"
            f"sentinel auth-pass main {PASSWORD}\n"
            "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n"
        )
        sentinel = await asyncio.create_subprocess_exec(
            str(binaries.find(binaries.REDIS)), str(config), "--sentinel", stdout=asyncio.subprocess.DEVNULL
        )
        stack.push_async_callback(sentinel.wait)
        stack.callback(sentinel.kill)
        await eventually(port, f"watcher-{PASSWORD}", ("SENTINEL", "REPLICAS", "main"), str(replica.port))
        yield master, replica, port


def watching(port: int) -> StoreOptions:
    return StoreOptions(
        url=f"redis://:{PASSWORD}@unused:1",
        # The first one is dead.
        sentinels=(("127.0.0.1", 1), ("127.0.0.1", port)),
        sentinel_master="main",
        sentinel_password=f"watcher-{PASSWORD}",
    )


@pytest.mark.seed("S6")
async def test_the_store_follows_the_master(watched: tuple[Server, Server, int], opened: Open) -> None:
    master, replica, port = watched
    store = await opened(watching(port))
    job = make_job()
    await store.jobs.create(job)
    assert await call(master.port, PASSWORD, "EXISTS", f"job:meta:{job.record.id}") == "1"
    await eventually(replica.port, PASSWORD, ("EXISTS", f"job:meta:{job.record.id}"), "1")
    await master.kill()
    deadline = time.monotonic() + 30
    while True:
        started = time.monotonic()
        try:
            outcome = await store.jobs.apply(job.record.id, lifecycle.cancel("x"), now=job.record.updated_at)
        except StoreUnavailableError:
            assert time.monotonic() < deadline, "the store did not follow"
            assert time.monotonic() - started < 3.5
        else:
            break
    assert isinstance(outcome, Applied)
    record = await store.jobs.get(job.record.id)
    assert record is not None
    assert record.state is JobState.CANCELLED


async def test_a_demoted_master_is_left(watched: tuple[Server, Server, int], opened: Open) -> None:
    master, replica, port = watched
    store = await opened(watching(port))
    await store.jobs.create(make_job())
    # At first the Sentinel has yet to make up its mind about the replica.
    await eventually(port, f"watcher-{PASSWORD}", ("SENTINEL", "FAILOVER", "main"), "")
    await eventually(master.port, PASSWORD, ("INFO", "replication"), "'role': 'slave'")
    deadline = time.monotonic() + 20
    job = make_job()
    while True:
        try:
            await store.jobs.create(job)
            break
        except StoreUnavailableError:
            assert time.monotonic() < deadline
    assert await call(replica.port, PASSWORD, "EXISTS", f"job:meta:{job.record.id}") == "1"
