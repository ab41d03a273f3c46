"""Redis's own counters, for reporting only: the bench never reads or writes a key."""

from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis


@dataclass(frozen=True)
class Counters:
    """`reads` counts the times Redis read a socket. A pipeline that arrives together is one: a round trip."""

    commands: int
    reads: int
    version: str


class RedisInfo:
    """One connection that asks INFO."""

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(url, socket_timeout=5.0, socket_connect_timeout=5.0)

    async def counters(self) -> Counters:
        """Raises redis.RedisError when the server does not answer. Asking costs one command and one read itself."""
        info: dict[str, Any] = await self._redis.info()
        name = "Valkey" if "valkey_version" in info else "Redis"
        return Counters(
            commands=int(info["total_commands_processed"]),
            reads=int(info["total_reads_processed"]),
            version=f"{name} {info.get('valkey_version', info['redis_version'])}",
        )

    async def aclose(self) -> None:
        await self._redis.aclose()
