"""Asks a server whether it really does its work: a command answered, not merely a port open."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

from cordum.embedded.ports import LOOPBACK

_WITHIN = 1.0
_LIMIT = 1024 * 1024


async def redis_answers(port: int, password: str) -> bool:
    """`PING` is answered with `PONG` (and not with LOADING, while the append-only file is read)."""
    commands = ([b"AUTH", password.encode()] if password else [], [b"PING"])
    request = b"".join(_resp(command) for command in commands if command)
    try:
        async with _connection(port) as (reader, writer):
            writer.write(request)
            if password and await reader.readline() != b"+OK\r\n":
                return False
            return await reader.readline() == b"+PONG\r\n"
    except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError):
        return False


async def jetstream_answers(port: int, user: str, password: str) -> bool:
    """The JetStream account information is answered: the store is open and requests are served."""
    options = {
        "verbose": False,
        "pedantic": False,
        "user": user,
        "pass": password,
        "name": "cordum-probe",
        "lang": "py",
    }
    request = (
        f"CONNECT {json.dumps(options)}\r\nSUB _INBOX.cordum.probe 1\r\n"
        "PUB $JS.API.INFO _INBOX.cordum.probe 0\r\n\r\nPING\r\n"
    )
    try:
        async with _connection(port) as (reader, writer):
            if not (await reader.readline()).startswith(b"INFO "):
                return False
            writer.write(request.encode())
            for _ in range(8):
                line = await reader.readline()
                if line.startswith(b"MSG "):
                    answer = json.loads(await reader.readexactly(int(line.split()[-1])))
                    return isinstance(answer, dict) and "error" not in answer
                if not line or line.startswith(b"-ERR"):
                    return False
    except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError):
        return False
    return False


async def http_ready(port: int, path: str = "/readyz") -> bool:
    """`GET path` is answered with status 200."""
    request = f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nConnection: close\r\n\r\n"
    try:
        async with _connection(port) as (reader, writer):
            writer.write(request.encode())
            return (await reader.readline()).split()[1:2] == [b"200"]
    except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError):
        return False


@contextlib.asynccontextmanager
async def _connection(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with asyncio.timeout(_WITHIN):
        reader, writer = await asyncio.open_connection(LOOPBACK, port, limit=_LIMIT)
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def _resp(command: list[bytes]) -> bytes:
    parts = [b"*%d\r\n" % len(command)]
    parts += [b"$%d\r\n%s\r\n" % (len(part), part) for part in command]
    return b"".join(parts)
