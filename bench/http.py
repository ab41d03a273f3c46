"""A raw HTTP/1.1 keep-alive client: sends requests built beforehand, reads status, length and body, nothing else."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

MAX_ANSWER_BYTES = 8 * 2**20
_HEAD_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"


class HttpError(Exception):
    """The server's answer is not one this client reads."""


@dataclass(frozen=True)
class Endpoint:
    """Where plain HTTP is spoken."""

    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> "Endpoint":
        """Of `http://host:port` or `host:port`."""
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"{url!r}: the bench speaks plain http://host:port")
        return cls(parts.hostname, parts.port or 80)


def build_request(
    method: str, target: str, endpoint: Endpoint, headers: dict[str, str] | None = None, body: bytes = b""
) -> bytes:
    """The bytes of one request, to be sent any number of times."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {endpoint.host}:{endpoint.port}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + _HEAD_END + body


def parse_head(head: bytes) -> tuple[int, int]:
    """(status, body length) of a response head without its closing blank line."""
    if head[:5] != b"HTTP/" or len(head) < 12:
        raise HttpError(f"not an HTTP answer: {head[:40]!r}")
    try:
        status = int(head[9:12])
    except ValueError:
        raise HttpError(f"not an HTTP answer: {head[:40]!r}") from None
    at = head.find(_LENGTH)
    if at < 0:
        lowered = head.lower()
        at = lowered.find(_LENGTH)
        if at < 0:
            if status in (204, 304) or 100 <= status < 200:
                return status, 0
            raise HttpError("the answer has no Content-Length")
    end = head.find(b"\r\n", at + 2)
    length = int(head[at + len(_LENGTH) : end if end >= 0 else len(head)])
    if not 0 <= length <= MAX_ANSWER_BYTES:
        raise HttpError(f"the answer is {length} bytes long")
    return status, length


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request in flight."""

    def __init__(
        self,
        on_answer: Callable[["Connection", int, bytes], None],
        on_lost: Callable[["Connection", Exception | None], None],
    ) -> None:
        self._on_answer = on_answer
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._need = -1  # bytes of buffer that make the answer complete; -1: the head is not here yet
        self._body_at = 0
        self._status = 0
        self.sent_at = 0.0

    @property
    def open(self) -> bool:
        return self._transport is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._transport = None
            self._on_lost(self, exc)

    def send(self, request: bytes) -> None:
        """Write one request. The caller sets `sent_at` to what its latency counts from."""
        if self._transport is None:
            raise HttpError("the connection is closed")
        self._transport.write(request)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        if self._need < 0:
            end = buffer.find(_HEAD_END)
            if end < 0:
                self._buffer = buffer
                return
            try:
                self._status, length = parse_head(buffer[:end])
            except HttpError as error:
                self._fail(error)
                return
            self._body_at = end + 4
            self._need = self._body_at + length
        if len(buffer) < self._need:
            self._buffer = buffer
            return
        body = buffer[self._body_at : self._need]
        self._buffer = buffer[self._need :]
        self._need = -1
        self._on_answer(self, self._status, body)

    def _fail(self, error: Exception) -> None:
        if self._transport is not None:
            transport, self._transport = self._transport, None
            transport.abort()
            self._on_lost(self, error)


async def open_connection(
    endpoint: Endpoint,
    on_answer: Callable[[Connection, int, bytes], None],
    on_lost: Callable[[Connection, Exception | None], None],
    timeout: float = 5.0,
) -> Connection:
    """A connected `Connection`; raises OSError or TimeoutError (seconds)."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(timeout):
        _, connection = await loop.create_connection(
            lambda: Connection(on_answer, on_lost), endpoint.host, endpoint.port
        )
    return connection
