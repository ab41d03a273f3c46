"""Buses that are closed afterwards."""

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio
from tests.support.tally import OpenBus

from cordum.bus import Bus
from cordum.embedded.servers import Server
from cordum.runtime.settings import NatsSettings


@pytest_asyncio.fixture
async def open_bus(nats_server: Server) -> AsyncIterator[OpenBus]:
    """Opens a bus to `nats_server`, with its streams: `await open_bus(nats_js_ack_wait=2)`."""
    opened: list[Bus] = []

    async def connect(**fields: object) -> Bus:
        bus = await Bus.connect(NatsSettings.model_validate({"nats_url": nats_server.url} | fields))
        opened.append(bus)
        await bus.ensure_streams()
        return bus

    yield connect
    await asyncio.gather(*(bus.aclose(grace=1.0) for bus in opened))


@pytest_asyncio.fixture
async def bus(open_bus: OpenBus) -> Bus:
    """One bus with its streams."""
    return await open_bus()
