"""nats-server with TLS: one, or a cluster of three that keeps three copies of every message."""

import asyncio
import contextlib
import json
import os
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats.errors
from nats.aio.client import Client
from tests.support.daemon import Daemon, listens, own_port
from tests.support.redisd import Security

import nats
from cordum.embedded import binaries

HOST = "127.0.0.1"
USER, PASSWORD = "cordum", "nats-of-these-tests-4Tz8"


class NatsNode(Daemon):
    """One server; `routes` are the others' ports of a cluster."""

    def __init__(
        self, name: str, directory: Path, security: Security, *, port: int, route: int = 0, routes: tuple[int, ...] = ()
    ) -> None:
        self.port = port
        cert, key = security.server
        files = f'cert_file: "{cert}", key_file: "{key}", ca_file: "{security.authority.ca}"'
        text = (
            f'server_name: "{name}"\nlisten: "{HOST}:{port}"\nmax_payload: 4MB\n'
            f'jetstream {{ store_dir: "{directory}/data", sync_interval: 1s }}\n'
            f"tls {{ {files}, verify: {'true' if security.mutual else 'false'} }}\n"
            f'authorization {{ user: "{USER}", password: "{PASSWORD}" }}\n'
        )
        if routes:
            peers = ", ".join(f'"tls://{HOST}:{other}"' for other in routes)
            text += (
                f'cluster {{ name: "cordum", listen: "{HOST}:{route}", routes: [{peers}]\n'
                f"tls {{ {files}, verify: true }} }}\n"
            )
        directory.mkdir(parents=True)
        config = directory / "nats.conf"
        config.write_text(text)
        super().__init__(
            name,
            directory,
            [str(binaries.find(binaries.NATS, dict(os.environ))), "-c", str(config)],
            env={"PATH": os.environ["PATH"]},
            probe=lambda: listens(port),
        )


@dataclass
class NatsSite:
    """What operators tell the services about NATS (`env`), and the servers to hurt (`nodes`)."""

    env: dict[str, str]
    nodes: list[NatsNode]
    security: Security

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """The test's own connection to whichever server lives."""
        context = ssl.create_default_context(cafile=self.security.authority.ca)
        if self.security.mutual:
            context.load_cert_chain(*self.security.client)
        connection = await nats.connect(
            [f"tls://{HOST}:{node.port}" for node in self.nodes if node.pid],
            user=USER,
            password=PASSWORD,
            tls=context,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.1,
            error_cb=_quiet,
        )
        try:
            yield connection
        finally:
            await connection.close()

    async def api(self, request: str, body: object = None) -> dict[str, Any]:
        """A request of the JetStream API; {} when nobody answers."""
        async with self.client() as connection:
            data = b"" if body is None else json.dumps(body).encode()
            with contextlib.suppress(nats.errors.Error, TimeoutError):
                answer = await connection.request(f"$JS.API.{request}", data, timeout=2)
                return dict(json.loads(answer.data))
        return {}

    async def leader(self, stream: str) -> NatsNode:
        """Who leads a stream now."""
        name = (await self.api(f"STREAM.INFO.{stream}"))["cluster"]["leader"]
        return next(node for node in self.nodes if node.name == name)

    async def in_step(self, stream: str, within: float = 30.0) -> float:
        """Waits until every replica of a stream has all of it; says after how many seconds."""
        began = time.monotonic()
        while True:
            group = (await self.api(f"STREAM.INFO.{stream}")).get("cluster", {})
            replicas = group.get("replicas") or []
            if group.get("leader") and len(replicas) == len(self.nodes) - 1 and all(one["current"] for one in replicas):
                return time.monotonic() - began
            assert time.monotonic() - began < within, group
            await asyncio.sleep(0.1)


@asynccontextmanager
async def single(directory: Path, security: Security) -> AsyncIterator[NatsSite]:
    """One server."""
    async with AsyncExitStack() as stack:
        node = NatsNode("nats-0", directory / "nats-0", security, port=own_port())
        stack.push_async_callback(node.aclose)
        await node.start()
        yield NatsSite(_env([node], security), [node], security)


@asynccontextmanager
async def cluster(directory: Path, security: Security) -> AsyncIterator[NatsSite]:
    """Three servers with routes between them."""
    async with AsyncExitStack() as stack:
        routes = [own_port() for _ in range(3)]
        nodes = [
            NatsNode(
                f"nats-{at}",
                directory / f"nats-{at}",
                security,
                port=own_port(),
                route=routes[at],
                routes=tuple(route for route in routes if route != routes[at]),
            )
            for at in range(3)
        ]
        for node in nodes:
            stack.push_async_callback(node.aclose)
        await asyncio.gather(*(node.start() for node in nodes))
        yield NatsSite(_env(nodes, security) | {"NATS_JS_REPLICAS": "3"}, nodes, security)


def _env(nodes: list[NatsNode], security: Security) -> dict[str, str]:
    return {
        "NATS_URL": ",".join(f"tls://{HOST}:{node.port}" for node in nodes),
        "NATS_USERNAME": USER,
        "NATS_PASSWORD": PASSWORD,
        **security.client_env("NATS_TLS"),
    }


async def _quiet(error: Exception) -> None:
    """Losing a server is what these tests are about."""
