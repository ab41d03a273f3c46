"""Core NATS: messages for whoever listens just now."""

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as NatsSubscription
from nats.errors import Error as NatsError

from cordum.bus.wire import Wire
from cordum.runtime.logging import get_logger

MAX_WAITING: Final = 65_536  # messages that wait for a slow handler; more are dropped, and that is logged
MAX_WAITING_BYTES: Final = 64 * 1024 * 1024

log = get_logger(__name__)


class CoreMessage(msgspec.Struct, frozen=True):
    """One message. `reply` is where an answer is wanted, if one is."""

    subject: str
    data: bytes
    reply: str = ""


CoreHandler = Callable[[CoreMessage], Awaitable[None]]


class Subscription:
    """Interest in a subject, until `unsubscribe`. It survives reconnects."""

    def __init__(self, wire: Wire, subject: str, handler: CoreHandler) -> None:
        self.subject = subject
        self._wire = wire
        self._handler = handler
        self._inner: NatsSubscription | None = None

    async def start(self, queue: str) -> None:
        self._inner = await self._wire.subscribe(
            self.subject,
            queue=queue,
            cb=self._on_message,
            pending_msgs_limit=MAX_WAITING,
            pending_bytes_limit=MAX_WAITING_BYTES,
        )

    async def unsubscribe(self) -> None:
        """No more messages from here on; more than once is no harm."""
        inner, self._inner = self._inner, None
        if inner is None or self._wire.is_closed:
            return
        try:
            await inner.unsubscribe()
        except NatsError as error:
            log.debug(
                "a subscription was gone already", event="bus_unsubscribe", subject=self.subject, error=str(error)
            )

    async def _on_message(self, message: Msg) -> None:
        try:
            await self._handler(CoreMessage(message.subject, message.data, message.reply))
        except Exception:
            log.exception("a subscriber failed", event="bus_subscriber_failed", subject=message.subject)
