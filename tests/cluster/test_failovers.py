"""A server is lost while jobs run: another takes over, nothing is lost, nothing ends twice (guide section 11)."""

import asyncio
import time
from pathlib import Path

import pytest
from tests.cluster.books import Batch, Books, close_books, under_load
from tests.cluster.conftest import Say
from tests.cluster.installation import Installation, installed
from tests.support import nats_site, redisd
from tests.support.redisd import Security

pytestmark = pytest.mark.asyncio(loop_scope="package")
JOBS, SECONDS = 300, 15.0
OUTAGE = 15.0
"""Seconds within which a failover must be over: five until the node counts as dead, then an election."""
STREAMS = ("CORDUM_SYS", "CORDUM_JOBS")


def nothing_lost(batch: Batch, books: Books) -> None:
    assert batch.unclear == [], "clients see 200, a clear 5xx, or nothing"
    assert len(batch.accepted) == JOBS
    assert books.lost == [] and books.doubled == []
    assert all(books.ends[job_id] == 1 for job_id in batch.accepted)


@pytest.mark.seed("S177")
async def test_a_redis_primary_is_killed(clusters: Installation, say: Say) -> None:
    await clusters.everything_is_ready()
    services = {name: part.pid for name, part in clusters.parts.items()}
    async with under_load(clusters, JOBS, SECONDS) as batch:
        await batch.reached(JOBS // 5)
        victim = await clusters.redis.primary_of("cfg:system:default")
        killed = time.monotonic()
        await victim.kill()
    outage = batch.longest_gap(killed)
    books = await close_books(clusters, batch)
    say(books.line("Redis primary killed", f"no job taken for {outage:.1f} s, refused {dict(batch.refused) or 0}"))
    await victim.start()
    await victim.says("cluster_state:ok", "CLUSTER", "INFO")
    await victim.says("'master_link_status': 'up'", "INFO", "replication")
    nothing_lost(batch, books)
    assert outage <= OUTAGE
    assert {name: part.pid for name, part in clusters.parts.items()} == services, "nobody was restarted"


@pytest.mark.seed("S177")
async def test_a_redis_primary_hangs(clusters: Installation, say: Say) -> None:
    """It keeps its connections and answers nobody; then it comes back and finds it is a replica now."""
    await clusters.everything_is_ready()
    async with under_load(clusters, JOBS, SECONDS) as batch:
        await batch.reached(JOBS // 5)
        victim = await clusters.redis.primary_of("cfg:system:default")
        struck = time.monotonic()
        victim.pause()
        try:
            await batch.reached(JOBS)
        finally:
            victim.resume()
    outage = batch.longest_gap(struck)
    books = await close_books(clusters, batch)
    say(books.line("Redis primary hangs", f"no job taken for {outage:.1f} s, refused {dict(batch.refused) or 0}"))
    await victim.says("'master_link_status': 'up'", "INFO", "replication")
    nothing_lost(batch, books)
    assert outage <= OUTAGE


@pytest.mark.seed("S183")
@pytest.mark.parametrize("stream", STREAMS)
async def test_the_leader_of_a_stream_is_killed(clusters: Installation, say: Say, stream: str) -> None:
    await clusters.everything_is_ready()
    async with under_load(clusters, JOBS, SECONDS) as batch:
        await batch.reached(JOBS // 5)
        victim = await clusters.nats.leader(stream)
        killed = time.monotonic()
        await victim.kill()
        await batch.reached(JOBS * 4 // 5)
        await victim.start()
    outage = batch.longest_gap(killed)
    books = await close_books(clusters, batch)
    caught_up = max([await clusters.nats.in_step(name) for name in STREAMS])
    say(
        books.line(
            f"leader of {stream} killed",
            f"no job taken for {outage:.1f} s, refused {dict(batch.refused) or 0}, "
            f"the node was in step {caught_up:.1f} s after the last job",
        )
    )
    nothing_lost(batch, books)
    assert outage <= OUTAGE


@pytest.mark.seed("S183")
async def test_a_nats_server_hangs_for_some_seconds(clusters: Installation, say: Say) -> None:
    await clusters.everything_is_ready()
    async with under_load(clusters, JOBS, SECONDS) as batch:
        await batch.reached(JOBS // 5)
        victim = await clusters.nats.leader("CORDUM_SYS")
        struck = time.monotonic()
        victim.pause()
        try:
            await asyncio.sleep(6.0)  # the fault itself
        finally:
            victim.resume()
    outage = batch.longest_gap(struck)
    books = await close_books(clusters, batch)
    for name in STREAMS:
        await clusters.nats.in_step(name)
    say(books.line("NATS leader hangs 6 s", f"no job taken for {outage:.1f} s, refused {dict(batch.refused) or 0}"))
    nothing_lost(batch, books)


async def test_the_sentinels_choose_another_primary(tmp_path: Path, redis_program: str, say: Say) -> None:
    security = Security.make(tmp_path / "tls", mutual=True)
    async with (
        redisd.sentinel(tmp_path / "redis", redis_program, security) as redis,
        nats_site.single(tmp_path / "nats", security) as nats,
        installed(tmp_path / "cordum", redis, nats, schedulers=1, workers=1) as made,
    ):
        async with under_load(made, JOBS, SECONDS) as batch:
            await batch.reached(JOBS // 5)
            killed = time.monotonic()
            await redis.nodes[0].kill()
        outage = batch.longest_gap(killed)
        books = await close_books(made, batch)
        say(books.line("Sentinel failover", f"no job taken for {outage:.1f} s, refused {dict(batch.refused) or 0}"))
        nothing_lost(batch, books)
        assert outage <= OUTAGE
