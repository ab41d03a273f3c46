"""Every supported topology in production mode: a batch of jobs goes through, each once (guide sections 1, 3, 10)."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from tests.cluster.books import Batch, close_books, submit_all
from tests.cluster.conftest import Say
from tests.cluster.installation import Installation, installed
from tests.support import nats_site, redisd
from tests.support.nats_site import NatsSite
from tests.support.redisd import RedisSite, Security

pytestmark = pytest.mark.asyncio(loop_scope="package")
JOBS = 60

OpenRedis = Callable[[Path, str, Security], AbstractAsyncContextManager[RedisSite]]
OpenNats = Callable[[Path, Security], AbstractAsyncContextManager[NatsSite]]


async def passes(made: Installation, say: Say, title: str) -> None:
    batch = Batch()
    await submit_all(made, batch, JOBS, 1.0)
    books = await close_books(made, batch)
    say(books.line(title))
    assert batch.unclear == [] and not batch.refused and batch.unanswered == 0
    assert set(books.states.values()) == {"SUCCEEDED"}, books.reasons
    assert all(books.ends[job_id] == 1 and books.runs[job_id] == 1 for job_id in batch.accepted)


@pytest.mark.seed("S6", "S24")
@pytest.mark.parametrize(
    ("redis_of", "nats_of", "mutual"),
    [
        pytest.param(redisd.standalone, nats_site.single, False, id="standalone-tls"),
        pytest.param(redisd.standalone, nats_site.cluster, True, id="standalone-mtls"),
        pytest.param(redisd.sentinel, nats_site.cluster, False, id="sentinel-tls"),
        pytest.param(redisd.sentinel, nats_site.single, True, id="sentinel-mtls"),
        pytest.param(redisd.cluster, nats_site.single, False, id="cluster-tls"),
    ],
)
async def test_jobs_go_through(
    tmp_path: Path,
    redis_program: str,
    say: Say,
    request: pytest.FixtureRequest,
    redis_of: OpenRedis,
    nats_of: OpenNats,
    mutual: bool,
) -> None:
    security = Security.make(tmp_path / "tls", mutual=mutual)
    async with (
        redis_of(tmp_path / "redis", redis_program, security) as redis,
        nats_of(tmp_path / "nats", security) as nats,
        installed(tmp_path / "cordum", redis, nats, schedulers=1, workers=1) as made,
    ):
        await passes(made, say, str(request.node.callspec.id))


@pytest.mark.seed("S6", "S24", "S166", "S263")
async def test_jobs_go_through_two_clusters(clusters: Installation, say: Say) -> None:
    await passes(clusters, say, "cluster-mtls, three NATS servers")


@pytest.mark.seed("S164", "S262")
async def test_the_streams_have_as_many_replicas_as_were_asked_for(clusters: Installation) -> None:
    for stream in ("CORDUM_SYS", "CORDUM_JOBS"):
        found = await clusters.nats.api(f"STREAM.INFO.{stream}")
        assert found["config"]["num_replicas"] == 3
        assert len(found["cluster"]["replicas"]) == 2
    for consumer in ("dur_cordum-scheduler__sys_job_submit", "dur_cordum-scheduler__sys_job_result"):
        found = await clusters.nats.api(f"CONSUMER.INFO.CORDUM_SYS.{consumer}")
        assert len(found["cluster"]["replicas"]) == 2, "what was acknowledged is known by all three"


@pytest.mark.seed("S24")
@pytest.mark.parametrize("server", ["NATS_TLS", "REDIS_TLS"])
async def test_servers_turn_away_who_shows_no_certificate(clusters: Installation, tmp_path: Path, server: str) -> None:
    shown = {f"{server}_CERT": "", f"{server}_KEY": ""}
    code, said = await clusters.start_another_scheduler(tmp_path, shown)
    assert code not in (0, None), said
    assert ("NATS" if server == "NATS_TLS" else "Redis") in said
