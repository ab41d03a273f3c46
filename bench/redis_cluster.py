"""A Redis Cluster of six nodes on this machine: three primaries, a replica for each."""

import asyncio
import secrets
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from redis.asyncio import Redis

from bench.lab import BenchError
from cordum.embedded.servers import Server

_PRIMARIES = 3
_SLOTS = 16_384
_WITHIN_S = 30.0


@asynccontextmanager
async def redis_cluster() -> AsyncIterator[dict[str, str]]:
    """A running cluster, gone again when the block ends; gives the settings that lead a service to it."""
    password = secrets.token_hex(16)
    config = f"cluster-enabled yes\ncluster-node-timeout 5000\nmasterauth {password}\nrepl-diskless-sync-delay 0\n"
    async with AsyncExitStack() as cleanup:
        directory = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="cordum-bench-")))
        nodes = [
            Server("redis", directory / f"node-{number}", password=password, extra=config)
            for number in range(2 * _PRIMARIES)
        ]
        for node in nodes:
            await node.start()
            cleanup.push_async_callback(node.aclose)
        clients = [Redis.from_url(node.url, decode_responses=True) for node in nodes]
        for client in clients:
            cleanup.push_async_callback(client.aclose)
        await _join(clients, [node.port for node in nodes])
        yield {
            "REDIS_URL": f"redis://:{password}@127.0.0.1:{nodes[0].port}/0",
            "REDIS_CLUSTER_ADDRESSES": ",".join(f"127.0.0.1:{node.port}" for node in nodes[:_PRIMARIES]),
        }


async def _join(clients: list[Redis], ports: list[int]) -> None:
    for number, client in enumerate(clients[:_PRIMARIES]):
        first, last = number * _SLOTS // _PRIMARIES, (number + 1) * _SLOTS // _PRIMARIES - 1
        await _ask(client, "CLUSTER", "ADDSLOTSRANGE", str(first), str(last))
        await _ask(client, "CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
    for port in ports[1:]:
        await _ask(clients[0], "CLUSTER", "MEET", "127.0.0.1", str(port))
    for client in clients:
        await _comes(client, "INFO", f"cluster_known_nodes:{len(ports)}")
    for primary, replica in zip(clients[:_PRIMARIES], clients[_PRIMARIES:], strict=True):
        name = await _ask(primary, "CLUSTER", "MYID")
        await _comes(replica, "NODES", name)
        await _ask(replica, "CLUSTER", "REPLICATE", name)
    for client in clients:
        await _comes(client, "INFO", "cluster_state:ok")


async def _ask(client: Redis, *command: str) -> str:
    return str(await client.execute_command(*command))  # type: ignore[no-untyped-call]


async def _comes(client: Redis, what: str, wanted: str) -> None:
    until = time.monotonic() + _WITHIN_S
    while wanted not in await _ask(client, "CLUSTER", what):
        if time.monotonic() > until:
            raise BenchError(f"the Redis cluster does not get to {wanted}")
        await asyncio.sleep(0.05)
