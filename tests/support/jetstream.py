"""Looks at streams and consumers from outside, with a connection of its own."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from nats.js import JetStreamContext

import nats


@asynccontextmanager
async def jetstream(url: str) -> AsyncIterator[JetStreamContext]:
    """nats-py's own JetStream client."""
    connection = await nats.connect(url)
    try:
        yield connection.jetstream()
    finally:
        await connection.close()


async def unacknowledged(url: str, stream: str, durable: str) -> int:
    """Messages a consumer still has to deal with, delivered or not."""
    async with jetstream(url) as js:
        info = await js.consumer_info(stream, durable)
    return (info.num_pending or 0) + (info.num_ack_pending or 0)


async def comes_true(ask: Callable[[], Awaitable[bool]], what: str, within: float = 15.0) -> None:
    """Waits until `ask()` answers yes; fails the test when `within` seconds pass first."""
    deadline = time.monotonic() + within
    while not await ask():
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        await asyncio.sleep(0.02)
