"""A gateway in this process, on real NATS and Valkey, with a real safety kernel over gRPC."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from blockbuster import BlockBuster

from cordum.bus import Bus
from cordum.core.ids import Topic
from cordum.embedded.servers import Server
from cordum.rpc.kernel_client import KernelClient
from cordum.runtime.clock import SystemClock
from cordum.runtime.lifecycle import Lifecycle
from cordum.runtime.settings import GatewaySettings, NatsSettings, RedisSettings, SafetyKernelSettings, load
from cordum.services.gateway.app import Gateway
from cordum.services.gateway.keysource import KeySource
from cordum.services.safety_kernel.app import Kernel
from cordum.store import Store

ALICE, BOB, AGENT, VIEWER, STRANGER, CROSSING = (
    f"{name}-key-0123456789abcdef" for name in ("alice", "bob", "agent", "viewer", "stranger", "crossing")
)
KEYS = f"""[
  {{"key": "{ALICE}", "tenant": "default", "role": "admin", "principal_id": "alice"}},
  {{"key": "{BOB}", "tenant": "default", "role": "operator", "principal_id": "bob"}},
  {{"key": "{AGENT}", "tenant": "default", "role": "user"}},
  {{"key": "{VIEWER}", "tenant": "default", "role": "viewer"}},
  {{"key": "{STRANGER}", "tenant": "other", "role": "admin"}},
  {{"key": "{CROSSING}", "tenant": "default", "role": "admin", "allow_cross_tenant": true}}
]"""

POLICY = """
version: v1
default_decision: deny
rules:
  - {id: no-destruction, match: {risk_tags: [destructive]}, decision: deny, reason: never destroy}
  - {id: ask, match: {risk_tags: [payment]}, decision: require_approval, reason: a person first}
  - {id: slow, match: {topics: [job.slow]}, decision: throttle, reason: later}
  - id: bounded
    match: {topics: [job.bounded]}
    decision: allow
    constraints: {budgets: {max_runtime_ms: 1000}}
  - {id: yes, match: {topics: ["job.*"]}, decision: allow}
"""
ENOUGH = {f"API_{public}RATE_LIMIT_{what}": "100000" for public in ("", "PUBLIC_") for what in ("RPS", "BURST")}


class World:
    """One gateway and what it stands on."""

    def __init__(self, gateway: Gateway, life: Lifecycle, kernel_life: Lifecycle, policy: Path) -> None:
        self.gateway = gateway
        self.life = life
        self.kernel_life = kernel_life
        self.policy = policy
        self.store: Store = gateway.parts.store
        self.bus: Bus = gateway.parts.bus
        self._clients = contextlib.AsyncExitStack()

    @property
    def url(self) -> str:
        assert self.gateway.http is not None
        return f"http://127.0.0.1:{self.gateway.http.address.port}"

    @property
    def grpc_address(self) -> str:
        assert self.gateway.grpc is not None
        return f"127.0.0.1:{self.gateway.grpc.port}"

    async def client(self, key: str | None = ALICE, **headers: str) -> httpx.AsyncClient:
        """An HTTP client that shows this key."""
        sent = {"X-API-Key": key, **headers} if key else headers
        client = httpx.AsyncClient(base_url=self.url, headers=sent, trust_env=False, timeout=20)
        return await self._clients.enter_async_context(client)

    async def register(self, **topics: str) -> None:
        """Registers topics: `register(job_default="active")`; `_` stands for the dot."""
        data = {
            name.replace("_", "."): {"name": Topic(name.replace("_", ".")), "status": status}
            for name, status in topics.items()
        }
        known = await self.store.configs.get("system", "topics")
        await self.store.configs.put("system", "topics", data, known.revision if known else 0)
        await self.gateway.parts.topics.refresh()

    async def outside(self) -> Bus:
        """Another connection to the same bus, which sees what the gateway publishes."""
        bus = await Bus.connect(self.gateway.parts.settings)
        self._clients.push_async_callback(bus.aclose)
        return bus

    async def stop_kernel(self) -> None:
        await self.kernel_life.unwind()

    async def aclose(self) -> None:
        await self._clients.aclose()
        await self.life.unwind()
        await self.kernel_life.unwind()


MakeWorld = Callable[..., Awaitable[World]]


@pytest_asyncio.fixture
async def make_world(
    nats_server: Server,
    redis_server: Server,
    tmp_path: Path,
    free_port: Callable[[], int],
    event_loop_guard: BlockBuster,
) -> AsyncIterator[MakeWorld]:
    """Makes worlds: `await make_world(policy=..., API_RATE_LIMIT_RPS="5")`."""
    worlds: list[World] = []
    lives: list[Lifecycle] = []
    # Falcon looks for the machine's MIME types while the application is built, before anything is served.
    for function in ("os.stat", "io.BufferedReader.read", "io.TextIOWrapper.read"):
        event_loop_guard.functions[function].can_block_in("cordum/services/gateway/router.py", "build")

    async def make(
        policy: str = POLICY,
        keys: str = KEYS,
        *,
        production: bool = False,
        with_bundles: bool = False,
        kernel: Mapping[str, str] | None = None,
        **env: str,
    ) -> World:
        path = tmp_path / f"safety-{len(worlds)}.yaml"
        path.write_text(policy)
        kernel_env = {
            "SAFETY_KERNEL_ADDR": f"127.0.0.1:{free_port()}",
            "SAFETY_KERNEL_ADMIN_ADDR": "127.0.0.1:0",
            "SAFETY_POLICY_PATH": str(path),
            "SAFETY_POLICY_RELOAD_INTERVAL": "100ms",
            **(kernel or {}),
        }
        kernel_life, life = Lifecycle(), Lifecycle()
        lives.extend((kernel_life, life))
        servers = {"NATS_URL": nats_server.url, "REDIS_URL": redis_server.url}
        # Bundles are in Redis; a kernel that is told of none has the file alone.
        where = (load(NatsSettings, servers), load(RedisSettings, servers)) if with_bundles else (None, None)
        safety = await asyncio.to_thread(Kernel, load(SafetyKernelSettings, kernel_env), *where)
        await asyncio.to_thread(safety.load)
        await safety.serve(kernel_life)
        settings = load(
            GatewaySettings,
            {
                **servers,
                "SAFETY_KERNEL_ADDR": kernel_env["SAFETY_KERNEL_ADDR"],
                "GATEWAY_HTTP_ADDR": "127.0.0.1:0",
                "GATEWAY_GRPC_ADDR": "127.0.0.1:0",
                "GATEWAY_METRICS_ADDR": "127.0.0.1:0",
                "CORDUM_API_KEYS": keys,
                **ENOUGH,
                **env,
            },
        )
        if production:
            # Without certificates and the like, which production would demand at the start.
            settings = settings.model_copy(update={"production_flag": True})
        clock = SystemClock()
        source = await KeySource.open(settings, clock)
        store = await Store.connect(settings, clock=clock)
        life.on_stop(store.aclose)
        bus = await Bus.connect(settings)
        life.on_stop(bus.aclose)
        await bus.ensure_streams()
        client = KernelClient.from_settings(settings, clock)
        life.on_stop(client.aclose)
        gateway = Gateway(settings, bus=bus, store=store, kernel=client, keys=source, health=life.health, clock=clock)
        await gateway.start(life)
        life.ready()
        world = World(gateway, life, kernel_life, path)
        worlds.append(world)
        return world

    yield make
    for world in worlds:
        await world.aclose()
    for life in reversed(lives):
        await life.unwind()


@pytest_asyncio.fixture
async def world(make_world: MakeWorld) -> World:
    """A gateway for one test; rate limits are out of the way."""
    return await make_world()


@pytest_asyncio.fixture
async def api(world: World) -> httpx.AsyncClient:
    """Alice, an administrator of the tenant `default`."""
    return await world.client()


async def eventually(check: Callable[[], Awaitable[Any]], seconds: float = 10.0) -> Any:
    """Asks until the answer is true, for a bounded time; answers it."""
    async with asyncio.timeout(seconds):
        while True:
            if found := await check():
                return found
            await asyncio.sleep(0.02)


@pytest.fixture
def job_body() -> dict[str, Any]:
    """A job that policy allows."""
    return {"prompt": "say hello", "topic": "job.default"}
