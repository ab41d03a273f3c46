"""A small WebSocket client, as strict as wsproto: what it shows is what is on the wire."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from wsproto import ConnectionType, WSConnection, events


class RefusedError(Exception):
    """The server answered with something else than an upgrade."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"{status}: {body!r}")
        self.status = status
        self.body = body

    @property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


class ClosedError(Exception):
    """The server ended the connection."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason


class WebSocket:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._connection = WSConnection(ConnectionType.CLIENT)
        self._arrived: list[Any] = []
        self._text = ""
        self.subprotocol: str | None = None
        self.answers_pings = True

    @classmethod
    async def connect(
        cls, url: str, *, headers: Mapping[str, str] | None = None, subprotocols: Sequence[str] = ()
    ) -> "WebSocket":
        """Connects to an http:// URL; raises RefusedError."""
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=2**16)
        made = cls(reader, writer)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        request = events.Request(
            host=parts.netloc,
            target=target,
            subprotocols=list(subprotocols),
            extra_headers=[(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
        )
        writer.write(made._connection.send(request))
        answer = await made._event()
        if isinstance(answer, events.AcceptConnection):
            made.subprotocol = answer.subprotocol
            return made
        assert isinstance(answer, events.RejectConnection)
        body = b""
        if answer.has_body:
            while True:
                piece = await made._event()
                if not isinstance(piece, events.RejectData):
                    break
                body += piece.data
                if piece.body_finished:
                    break
        await made.aclose()
        raise RefusedError(answer.status_code, body)

    async def next(self, within: float = 10.0) -> dict[str, Any]:
        """The next event; raises ClosedError when there is none any more."""
        async with asyncio.timeout(within):
            while True:
                event = await self._event()
                if isinstance(event, events.TextMessage):
                    self._text += event.data
                    if event.message_finished:
                        text, self._text = self._text, ""
                        return dict(json.loads(text))
                elif isinstance(event, events.Ping) and self.answers_pings:
                    self._writer.write(self._connection.send(event.response()))
                elif isinstance(event, events.CloseConnection):
                    raise ClosedError(event.code, event.reason or "")

    async def until(self, kind: str, within: float = 10.0, **wanted: object) -> dict[str, Any]:
        """The next event of a kind whose payload has these members; what comes before it is dropped."""
        async with asyncio.timeout(within):
            while True:
                event = await self.next(within)
                payload = event.get(kind)
                if payload is not None and all(payload.get(name) == value for name, value in wanted.items()):
                    return event

    async def aclose(self) -> None:
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            pass

    async def _event(self) -> Any:
        while not self._arrived:
            data = await self._reader.read(2**16)
            self._connection.receive_data(data or None)
            self._arrived = list(self._connection.events())
            if not data and not self._arrived:
                raise ClosedError(1006, "gone without a word")
        return self._arrived.pop(0)
