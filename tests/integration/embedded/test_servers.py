"""The real servers that every other test relies on."""

import asyncio

from redis.asyncio import Redis

from cordum.embedded.servers import Server


async def test_a_killed_redis_comes_back_on_its_port_with_its_data(redis_server: Server) -> None:
    async with Redis.from_url(redis_server.url) as client:
        await client.set("k", "v")
    port, pid = redis_server.port, redis_server.pid

    await redis_server.kill()
    assert redis_server.pid == 0
    await redis_server.restart()

    assert redis_server.port == port and redis_server.pid != pid
    async with Redis.from_url(redis_server.url) as client:
        assert await client.get("k") == b"v"


async def test_nats(nats_server: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", nats_server.port)
    assert b'"jetstream":true' in await reader.readline()
    writer.close()
    await writer.wait_closed()
    await nats_server.kill()
    await nats_server.restart()
