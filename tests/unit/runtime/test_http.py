from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from cordum.runtime import metrics
from cordum.runtime.health import Health
from cordum.runtime.http import AddressInUseError, CannotListenError, OpsServer, bind, bound_address
from cordum.runtime.settings import Address

ANY_PORT = Address("127.0.0.1", 0)


@pytest.fixture
def health() -> Health:
    health = Health()
    health.set_started()
    return health


@pytest_asyncio.fixture
async def server(health: Health) -> AsyncIterator[OpsServer]:
    server = OpsServer(ANY_PORT, service=metrics.SCHEDULER, health=health)
    await server.start()
    yield server
    await server.aclose()
    await health.aclose()


@pytest_asyncio.fixture
async def client(server: OpsServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{server.address}") as client:
        yield client


@pytest.mark.seed("S61")
async def test_metrics_are_served_in_prometheus_text(client: httpx.AsyncClient) -> None:
    metrics.JOBS_RECEIVED.labels("job.http-test").inc()
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert 'cordum_jobs_received_total{topic="job.http-test"} 1.0' in answer.text
    assert "cordum_http_requests_total" not in answer.text, "the gateway's own"


@pytest.mark.parametrize("path", ["/livez", "/healthz", "/readyz"])
async def test_probes_answer_200_when_all_is_well(path: str, client: httpx.AsyncClient) -> None:
    answer = await client.get(path)
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.seed("S68")
async def test_health_tells_each_dependency(client: httpx.AsyncClient, health: Health) -> None:
    async def well() -> None:
        pass

    async def broken() -> None:
        raise ConnectionError("refused")

    health.register("redis", well)
    assert (await client.get("/health")).json() == {"status": "ok", "redis": {"status": "ok"}}
    health.register("nats", broken)
    answer = await client.get("/health")
    assert answer.status_code == 503
    assert answer.json() == {
        "status": "degraded",
        "redis": {"status": "ok"},
        "nats": {"status": "error", "error": "ConnectionError: refused"},
    }
    ready = await client.get("/readyz")
    assert (ready.status_code, ready.json()["checks"]["nats"]) == (503, "ConnectionError: refused")
    assert (await client.get("/healthz")).status_code == 200


@pytest.mark.seed("S241")
async def test_readiness_is_503_at_once_when_draining(client: httpx.AsyncClient, health: Health) -> None:
    assert (await client.get("/readyz")).status_code == 200
    health.draining()
    assert (await client.get("/readyz")).status_code == 503
    assert (await client.get("/livez")).status_code == 200


async def test_other_paths_and_methods_are_refused(client: httpx.AsyncClient) -> None:
    assert (await client.get("/")).status_code == 404
    assert (await client.get("/metrics/x")).json() == {"error": "not found", "code": "not_found", "status": 404}
    assert (await client.post("/metrics")).status_code == 405
    assert (await client.head("/metrics")).status_code == 200


async def test_an_address_in_use_is_named(server: OpsServer, health: Health) -> None:
    second = OpsServer(server.address, service=metrics.SCHEDULER, health=health)
    with pytest.raises(AddressInUseError, match=f"another process listens on {server.address}"):
        await second.start()
    await second.aclose()


async def test_after_closing_the_address_is_free_again(health: Health) -> None:
    first = OpsServer(ANY_PORT, service=metrics.SCHEDULER, health=health)
    await first.start()
    address = first.address
    assert address.port != 0
    await first.aclose()
    second = OpsServer(address, service=metrics.SCHEDULER, health=health)
    await second.start()
    assert second.address == address
    await second.aclose()


def test_a_host_that_is_not_ours_cannot_be_listened_on() -> None:
    with pytest.raises(CannotListenError, match=r"gRPC: cannot listen on 192\.0\.2\.1:0"):
        bind(Address("192.0.2.1", 0), purpose="gRPC")


def test_without_a_host_every_interface_is_listened_on() -> None:
    with bind(Address("", 0), purpose="test") as listener:
        assert listener.getsockname()[0] in ("0.0.0.0", "::")
        assert bound_address(listener).host == ""


@pytest.mark.seed("S63", "S64")
def test_on_loopback_nobody_else_gets_in() -> None:
    with bind(Address("127.0.0.1", 0), purpose="test") as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
