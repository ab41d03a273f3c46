"""One request and its answer on a connection: uvicorn's cycle with a leaner way to write.

uvicorn checks every header of every answer with two regular expressions and writes head and body apart. What we send is
ours: the fixed part of the head is joined once a second, the rest is checked for line breaks in one go, and an answer
is one write.
"""

from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle


class FixedHead:
    """The headers every answer carries, joined; uvicorn replaces the list when the date changes."""

    def __init__(self) -> None:
        self._of: Any = None
        self._joined = b""

    def joined(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        if headers is not self._of:
            self._joined = b"".join([b"%b: %b\r\n" % header for header in headers])
            self._of = headers
        return self._joined


class UnsafeHeaderError(RuntimeError):
    """A header of an answer contains a line break."""


class Cycle(RequestResponseCycle):
    """Writes an answer at once when its body is complete, as ours are, and piece by piece when it is a stream."""

    fixed: bytes
    """The joined headers of every answer."""
    hang_up: Callable[[], None]
    """Ends the connection so that the answer still arrives."""
    _head: bytes = b""
    _streams: bool = False

    async def send(self, message: Any) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if message["type"] == "http.response.start":
            self._start(message)
        else:
            self._finish(message)

    def _start(self, message: Any) -> None:
        if self.response_started:
            raise RuntimeError("the answer has been started already")
        self.response_started = True
        self.waiting_for_100_continue = False
        status: int = message["status"]
        headers: list[tuple[bytes, bytes]] = message["headers"]
        head = b"".join([b"%b: %b\r\n" % header for header in headers])
        if head.count(b"\n") != len(headers) or head.count(b"\r") != len(headers):
            raise UnsafeHeaderError("a header of the answer contains a line break")
        if (b"connection", b"close") in headers:
            self.keep_alive = False
        elif not self.keep_alive:
            head += b"connection: close\r\n"
        self._head = b"%b%b%b\r\n" % (STATUS_LINE[status], self.fixed, head)

    def _finish(self, message: Any) -> None:
        if self.response_complete:
            raise RuntimeError("the answer is complete already")
        body: bytes = message.get("body", b"")
        if message.get("more_body") or self._streams:
            self._stream(body, last=not message.get("more_body"))
            return
        self.transport.write(self._head if self.scope["method"] == "HEAD" else self._head + body)
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.hang_up()
        self.on_response()

    def _stream(self, piece: bytes, *, last: bool) -> None:
        """One piece of an answer without a known length: in chunks, or until the connection ends for old clients."""
        chunked = self.scope["http_version"] == "1.1"
        head = b""
        if not self._streams:
            self._streams = True
            head = self._head
            if chunked:
                head = head[:-2] + b"transfer-encoding: chunked\r\n\r\n"
            else:
                self.keep_alive = False
        framed = b"%x\r\n%b\r\n" % (len(piece), piece) if chunked and piece else piece
        self.transport.write(head + framed + (b"0\r\n\r\n" if chunked and last else b""))
        if last:
            self.response_complete = True
            self.message_event.set()
            if not self.keep_alive:
                self.hang_up()
            self.on_response()
