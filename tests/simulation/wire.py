"""One process's NATS connection, with the surface the bus uses of `cordum.bus.wire.Wire`.

What is sent arrives in the order it was sent; what is on its way when the connection breaks is gone.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from nats.aio.msg import Msg
from nats.errors import TimeoutError as NatsTimeoutError
from tests.simulation.loop import Process

from cordum.bus.events import ConnectionEvents

if TYPE_CHECKING:
    from tests.simulation.broker import SimBroker

Listener = Callable[[bytes, bytes, bytes, bytes | None], None]
MsgHandler = Callable[[Msg], Awaitable[None]]

_NO_EVENTS: Final = None


class Subscription:
    """Interest of a connection in a subject."""

    __slots__ = ("_busy", "_handler", "_waiting", "listener", "pattern", "wire")

    def __init__(self, wire: "SimWire", pattern: str, listener: Listener | None, handler: MsgHandler | None) -> None:
        self.wire = wire
        self.pattern = pattern
        self.listener = listener or self._queue
        self._handler = handler
        self._waiting: deque[tuple[bytes, bytes]] = deque()
        self._busy = False

    def _queue(self, subject: bytes, _reply: bytes, data: bytes, _headers: bytes | None) -> None:
        """As nats-py: handlers run one message at a time, in order."""
        self._waiting.append((subject, data))
        if not self._busy:
            self._busy = True
            self.wire.loop.create_task(self._drain(), name=f"on {self.pattern}")

    async def _drain(self) -> None:
        assert self._handler is not None
        try:
            while self._waiting:
                subject, data = self._waiting.popleft()
                message = SimpleNamespace(subject=subject.decode(), data=data, reply="")
                await self._handler(message)  # type: ignore[arg-type]  # all that handlers look at
        finally:
            self._busy = False

    async def unsubscribe(self) -> None:
        self.wire.drop(self)


class SimWire:
    """The connection."""

    def __init__(self, broker: "SimBroker", process: Process) -> None:
        self.loop = broker.loop
        self.process = process
        self.is_connected = True
        self.is_closed = False
        self.is_draining = False
        self.max_payload = 1 << 20
        self.backlog = 0
        self.events: ConnectionEvents | None = None
        self._broker = broker
        self._inboxes: dict[str, Listener] = {}
        self._asked: dict[str, asyncio.Future[Any]] = {}
        self._number = 0
        self._unsent: deque[tuple[str, str, bytes, bytes]] = deque()
        self._epoch = 0
        self._out_at = 0.0
        self._in_at = 0.0
        self._subscriptions: list[Subscription] = []

    # What the bus calls

    def new_inbox(self) -> str:
        self._number += 1
        return f"_INBOX.{self.process.name}.{self._number}"

    def send(self, subject: str, reply: str, headers: bytes, data: bytes) -> None:
        if not self.is_connected:
            self._unsent.append((subject, reply, headers, data))
            return
        self._out_at = max(self._out_at, self.loop.time() + self._broker.latency())
        args = (self._epoch, subject, reply, headers, data)
        self.loop.call_at(self._out_at, self._arrive, *args, context=self._broker.world)

    async def listen(self, subject: str, listener: Listener) -> Any:
        self._inboxes[subject.removesuffix("*")] = listener
        return subject

    async def unlisten(self, subject: Any) -> None:
        await asyncio.sleep(0.001)
        self._inboxes.pop(str(subject).removesuffix("*"), None)

    async def subscribe(self, subject: str, queue: str = "", cb: MsgHandler | None = None, **_: object) -> Subscription:
        return self.hear(Subscription(self, subject, None, cb))

    async def request(
        self, subject: str, data: bytes, timeout: float = 1.0, headers: dict[str, str] | None = None
    ) -> Any:
        inbox = self.new_inbox()
        block = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        answer = self._asked[inbox] = self.loop.create_future()
        self.send(subject, inbox, f"NATS/1.0\r\n{block}\r\n".encode() if block else b"", data)
        try:
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError:
            raise NatsTimeoutError from None
        finally:
            self._asked.pop(inbox, None)

    async def ping(self, timeout: float) -> None:
        await asyncio.sleep(0.001)

    def check_up(self) -> None:
        """A reader that ended is nothing we simulate."""

    async def close(self) -> None:
        self.hang_up()

    # What the world does to it

    def hear(self, subscription: Subscription) -> Subscription:
        self._subscriptions.append(subscription)
        self._broker.subscribe(subscription)
        return subscription

    def drop(self, subscription: Subscription) -> None:
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)
        self._broker.unsubscribe(subscription)

    def hang_up(self) -> None:
        """The connection ends for good: the process stops, or was killed."""
        self.is_connected, self.is_closed = False, True
        self._epoch += 1
        for subscription in self._subscriptions:
            self._broker.unsubscribe(subscription)
        self._broker.forget(self)

    def break_off(self, seconds: float) -> None:
        """The connection breaks; it is back after so many seconds. What was on its way is lost."""
        if not self.is_connected:
            return
        self.is_connected = False
        self._epoch += 1
        for subscription in self._subscriptions:
            self._broker.unsubscribe(subscription)
        self._broker.forget(self)
        if self.events is not None:
            self.loop.spawn(self.process, self.events.disconnected(), "disconnected")
        self.loop.call_later(seconds, self._come_back, context=self._broker.world)

    def _come_back(self) -> None:
        if self.is_closed:
            return
        self.is_connected = True
        self._out_at = self._in_at = self.loop.time()
        for subscription in self._subscriptions:
            self._broker.subscribe(subscription)
        while self._unsent:
            self.send(*self._unsent.popleft())
        if self.events is not None:
            self.loop.spawn(self.process, self.events.reconnected(), "reconnected")

    # What the server does

    def _arrive(self, epoch: int, subject: str, reply: str, headers: bytes, data: bytes) -> None:
        # A process that was killed has sent what it sent; a connection that broke has lost it.
        if epoch == self._epoch or (self.is_closed and not self.process.alive):
            self._broker.receive(self, subject, reply, headers, data)

    def _later(self, call: Callable[..., object], *args: object) -> None:
        self._in_at = max(self._in_at, self.loop.time() + self._broker.latency())
        self.loop.call_at(self._in_at, self._take, self._epoch, call, args, context=self.process.context)

    def _take(self, epoch: int, call: Callable[..., object], args: tuple[object, ...]) -> None:
        if epoch == self._epoch:
            call(*args)

    def deliver(
        self, subscription: Subscription, subject: bytes, reply: bytes, data: bytes, headers: bytes | None
    ) -> None:
        """A core message for a subscription."""
        self._later(subscription.listener, subject, reply, data, headers)

    def hand(self, inbox: str, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        """A message of a stream, to whoever asked for it."""
        listener = self._inboxes.get(inbox[: inbox.rindex(".") + 1])
        if listener is not None and self.is_connected:
            self._later(listener, subject, reply, data, headers)

    def status(self, inbox: str, code: int, text: str, field: str = "") -> None:
        """A note about a request."""
        block = f"NATS/1.0 {code} {text}\r\n{field}\r\n\r\n" if field else f"NATS/1.0 {code} {text}\r\n\r\n"
        self.hand(inbox, inbox.encode(), b"", b"", block.encode())

    def answer(self, inbox: str, data: bytes) -> None:
        """The answer to a request or the acknowledgement of a publish."""
        if inbox in self._asked:
            self._later(self._resolve, inbox, data)
        else:
            self.hand(inbox, inbox.encode(), b"", data, None)

    def _resolve(self, inbox: str, data: bytes) -> None:
        asked = self._asked.get(inbox)
        if asked is not None and not asked.done():
            asked.set_result(SimpleNamespace(data=data))
