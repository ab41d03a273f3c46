"""The WebSocket connection: uvicorn's, with counted pings, nothing taken in, and an end for those who do not read."""

import asyncio
from typing import Final

from uvicorn.protocols.websockets.wsproto_impl import WSProtocol
from wsproto import events

from cordum.runtime import metrics

MAX_INCOMING: Final = 64 * 1024
"""Bytes of a message a client may send; nothing it sends means anything."""
CLOSE_SECONDS: Final = 2.0
"""How long a client has to take our last words."""


class StreamProtocol(WSProtocol):
    """One connection."""

    def send_keepalive_ping(self) -> None:
        metrics.WS_PINGS.inc()
        super().send_keepalive_ping()

    def handle_pong(self, event: events.Pong) -> None:
        if self.pending_ping_payload is not None and bytes(event.payload) == self.pending_ping_payload:
            metrics.WS_PONGS.inc()
        super().handle_pong(event)

    def keepalive_timeout(self) -> None:
        metrics.WS_PONG_TIMEOUTS.inc()
        super().keepalive_timeout()
        self._abort_soon()

    async def run_asgi(self) -> None:
        await super().run_asgi()
        self._abort_soon()

    def _abort_soon(self) -> None:
        """A client that takes nothing would keep a closing connection open for ever."""
        if self.disconnected:
            return
        transport = self.transport
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, transport.abort)
