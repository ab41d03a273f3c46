"""Redis or Valkey with TLS in every topology: one server, Sentinels with their replicas, a cluster of six."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis.asyncio as redis
from redis.asyncio.cluster import ClusterNode
from tests.support.certificates import Authority
from tests.support.daemon import Daemon, own_port

PASSWORD = "redis-of-these-tests-7Qw2"
WATCHER_PASSWORD = "sentinels-of-these-tests-9Kd4"
MASTER_NAME = "cordum"
NODE_TIMEOUT = 5.0
"""Seconds until a cluster's node counts as dead, as in production (guide section 11b)."""
DOWN_AFTER = 5.0
"""The same for the Sentinels."""
SLOTS = 16384
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Security:
    """The certificates of an installation, and whether clients must show one."""

    authority: Authority
    server: tuple[str, str]
    client: tuple[str, str]
    mutual: bool

    @classmethod
    def make(cls, directory: Path, *, mutual: bool) -> "Security":
        authority = Authority(directory)
        return cls(authority, authority.issue("server"), authority.issue("client"), mutual)

    def client_env(self, prefix: str) -> dict[str, str]:
        """The settings of a client: `REDIS_TLS_*`, `NATS_TLS_*`."""
        shown = {f"{prefix}_CERT": self.client[0], f"{prefix}_KEY": self.client[1]} if self.mutual else {}
        return {f"{prefix}_CA": self.authority.ca, **shown}

    def redis_kwargs(self) -> dict[str, Any]:
        """The same for redis-py."""
        shown = {"ssl_certfile": self.client[0], "ssl_keyfile": self.client[1]} if self.mutual else {}
        return {"ssl": True, "ssl_ca_certs": self.authority.ca, **shown}


class RedisNode(Daemon):
    """One server, or one Sentinel, that speaks TLS only."""

    def __init__(
        self, name: str, directory: Path, program: str, security: Security, config: str, *, sentinel: bool = False
    ) -> None:
        self.port = own_port()
        self.security = security
        self.password = WATCHER_PASSWORD if sentinel else PASSWORD
        self._config = directory / "redis.conf"
        self._text = (
            f"bind {HOST}\nport 0\ntls-port {self.port}\ndir {directory}\n"
            f"tls-cert-file {security.server[0]}\ntls-key-file {security.server[1]}\n"
            f"tls-ca-cert-file {security.authority.ca}\ntls-auth-clients {'yes' if security.mutual else 'no'}\n"
            f"tls-replication yes\nrequirepass {self.password}\n"
            + ("" if sentinel else f"masterauth {PASSWORD}\nappendonly yes\nappendfsync everysec\nsave ''\n")
            + config
        )
        super().__init__(
            name,
            directory,
            [program, str(self._config), *(["--sentinel"] if sentinel else [])],
            env={"PATH": os.environ["PATH"]},
            probe=self._answers,
            on_start=self._configure,
        )

    def _configure(self) -> None:
        if not self._config.exists():  # Sentinels keep what they learn in it
            self._config.write_text(self._text)

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    def client(self) -> "redis.Redis":
        return redis.Redis(
            host=HOST,
            port=self.port,
            password=self.password,
            protocol=2,
            decode_responses=True,
            socket_timeout=2,
            socket_connect_timeout=2,
            **self.security.redis_kwargs(),
        )

    async def ask(self, *command: str | int) -> Any:
        """One command on a connection of its own."""
        client = self.client()
        try:
            return await client.execute_command(*command)  # type: ignore[no-untyped-call]
        finally:
            await client.aclose()

    async def _answers(self) -> bool:
        try:
            return bool(await self.ask("PING"))
        except (redis.RedisError, OSError):
            return False

    async def says(self, wanted: str, *command: str | int, within: float = 30.0) -> None:
        """Waits until the answer holds `wanted`."""
        deadline = time.monotonic() + within
        while True:
            try:
                answer = str(await self.ask(*command))
            except (redis.RedisError, OSError) as error:
                answer = repr(error)
            if wanted in answer:
                return
            assert time.monotonic() < deadline, f"{self.name} {command}: {answer}"
            await asyncio.sleep(0.05)


@dataclass
class RedisSite:
    """A topology that runs: what operators tell the services about it, and the nodes to hurt.

    Attributes:
        env: `REDIS_*` of every service and worker.
        nodes: masters first, then replicas; `sentinels` apart.
    """

    env: dict[str, str]
    nodes: list[RedisNode]
    security: Security
    sentinels: list[RedisNode] = field(default_factory=list)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Any]:
        """A client of the whole, which follows failovers; the test's own look at the store."""
        tls = self.security.redis_kwargs()
        async with AsyncExitStack() as stack:
            client: Any
            if "REDIS_CLUSTER_ADDRESSES" in self.env:
                nodes = [ClusterNode(HOST, node.port) for node in self.nodes]
                client = redis.RedisCluster(startup_nodes=nodes, password=PASSWORD, decode_responses=True, **tls)
            elif self.sentinels:
                watchers: Any = redis.Sentinel(  # type: ignore[no-untyped-call]
                    [(HOST, node.port) for node in self.sentinels],
                    sentinel_kwargs={"password": WATCHER_PASSWORD, **tls},
                )
                stack.push_async_callback(watchers.aclose)
                client = watchers.master_for(MASTER_NAME, password=PASSWORD, decode_responses=True, **tls)
                stack.push_async_callback(client.connection_pool.aclose)
            else:
                client = self.nodes[0].client()
            stack.push_async_callback(client.aclose)
            yield client

    async def primary_of(self, key: str) -> RedisNode:
        """The cluster's node that holds a key now."""
        slot = int(await self.nodes[0].ask("CLUSTER", "KEYSLOT", key))
        for node in self.nodes:
            if node.pid:
                for first, last, (_, port, *_), *_ in await node.ask("CLUSTER", "SLOTS"):
                    if first <= slot <= last:
                        return next(node for node in self.nodes if node.port == port)
        raise AssertionError(f"nobody has {key}")


@asynccontextmanager
async def standalone(directory: Path, program: str, security: Security) -> AsyncIterator[RedisSite]:
    """One server."""
    async with AsyncExitStack() as stack:
        node = await _started(stack, RedisNode("redis", directory / "redis", program, security, ""))
        env = {"REDIS_URL": f"rediss://:{PASSWORD}@{node.address}/0", **security.client_env("REDIS_TLS")}
        yield RedisSite(env, [node], security)


@asynccontextmanager
async def sentinel(directory: Path, program: str, security: Security) -> AsyncIterator[RedisSite]:
    """One primary, two replicas, three Sentinels of which two must agree."""
    async with AsyncExitStack() as stack:
        quick = "repl-diskless-sync-delay 0\n"
        primary = await _started(stack, RedisNode("redis-0", directory / "redis-0", program, security, quick))
        replicas = [
            RedisNode(
                f"redis-{number}",
                directory / f"redis-{number}",
                program,
                security,
                f"{quick}replicaof {HOST} {primary.port}\n",
            )
            for number in (1, 2)
        ]
        await asyncio.gather(*(_started(stack, node) for node in replicas))
        await asyncio.gather(*(node.says("'master_link_status': 'up'", "INFO", "replication") for node in replicas))
        watching = (
            f"sentinel monitor {MASTER_NAME} {HOST} {primary.port} 2\nsentinel auth-pass {MASTER_NAME} {PASSWORD}\n"
            f"sentinel down-after-milliseconds {MASTER_NAME} {DOWN_AFTER * 1000:.0f}\n"
            f"sentinel failover-timeout {MASTER_NAME} 10000\nsentinel sentinel-pass {WATCHER_PASSWORD}\n"
        )
        watchers = [
            RedisNode(
                f"sentinel-{number}", directory / f"sentinel-{number}", program, security, watching, sentinel=True
            )
            for number in range(3)
        ]
        await asyncio.gather(*(_started(stack, node) for node in watchers))
        for node in watchers:
            await node.says("'num-other-sentinels', '2'", "SENTINEL", "MASTER", MASTER_NAME)
            await node.says("'num-slaves', '2'", "SENTINEL", "MASTER", MASTER_NAME)
        env = {
            "REDIS_URL": f"rediss://:{PASSWORD}@unused:1/0",
            "REDIS_SENTINEL_ADDRESSES": ",".join(node.address for node in watchers),
            "REDIS_SENTINEL_MASTER": MASTER_NAME,
            "REDIS_SENTINEL_PASSWORD": WATCHER_PASSWORD,
            **security.client_env("REDIS_TLS"),
        }
        yield RedisSite(env, [primary, *replicas], security, watchers)


@asynccontextmanager
async def cluster(directory: Path, program: str, security: Security) -> AsyncIterator[RedisSite]:
    """Six nodes: three primaries, then a replica of each in the same order."""
    async with AsyncExitStack() as stack:
        nodes = []
        for number in range(6):
            config = (
                f"cluster-enabled yes\ntls-cluster yes\ncluster-node-timeout {NODE_TIMEOUT * 1000:.0f}\n"
                f"cluster-port {own_port()}\nrepl-diskless-sync-delay 0\n"
            )
            nodes.append(RedisNode(f"node-{number}", directory / f"node-{number}", program, security, config))
        await asyncio.gather(*(_started(stack, node) for node in nodes))
        await form(nodes)
        env = {
            "REDIS_URL": f"rediss://:{PASSWORD}@unused:1",
            "REDIS_CLUSTER_ADDRESSES": ",".join(node.address for node in nodes),
            **security.client_env("REDIS_TLS"),
        }
        yield RedisSite(env, nodes, security)


async def form(nodes: list[RedisNode]) -> None:
    """Makes a cluster of six nodes."""
    for at in range(3):
        await nodes[at].ask("CLUSTER", "ADDSLOTSRANGE", at * SLOTS // 3, (at + 1) * SLOTS // 3 - 1)
        await nodes[at].ask("CLUSTER", "SET-CONFIG-EPOCH", at + 1)
    for node in nodes[1:]:
        _, bus_port = await node.ask("CONFIG", "GET", "cluster-port")
        await nodes[0].ask("CLUSTER", "MEET", HOST, node.port, bus_port)
    for node in nodes:
        await node.says("cluster_known_nodes:6", "CLUSTER", "INFO")
    for at in range(3):
        master = str(await nodes[at].ask("CLUSTER", "MYID"))
        await nodes[at + 3].says(master, "CLUSTER", "NODES")
        await nodes[at + 3].ask("CLUSTER", "REPLICATE", master)
    for node in nodes:
        await node.says("cluster_state:ok", "CLUSTER", "INFO")
    for node in nodes[3:]:
        await node.says("'master_link_status': 'up'", "INFO", "replication")


async def _started(stack: AsyncExitStack, node: RedisNode) -> RedisNode:
    stack.push_async_callback(node.aclose)
    await node.start()
    return node
