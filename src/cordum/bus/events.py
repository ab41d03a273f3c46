"""What happens to the connection, told once and in plain words."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from nats.errors import SlowConsumerError, UnexpectedEOF

from cordum.runtime.logging import get_logger

if TYPE_CHECKING:
    from nats.aio.client import Server

RECONNECT_DELAYS: Final = (0.05, 0.25, 0.5, 1.0, 2.0)
"""Seconds before the n-th try to reach a server again; the last stays."""
_JITTER: Final = 0.25
_REMIND_EVERY: Final = 30.0  # seconds
_REPEAT_EVERY: Final = 10.0  # seconds
_REMEMBERED: Final = 64

_REFUSALS: Final = ("authorization violation", "authentication", "nkey", "user credentials")

log = get_logger(__name__)


def reconnect_choice(servers: "list[Server]", _info: dict[str, Any]) -> "tuple[Server, float]":
    """The server that failed least, and how long to wait before it is tried."""
    server = min(servers, key=lambda one: one.reconnects)
    delay = RECONNECT_DELAYS[min(server.reconnects, len(RECONNECT_DELAYS) - 1)]
    return server, delay * (1.0 + _JITTER * random.random())


class ConnectionEvents:
    """The callbacks nats-py wants, and what they tell: to the log, and to the bus."""

    def __init__(self, shown: str) -> None:
        """`shown` is the server as it may stand in a log."""
        self.shown = shown
        self.last_error = ""
        self.refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.on_disconnect: Callable[[], None] = lambda: None
        self.on_reconnect: Callable[[], Awaitable[None]] | None = None
        self._loop = asyncio.get_running_loop()
        self._offline_since: float | None = None
        self._reminded = 0.0
        self._told: dict[str, float] = {}
        self._muted = False

    def mute(self) -> None:
        """We end the connection ourselves now: nothing of that is news."""
        self._muted = True
        self.on_reconnect = None

    async def error(self, error: Exception) -> None:
        if self._muted:
            return
        text = str(error) or type(error).__name__
        self.last_error = text
        if isinstance(error, SlowConsumerError):
            if self._is_news(f"slow {error.subject}"):
                log.error(
                    "messages were dropped, a subscriber is too slow", event="bus_slow_consumer", subject=error.subject
                )
        elif any(sign in text.lower() for sign in _REFUSALS):
            if not self.refused.done():
                self.refused.set_result(None)
            if self._is_news(text):
                log.error("NATS refuses us", event="bus_refused", url=self.shown, error=text)
        elif isinstance(error, (OSError, UnexpectedEOF, TimeoutError)):
            log.debug("connection trouble", event="bus_connection_trouble", error=text)  # `disconnected` tells it
        elif self._is_news(text):
            log.warning("NATS reports an error", event="bus_error", url=self.shown, error=text)

    async def disconnected(self) -> None:
        if self._muted or self._offline_since is not None:
            return
        self._offline_since = self._reminded = self._loop.time()
        log.warning("NATS is gone, reconnecting", event="bus_disconnected", url=self.shown, error=self.last_error)
        self.on_disconnect()

    async def reconnected(self) -> None:
        since, self._offline_since = self._offline_since, None
        if self._muted:
            return
        log.info(
            "NATS is back",
            event="bus_reconnected",
            url=self.shown,
            seconds=round(self._loop.time() - since, 3) if since is not None else 0,
        )
        if self.on_reconnect is not None:
            await self.on_reconnect()

    async def closed(self) -> None:
        if not self._muted:
            log.error("the NATS connection ended for good", event="bus_lost", url=self.shown, error=self.last_error)

    def remind(self) -> None:
        """While the connection is down: says so again from time to time."""
        now = self._loop.time()
        if self._offline_since is not None and now - self._reminded >= _REMIND_EVERY:
            self._reminded = now
            log.warning(
                "NATS is still gone",
                event="bus_still_disconnected",
                url=self.shown,
                error=self.last_error,
                seconds=round(now - self._offline_since),
            )

    def _is_news(self, text: str) -> bool:
        now = self._loop.time()
        if now - self._told.get(text, -_REPEAT_EVERY) < _REPEAT_EVERY:
            return False
        if len(self._told) >= _REMEMBERED:
            self._told.clear()
        self._told[text] = now
        return True
