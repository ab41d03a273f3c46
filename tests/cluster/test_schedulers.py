"""Two to ten schedulers share the work; one leads the loops, and nothing is lost when they come and go (guide 12)."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.cluster.books import Batch, close_books, submit_all, under_load
from tests.cluster.conftest import Say
from tests.cluster.installation import SCAN_INTERVAL, Installation, installed
from tests.support import nats_site, redisd
from tests.support.processes import eventually
from tests.support.redisd import Security

pytestmark = pytest.mark.asyncio(loop_scope="module")
REPLICAS, JOBS = 10, 250
LEASES = ("cordum:reconciler:default", "cordum:replayer:pending")
LEASE_TTL = 2 * SCAN_INTERVAL
LEEWAY = 1.5
"""Seconds for ten processes on a small machine to notice something."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ten(tmp_path_factory: pytest.TempPathFactory, redis_program: str) -> AsyncIterator[Installation]:
    directory: Path = tmp_path_factory.mktemp("ten")
    security = Security.make(directory / "tls", mutual=True)
    async with (
        redisd.standalone(directory / "redis", redis_program, security) as redis,
        nats_site.single(directory / "nats", security) as nats,
        installed(directory / "cordum", redis, nats, schedulers=REPLICAS) as made,
    ):
        yield made


async def shares(made: Installation) -> Counter[str]:
    """How many jobs each scheduler that runs has been handed."""
    live = [name for name in made.schedulers if made.parts[name].pid]
    counts = await asyncio.gather(*(made.metrics(name, "cordum_jobs_received_total") for name in live))
    return Counter(dict(zip(live, map(int, counts), strict=True)))


async def test_ten_share_the_work(ten: Installation, say: Say) -> None:
    before = await shares(ten)
    batch = Batch()
    await submit_all(ten, batch, JOBS, 5.0)
    books = await close_books(ten, batch)
    taken = await shares(ten) - before
    say(books.line("ten schedulers", f"shares {sorted(taken.values())}"))
    assert set(books.states.values()) == {"SUCCEEDED"}
    assert all(books.runs[job_id] == 1 and books.ends[job_id] == 1 for job_id in batch.accepted)
    assert taken.total() == JOBS, "one submit reaches one scheduler"
    assert len(taken) >= REPLICAS // 2, f"a few did everything: {taken}"


async def test_stopping_some_under_load_loses_nothing(ten: Installation, say: Say) -> None:
    leaving = ten.schedulers[5:]
    async with under_load(ten, JOBS, 6.0) as batch:
        await batch.reached(JOBS // 4)
        for name in leaving:
            ten.parts[name].terminate()
        codes = await asyncio.gather(*(ten.parts[name].ended() for name in leaving))
    books = await close_books(ten, batch)
    say(books.line("ten schedulers become five"))
    assert codes == [0] * len(leaving)
    assert not batch.refused and batch.unanswered == 0, "who submits does not notice"
    assert set(books.states.values()) == {"SUCCEEDED"}
    assert all(books.runs[job_id] == 1 and books.ends[job_id] == 1 for job_id in batch.accepted)


async def test_one_leads_and_a_dead_leader_is_replaced(ten: Installation, say: Say) -> None:
    live = ten.schedulers[:5]
    leader, others = ten.parts[live[0]], [ten.parts[name] for name in live[1:]]
    async with ten.redis.client() as client:
        # Whoever is alone with its leases leads.
        for part in others:
            part.pause()
        tokens = [await client.get(key) for key in LEASES]
        await changed_or_renewed(client, LEASE_TTL + SCAN_INTERVAL + LEEWAY)
        for part in others:
            part.resume()
        held = [await client.get(key) for key in LEASES]
        await leader.kill()
        killed = time.monotonic()
        for key, token in zip(LEASES, held, strict=True):

            async def replaced(key: str = key, token: str = token) -> bool:
                return await client.get(key) not in (None, token)

            left = LEASE_TTL + SCAN_INTERVAL + LEEWAY - (time.monotonic() - killed)
            await eventually(replaced, f"somebody else leads {key}", left)
        took = time.monotonic() - killed
    assert all(tokens) and all(held), "every loop has a leader at any time"
    batch = Batch()
    await submit_all(ten, batch, 20, 0.5)
    books = await close_books(ten, batch)
    say(books.line("leader killed", f"replaced after {took:.1f} s, a lease lasts {LEASE_TTL:g} s"))
    assert set(books.states.values()) == {"SUCCEEDED"}


async def changed_or_renewed(client: Any, seconds: float) -> None:
    """Lets so many seconds pass, after which only who runs has a lease, and waits until every loop has one again."""
    await asyncio.sleep(seconds)  # what is waited for is that the paused ones' leases run out
    for key in LEASES:

        async def led(key: str = key) -> bool:
            return await client.get(key) is not None

        await eventually(led, f"somebody leads {key}", LEASE_TTL + SCAN_INTERVAL)
