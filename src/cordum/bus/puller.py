"""Asking a durable consumer for messages, ahead of need, and getting over it when the server has lost track."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import msgspec

from cordum.bus.delivery import Delivery, position
from cordum.bus.errors import BusError
from cordum.bus.headers import Headers, parse_headers
from cordum.bus.pulls import Note, Pulls
from cordum.bus.wire import Wire
from cordum.runtime.logging import get_logger

if TYPE_CHECKING:
    from nats.aio.subscription import Subscription as NatsSubscription

PULL_LIFE: Final = 30.0  # seconds
HEARTBEAT: Final = 5.0  # seconds between signs of life while a pull waits
_SILENCE: Final = 2 * HEARTBEAT + 1.0
_SETUP_DELAYS: Final = (0.25, 0.5, 1.0, 2.0, 5.0)
_MOVED_DELAY: Final = 0.25
_REFUSED_DELAY: Final = 1.0
_CANCEL_GRACE: Final = 1.0

log = get_logger(__name__)


class Source(msgspec.Struct, frozen=True):
    """Where a consumer takes from: names of the stream and of its durable consumer."""

    stream: str
    durable: str
    ack_wait: float
    """Seconds until the server delivers again what was neither settled nor reported in progress."""


class Puller:
    """Keeps messages coming: asks again when half a batch or less is on its way and there is room."""

    def __init__(
        self,
        wire: Wire,
        *,
        set_up: Callable[[], Awaitable[Source]],
        room: Callable[[], int],
        take: Callable[[Delivery], None],
        batch: int,
    ) -> None:
        """
        Args:
            wire: the connection.
            set_up: makes sure that stream and durable consumer exist, and says which they are.
            room: how many messages may be held besides those held now; 0 asks for none.
            take: gets each message.
            batch: most messages asked for in one request.
        """
        self.source = Source("", "", math.inf)
        self._wire = wire
        self._loop = asyncio.get_running_loop()
        self._set_up = set_up
        self._room = room
        self._take = take
        self._pulls = Pulls(batch)
        self._inbox = ""
        self._subscription: NatsSubscription | None = None
        self._number = 0
        self._look_is_due = False
        self._not_before = 0.0
        self._heard = 0.0
        self._set_up_task: asyncio.Task[None] | None = None
        self._stopped = False

    @property
    def name(self) -> str:
        return f"{self.source.stream} {self.source.durable}"

    async def start(self) -> None:
        """Sets the consumer up and asks for the first messages. Raises StreamSetupError or BusUnavailableError."""
        self.source = await self._set_up()
        self._inbox = self._wire.new_inbox() + "."
        self._subscription = await self._wire.listen(self._inbox + "*", self._on_message)
        self._look()

    async def stop(self) -> None:
        """Asks no more. What the server has sent by then is still given to `take`."""
        self._stopped = True
        if self._set_up_task is not None:
            self._set_up_task.cancel()
            await asyncio.wait((self._set_up_task,), timeout=_CANCEL_GRACE)
        if self._subscription is not None:
            await self._wire.unlisten(self._subscription)

    def look_soon(self) -> None:
        """Has one look in this event-loop turn whether to ask, however many handlers end in it."""
        if not self._look_is_due:
            self._look_is_due = True
            self._loop.call_soon(self._look)

    def on_reconnect(self) -> None:
        """The server has forgotten our requests."""
        self._pulls.forget()
        self._not_before = 0.0
        self.look_soon()

    def check(self, now: float) -> None:
        """From time to time: asks again when the server owes us a sign of life."""
        if self._wire.is_connected and self._pulls.outstanding and now - self._heard > _SILENCE:
            log.warning("a consumer is silent, asking it again", event="bus_consumer_silent", consumer=self.name)
            self._pulls.forget()
        self.look_soon()

    def _look(self) -> None:
        self._look_is_due = False
        if self._stopped or self._set_up_task is not None or not self._wire.is_connected:
            return
        now = self._loop.time()
        if now < self._not_before:
            return
        size = self._pulls.due(self._room())
        if not size:
            return
        if size == self._pulls.outstanding:
            self._heard = now  # nothing was asked for until now, so nothing could be heard
        self._number += 1
        request = f'{{"batch":{size},"expires":{int(PULL_LIFE * 1e9)},"idle_heartbeat":{int(HEARTBEAT * 1e9)}}}'
        self._wire.send(
            f"$JS.API.CONSUMER.MSG.NEXT.{self.source.stream}.{self.source.durable}",
            f"{self._inbox}{self._number}",
            b"",
            request.encode(),
        )

    def _on_message(self, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        self._heard = now = self._loop.time()
        if not reply:
            if headers is not None:
                self._on_status(parse_headers(headers))
            return
        ack_to = reply.decode()
        place = position(ack_to)
        if place is None:
            log.warning("a message without a place in a stream is ignored", event="bus_stray_message")
            return
        self._pulls.received()
        self._take(Delivery(subject.decode(), data, headers, place[0], place[1], now, ack_to))
        self.look_soon()

    def _on_status(self, headers: Headers) -> None:
        note = self._pulls.note(headers)
        if note is Note.REFUSED:
            log.warning(
                "a pull request was refused",
                event="bus_pull_refused",
                consumer=self.name,
                status=headers.status,
                reason=headers.description,
            )
            self._hold_back(_REFUSED_DELAY)
        elif note is Note.MOVED:
            self._hold_back(_MOVED_DELAY)
        elif note is Note.GONE and self._set_up_task is None and not self._stopped:
            log.warning(
                "a consumer is gone, setting it up again",
                event="bus_consumer_gone",
                consumer=self.name,
                reason=headers.description or "nobody answers",
            )
            self._set_up_task = self._loop.create_task(self._set_up_again(), name=f"set up {self.name}")
        if note is not Note.ALIVE:
            self.look_soon()

    def _hold_back(self, delay: float) -> None:
        self._not_before = self._loop.time() + delay
        self._loop.call_later(delay, self.look_soon)

    async def _set_up_again(self) -> None:
        tries = 0
        try:
            while True:
                await asyncio.sleep(_SETUP_DELAYS[min(tries, len(_SETUP_DELAYS) - 1)])
                tries += 1
                try:
                    self.source = await self._set_up()
                    return
                except BusError as error:
                    log.warning(
                        "a consumer cannot be set up yet",
                        event="bus_consumer_setup_failed",
                        consumer=self.name,
                        error=error.message,
                    )
        finally:
            self._set_up_task = None
            self._pulls.forget()
            self.look_soon()
