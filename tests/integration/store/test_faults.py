"""Redis stops, hangs, restarts or forgets: callers hear of it in bounded time, and all is well afterwards."""

import asyncio
import os
import signal
import time

import pytest
import redis.asyncio as redis
from tests.integration.store.conftest import make_job

from cordum.core.jobs import lifecycle
from cordum.core.jobs.states import JobState
from cordum.embedded.servers import Server
from cordum.store import Applied, Store, StoreOptions, StoreUnavailableError

BOUND = 3.5  # seconds


async def wait_until_it_answers(store: Store, within: float = 10.0) -> None:
    deadline = time.monotonic() + within
    while True:
        try:
            await store.ping()
            return
        except StoreUnavailableError:
            assert time.monotonic() < deadline, "the store did not recover"


@pytest.mark.seed("S5")
async def test_a_job_survives_the_death_of_redis(store: Store, redis_server: Server) -> None:
    job = make_job()
    await store.jobs.create(job)
    await store.jobs.apply(job.record.id, lifecycle.cancel("x"), now=job.record.updated_at)
    client: redis.Redis = redis.from_url(redis_server.url, protocol=2)
    # The file is synced every second; this waits for exactly that.
    await client.execute_command("WAITAOF", 1, 0, 5000)  # type: ignore[no-untyped-call]
    await client.aclose()
    await redis_server.kill()
    await redis_server.restart()
    await wait_until_it_answers(store)
    record = await store.jobs.get(job.record.id)
    assert record is not None
    assert record.state is JobState.CANCELLED
    client = redis.from_url(redis_server.url, protocol=2, decode_responses=True)
    assert await client.get(f"job:state:{job.record.id}") == "CANCELLED"
    await client.aclose()


@pytest.mark.seed("S173")
async def test_without_redis_every_call_fails_in_bounded_time_and_later_works_again(
    store: Store, redis_server: Server
) -> None:
    job = make_job()
    await store.jobs.create(job)
    await redis_server.kill()
    started = time.monotonic()
    outcomes = await asyncio.gather(
        store.jobs.create(make_job()),
        store.jobs.get(job.record.id),
        store.jobs.apply(job.record.id, lifecycle.cancel("x"), now=job.record.updated_at, known=job.record),
        store.jobs.list_page(job.record.tenant),
        store.dead_letters.count(),
        store.ping(),
        return_exceptions=True,
    )
    assert time.monotonic() - started < BOUND
    assert [type(outcome) for outcome in outcomes if not isinstance(outcome, StoreUnavailableError)] == []
    await redis_server.restart()
    await wait_until_it_answers(store)
    await store.jobs.create(make_job())


async def test_a_hanging_redis_is_given_up_and_used_again_when_it_wakes(store: Store, redis_server: Server) -> None:
    await store.ping()
    os.kill(redis_server.pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        first = [asyncio.ensure_future(store.ping()) for _ in range(5)]
        await asyncio.sleep(0)
        # These wait behind those that hang, and must not wait twice as long for it.
        second = [asyncio.ensure_future(store.jobs.get(make_job().record.id)) for _ in range(600)]
        outcomes = await asyncio.gather(*first, *second, return_exceptions=True)
        assert time.monotonic() - started < BOUND
        assert {type(outcome) for outcome in outcomes} <= _unavailable()
    finally:
        os.kill(redis_server.pid, signal.SIGCONT)
    await wait_until_it_answers(store)


def _unavailable() -> set[type]:
    kinds: set[type] = {StoreUnavailableError}
    kinds.update(StoreUnavailableError.__subclasses__())
    return kinds


async def test_calls_during_a_quick_restart_wait_for_it(store: Store, redis_server: Server) -> None:
    job = make_job()
    await store.jobs.create(job)
    await redis_server.stop()
    waiting = asyncio.ensure_future(store.jobs.get(job.record.id))
    await asyncio.sleep(0)
    await redis_server.restart()
    assert await waiting == job.record


async def test_a_connection_cut_between_two_calls_is_not_noticed(store: Store, redis_server: Server) -> None:
    job = make_job()
    await store.jobs.create(job)
    client: redis.Redis = redis.from_url(redis_server.url, protocol=2)
    await client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")  # type: ignore[no-untyped-call]
    await client.aclose()
    await _the_cut_arrived(store)
    outcome = await store.jobs.apply(job.record.id, lifecycle.cancel("x"), now=job.record.updated_at)
    assert isinstance(outcome, Applied)


async def _the_cut_arrived(store: Store) -> None:
    """Reads are repeated when the cut hits them, so one is enough to be past it."""
    await store.jobs.get(make_job().record.id)


async def test_forgotten_scripts_are_taught_again(store: Store, redis_server: Server) -> None:
    client: redis.Redis = redis.from_url(redis_server.url, protocol=2)
    jobs = [make_job() for _ in range(10)]
    for job in jobs:
        await client.script_flush()
        await store.jobs.create(job)
    await client.script_flush()
    outcomes = await asyncio.gather(
        *(
            store.jobs.apply(job.record.id, lifecycle.cancel("x"), now=job.record.updated_at, known=job.record)
            for job in jobs
        )
    )
    assert all(isinstance(outcome, Applied) for outcome in outcomes)
    await client.aclose()


async def test_a_cancelled_caller_disturbs_nobody(store: Store) -> None:
    jobs = [make_job() for _ in range(50)]
    tasks = [asyncio.ensure_future(store.jobs.create(job)) for job in jobs]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for job in jobs[1::2]:
        assert await store.jobs.get(job.record.id) == job.record


async def test_many_calls_share_few_round_trips(store: Store) -> None:
    await store.jobs.create(make_job())
    before = store.round_trips
    await asyncio.gather(*(store.jobs.create(make_job()) for _ in range(500)))
    assert store.round_trips - before <= 3


async def test_a_wrong_password_is_said_so(redis_server: Server) -> None:
    url = redis_server.url.replace("redis://:", "redis://:not-")
    with pytest.raises(StoreUnavailableError, match=r"WRONGPASS|password"):
        await Store.connect(StoreOptions(url=url))


async def test_nobody_there_is_said_so(free_port: "type[int]") -> None:
    with pytest.raises(StoreUnavailableError, match="cannot be reached"):
        await Store.connect(StoreOptions(url=f"redis://127.0.0.1:{free_port()}"))
