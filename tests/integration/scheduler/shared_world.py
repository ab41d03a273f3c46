"""One world for all tests of a module: servers, kernel and scheduler are started once."""

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from tests.integration.scheduler.world import World

from cordum.embedded.servers import Server


@asynccontextmanager
async def shared_world(directory: Path) -> AsyncIterator[World]:
    """A world on servers of its own; `start_kernel`, `start_scheduler`, `start_agent` add the rest."""
    async with AsyncExitStack() as stack:
        servers: list[Server] = []
        for kind in ("nats", "redis"):
            server = Server(kind, directory / kind, password=secrets.token_hex(16))
            await server.start()
            stack.push_async_callback(server.aclose)
            servers.append(server)
        files = directory / "world"
        files.mkdir()
        world = World(files, *servers)
        await world.open()
        stack.push_async_callback(world.aclose)
        yield world
