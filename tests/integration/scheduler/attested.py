"""Workers with credentials, for the worlds of the scheduler's tests."""

import asyncio
import functools
import time
from collections.abc import Sequence
from typing import Any

import msgspec
from cap.heartbeat import heartbeat_payload
from cap.runtime import Agent
from tests.integration.scheduler.world import Blobs, Handler, Process, World

import nats
from cordum.bus import envelope, subjects
from cordum.core.access.worker_credential import WorkerCredential
from cordum.core.access.worker_tokens import hash_token
from cordum.core.ids import PoolName, TenantId, Topic, WorkerId
from cordum.core.routing.snapshot import FleetSnapshot
from cordum.embedded.ports import free_port

_SALT = b"salt-for-testing"
API_KEY = "attested-world-key-0123456789"


def token_for(number: int) -> str:
    return f"{number:064x}"


async def issue(
    world: World, worker_id: str, number: int, *, pools: Sequence[str] = (), topics: Sequence[str] = ()
) -> str:
    """Issues a credential as the gateway does, and tells the schedulers; its token."""
    token = token_for(number)
    await world.store.worker_credentials.put(
        WorkerCredential(
            worker_id=WorkerId(worker_id),
            tenant_id=TenantId("default"),
            credential_hash=await asyncio.to_thread(hash_token, token, _SALT),
            allowed_pools=tuple(PoolName(pool) for pool in pools),
            allowed_topics=tuple(Topic(topic) for topic in topics),
            created_at="2026-01-01T00:00:00Z",
        )
    )
    await tell(world)
    return token


async def revoke(world: World, worker_id: str) -> None:
    await world.store.worker_credentials.revoke(WorkerId(worker_id), "2026-01-02T00:00:00Z")
    await tell(world)


async def tell(world: World) -> None:
    packet = envelope.packet(subjects.GATEWAY_CONTROL_ID, "credentials", time.time())
    packet.alert.level, packet.alert.component, packet.alert.code = "info", "gateway", "config_changed"
    packet.alert.message = "worker credentials have changed"
    packet.alert.details.update({"scope": "system", "scope_id": "workers"})
    await world.bus.publish_core(subjects.CONFIG_CHANGED, envelope.encode(packet))


async def start_agent(
    world: World,
    worker_id: str,
    token: str,
    handlers: dict[str, Handler],
    *,
    pool: str = "main",
    max_parallel: int = 1,
) -> Agent:
    """The SDK's Agent, unmodified, whose heartbeats carry a token as the SDK has it: built by its own helper."""
    at_work = 0

    def counted(handler: Handler) -> Handler:
        async def handle(context: Any, data: Any) -> Any:
            nonlocal at_work
            at_work += 1
            try:
                return await handler(context, data)
            finally:
                at_work -= 1

        return handle

    agent = Agent(
        nats_url=world.nats.url,
        connect_fn=functools.partial(nats.connect, reconnect_time_wait=0.2),
        store=Blobs(world.redis.url),
        worker_id=worker_id,
        pool=pool,
        max_parallel=max_parallel,
        heartbeat_interval=0.2,
        heartbeat_payload_fn=lambda: heartbeat_payload(worker_id, pool, at_work, max_parallel, 0.0, auth_token=token),
    )
    for topic, handler in handlers.items():
        agent.job(topic)(counted(handler))
    await agent.start()
    world.adopt(agent)
    return agent


async def beat(world: World, worker_id: str, *, token: str = "", pool: str = "main", sender: str = "") -> None:
    """One heartbeat."""
    packet = envelope.packet(sender or worker_id, worker_id, time.time())
    packet.heartbeat.worker_id = worker_id
    packet.heartbeat.pool = pool
    packet.heartbeat.auth_token = token
    packet.heartbeat.max_parallel_jobs = 1
    # As it is: our own encoder would not let a worker speak in another's name.
    await world.bus.publish_core(subjects.HEARTBEAT, packet.SerializeToString())


async def listed(world: World) -> dict[str, str]:
    """The workers of the snapshot, with what became of their tokens."""
    stored = await world.store.workers.load()
    if stored is None:
        return {}
    return {
        str(entry.worker_id): entry.attestation for entry in msgspec.json.decode(stored, type=FleetSnapshot).workers
    }


def refusals(scheduler: Process) -> set[tuple[str, str]]:
    """Who was not believed, and why, according to the log."""
    return {(str(line["worker_id"]), str(line["reason"])) for line in scheduler.events("attestation failed")}


async def start_gateway(world: World, **env: str) -> tuple[Process, str]:
    """A gateway, and the address of its API."""
    http, metrics = free_port(), free_port()
    process = world.process(
        f"gateway-{http}",
        "cordum.services.gateway",
        {
            "NATS_URL": world.nats.url,
            "REDIS_URL": world.redis.url,
            "SAFETY_KERNEL_ADDR": f"127.0.0.1:{world.kernel_port}",
            "GATEWAY_HTTP_ADDR": f"127.0.0.1:{http}",
            "GATEWAY_GRPC_ADDR": f"127.0.0.1:{free_port()}",
            "GATEWAY_METRICS_ADDR": f"127.0.0.1:{metrics}",
            "CORDUM_API_KEY": API_KEY,
            "API_RATE_LIMIT_RPS": "100000",
            "API_RATE_LIMIT_BURST": "100000",
            **env,
        },
        f"http://127.0.0.1:{metrics}/readyz",
    )
    await process.start()
    return process, f"http://127.0.0.1:{http}"
