"""HTTP/1.1 connections with limits uvicorn does not set: header size and time, body time, write time, their number.

Refusals at this level are JSON like all others. Nothing is scheduled per request: one sweep a second looks at all
connections (spec-gateway section 1, spec-auth section 2.4).
"""

import asyncio
import enum
from typing import Any, Final
from urllib.parse import unquote

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from cordum.services.gateway.http_cycle import Cycle, FixedHead

_FIXED: Final = FixedHead()
MAX_CONNECTIONS: Final = 10_000
MAX_HEAD_BYTES: Final = 1024 * 1024
HEAD_SECONDS: Final = 5.0
LINGER_SECONDS: Final = 2.0
MAX_DISCARDED: Final = 64 * 1024 * 1024  # bytes
_PACKET: Final = 256 * 1024  # bytes uvloop reads at once


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """All in seconds."""

    head: float = HEAD_SECONDS
    read: float
    write: float
    idle: float


class _Phase(enum.Enum):
    UNUSED = 1
    HEAD = 2
    BODY = 3
    WORK = 4
    LINGER = 5


class LimitedProtocol(HttpToolsProtocol):
    """One connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._phase = _Phase.UNUSED
        self._since = self.loop.time()
        self._head_bytes = 0
        self._discarded = 0
        self._blocked_since: float | None = None
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            self._refuse(503, "too many connections", "overloaded")

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._phase is _Phase.LINGER:
            self._discarded += len(data)
            if self._discarded > MAX_DISCARDED:
                self.transport.abort()
            return
        if self._phase in (_Phase.UNUSED, _Phase.HEAD):
            # Counted by arrival: a body that comes in the same packet counts too, which a packet's size bounds.
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES + _PACKET:
                self._refuse(431, "the request's headers are too large", "headers_too_large")
                return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Any other upgrade is answered as the plain request it also is.
            if self._should_upgrade():
                self._upgrade()
        except httptools.HttpParserError:
            self._refuse(400, "this is not a valid HTTP request", "invalid_http")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._phase = _Phase.HEAD
        self._since = self.loop.time()

    def on_headers_complete(self) -> None:
        """As uvicorn's, for plain HTTP/1.1 with our own cycle."""
        self._phase = _Phase.BODY
        self._head_bytes = 0
        parser, scope = self.parser, self.scope
        if parser.should_upgrade() and self._should_upgrade():
            scope["method"] = parser.get_method().decode("ascii")
            return
        version = parser.get_http_version()
        url = httptools.parse_url(self.url)
        path: str = url.path.decode("ascii")
        scope["method"] = parser.get_method().decode("ascii")
        scope["http_version"] = version
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"] = url.path
        scope["query_string"] = url.query or b""
        before = self.cycle
        cycle = self.cycle = Cycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=(),  # type: ignore[arg-type]
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        cycle.hang_up = self.hang_up
        cycle.fixed = _FIXED.joined(self.server_state.default_headers)
        if before is None or before.response_complete:
            self._start_asgi_task(cycle, self.app)
        else:
            # The next request came before this one's answer: it waits its turn.
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._phase = _Phase.WORK

    def _upgrade(self) -> None:
        """Hands the connection over, unless an answer is still under way on it."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.abort()
        elif self.scope["method"] != "GET":
            self._refuse(400, "only a GET request can become a WebSocket", "invalid_http")
        else:
            self.handle_websocket_upgrade()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._blocked_since = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._blocked_since = None

    def check_time(self, now: float, timeouts: Timeouts) -> None:
        """Ends the connection when its client is too slow. `now` is the loop's time."""
        waited = now - self._since
        if self._blocked_since is not None and now - self._blocked_since > timeouts.write:
            self.transport.abort()
        elif self._phase is _Phase.UNUSED and waited > timeouts.idle:
            self.transport.close()
        elif self._phase is _Phase.LINGER and waited > LINGER_SECONDS:
            self.transport.abort()
        elif (self._phase is _Phase.HEAD and waited > timeouts.head) or (
            self._phase is _Phase.BODY and waited > timeouts.read
        ):
            self._refuse(408, "the request took too long to arrive", "request_timeout")

    def _refuse(self, status: int, message: str, code: str) -> None:
        """Answers once, if nothing has been answered yet, and closes."""
        if not self.transport.is_closing() and (self.cycle is None or not self.cycle.response_started):
            body = msgspec.json.encode({"error": message, "code": code, "error_code": code, "status": status})
            head: list[bytes] = [STATUS_LINE[status]]
            head.append(_FIXED.joined(self.server_state.default_headers))
            head.append(b"content-type: application/json\r\nconnection: close\r\n")
            self.transport.write(b"".join(head) + b"content-length: %d\r\n\r\n" % len(body) + body)
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.hang_up()

    def hang_up(self) -> None:
        """Ends the connection. A client that still sends would lose our answer if we closed at once: its words are
        read and thrown away for a moment."""
        if self._phase is _Phase.WORK:
            self.transport.close()
            return
        self._phase = _Phase.LINGER
        self._since = self.loop.time()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()


def sweep(connections: "set[Any]", now: float, timeouts: Timeouts) -> None:
    """Looks at every connection once."""
    for connection in list(connections):
        if isinstance(connection, LimitedProtocol):
            connection.check_time(now, timeouts)
