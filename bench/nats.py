"""A raw NATS client: PUB, SUB and MSG, little around them. It never reconnects: a lost connection ends the run."""

import asyncio
import json
from collections.abc import Callable
from typing import cast
from urllib.parse import unquote, urlsplit

MAX_PAYLOAD_BYTES = 16 * 2**20
OnMessage = Callable[[bytes, bytes, bytes], None]  # subject, reply subject (b"" = none), payload


class NatsError(Exception):
    """The server refused, or spoke something this client does not read."""


class NatsClient(asyncio.Protocol):
    """One connection. What one loop turn publishes leaves in one write."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._out: list[bytes] = []
        self._handlers: dict[bytes, OnMessage] = {}
        self._next_sid = 0
        self._pongs: list[asyncio.Future[None]] = []
        self._greeted: asyncio.Future[dict[str, object]] = self._loop.create_future()
        self._writable = asyncio.Event()
        self._writable.set()
        self.failure: Exception | None = None
        self.server_version = ""

    @classmethod
    async def connect(cls, url: str, *, name: str, timeout: float = 10.0) -> "NatsClient":
        """To `nats://[user:password@|token@]host:port`; raises NatsError, OSError, TimeoutError (seconds)."""
        parts = urlsplit(url if "//" in url else f"nats://{url}")
        if parts.scheme != "nats" or not parts.hostname:
            raise NatsError(f"{url!r}: the bench speaks plain nats://host:port")
        options: dict[str, object] = {
            "verbose": False,
            "pedantic": False,
            "lang": "python",
            "version": "1",
            "name": name,
            "protocol": 1,
            "headers": True,
        }
        if parts.username and parts.password is not None:
            options |= {"user": unquote(parts.username), "pass": unquote(parts.password)}
        elif parts.username:
            options["auth_token"] = unquote(parts.username)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(timeout):
            _, client = await loop.create_connection(cls, parts.hostname, parts.port or 4222)
            try:
                info = await client._greeted
                client.server_version = str(info.get("version", ""))
                client._write(b"CONNECT " + json.dumps(options).encode() + b"\r\n")
                await client.flush()
            except BaseException:
                client.close()
                raise
        return client

    def subscribe(self, subject: str, handler: OnMessage, *, queue: str = "") -> None:
        """`handler` is called in the loop for every message; it must not block and not raise."""
        self._next_sid += 1
        sid = str(self._next_sid).encode()
        self._handlers[sid] = handler
        self._write(b" ".join(part for part in (b"SUB", subject.encode(), queue.encode(), sid) if part) + b"\r\n")

    def publish(self, subject: bytes, payload: bytes, reply: bytes = b"") -> None:
        head = (
            b"PUB %b %b %d\r\n" % (subject, reply, len(payload))
            if reply
            else b"PUB %b %d\r\n" % (subject, len(payload))
        )
        self._write(head)
        self._out.append(payload)
        self._out.append(b"\r\n")

    async def writable(self) -> None:
        """Wait until the socket takes more (the outgoing buffer is bounded by those who await this)."""
        await self._writable.wait()

    async def flush(self, timeout: float = 10.0) -> None:
        """Wait until the server has read everything sent so far."""
        pong: asyncio.Future[None] = self._loop.create_future()
        self._pongs.append(pong)
        self._write(b"PING\r\n")
        async with asyncio.timeout(timeout):
            await pong

    def close(self) -> None:
        if self._transport is not None:
            self._send()
            self._transport.close()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._writable.set()
        self._end(exc or NatsError("the NATS connection was closed"))

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        at = 0
        try:
            while True:
                end = buffer.find(b"\r\n", at)
                if end < 0:
                    break
                kind = buffer[at : at + 4]
                if kind in (b"MSG ", b"HMSG"):
                    after = self._message(buffer, at, end)
                    if after < 0:
                        break
                    at = after
                    continue
                self._control(buffer[at:end])
                at = end + 2
        except (NatsError, ValueError) as error:
            self._end(error)
            if self._transport is not None:
                self._transport.abort()
            return
        self._buffer = buffer[at:]

    def _message(self, buffer: bytes, at: int, end: int) -> int:
        """Handle the message whose head is buffer[at:end]; where the next begins, or -1 when it is not all here yet."""
        words = buffer[at:end].split(b" ")
        with_headers = words[0] == b"HMSG"
        size = int(words[-1])
        header = int(words[-2]) if with_headers else 0
        if not 0 <= header <= size <= MAX_PAYLOAD_BYTES:
            raise NatsError(f"bad message head {buffer[at:end]!r}")
        start = end + 2
        if len(buffer) < start + size + 2:
            return -1
        handler = self._handlers.get(words[2])
        if handler is not None:
            reply = words[3] if len(words) == (6 if with_headers else 5) else b""
            handler(words[1], reply, buffer[start + header : start + size])
        return start + size + 2

    def _control(self, line: bytes) -> None:
        if line == b"PING":
            self._write(b"PONG\r\n")
        elif line == b"PONG":
            if self._pongs:
                pong = self._pongs.pop(0)
                if not pong.done():
                    pong.set_result(None)
        elif line.startswith(b"INFO "):
            if not self._greeted.done():
                self._greeted.set_result(json.loads(line[5:]))
        elif line.startswith(b"-ERR"):
            raise NatsError(line[4:].decode(errors="replace").strip(" '"))
        elif line != b"+OK":
            raise NatsError(f"unknown protocol line {line[:60]!r}")

    def _write(self, data: bytes) -> None:
        if not self._out:
            self._loop.call_soon(self._send)
        self._out.append(data)

    def _send(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None and out:
            self._transport.write(b"".join(out))

    def _end(self, error: Exception) -> None:
        self.failure = self.failure or error
        for pong in self._pongs:
            if not pong.done():
                pong.set_exception(error)
        self._pongs.clear()
        if not self._greeted.done():
            self._greeted.set_exception(error)
        elif not self._greeted.cancelled():
            self._greeted.exception()  # read once, so that nobody is told of it again
