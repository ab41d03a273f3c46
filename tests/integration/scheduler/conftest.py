"""A world per test: NATS and Redis are up, its other parts start on demand."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from tests.integration.scheduler.world import Process, World

from cordum.embedded.servers import Server


@pytest_asyncio.fixture
async def world(nats_server: Server, redis_server: Server, tmp_path: Path) -> AsyncIterator[World]:
    """NATS, Redis, a submitter; `start_kernel`, `start_scheduler`, `start_agent` add the rest."""
    directory = tmp_path / "world"
    directory.mkdir()
    made = World(directory, nats_server, redis_server)
    await made.open()
    yield made
    await made.aclose()


@pytest_asyncio.fixture
async def scheduler(world: World) -> Process:
    """The world with a kernel and one scheduler."""
    _, scheduler = await asyncio.gather(world.start_kernel(), world.start_scheduler())
    return scheduler
