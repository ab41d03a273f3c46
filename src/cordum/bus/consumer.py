"""Taking messages from a stream: handled side by side, each settled with its own outcome.

Never more than `max_in_flight` messages are handled at once. What arrives while the consumer is paused is held, what
arrives while it stops goes straight back.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from cordum.bus.delivery import ACK, Ack, Delivery, Outcome, Poison, Retry
from cordum.bus.puller import Puller, Source
from cordum.bus.wire import Wire
from cordum.runtime.logging import get_logger

Handler = Callable[[Delivery], Awaitable[Outcome]]
OnPoison = Callable[[Delivery, str], Awaitable[None]]
"""Puts a message away for good (the DLQ) and returns once that is written; raises when it could not."""

MAX_DELIVERIES: Final = 100
WARN_DELIVERIES: Final = 51
MAX_HELD: Final = 600.0  # seconds a message may be worked on
FAILURE_RETRY: Final = Retry(1.0)
POISON_RETRY: Final = Retry(5.0)
_CANCEL_GRACE: Final = 1.0  # seconds

_ACK: Final = b"+ACK"
_NAK: Final = b"-NAK"
_TERM: Final = b"+TERM"
_IN_PROGRESS: Final = b"+WPI"

log = get_logger(__name__)


class Consumer:
    """One process's share of a durable consumer."""

    def __init__(
        self,
        wire: Wire,
        *,
        set_up: Callable[[], Awaitable[Source]],
        handler: Handler,
        on_poison: OnPoison,
        max_in_flight: int,
        batch: int,
    ) -> None:
        """
        Args:
            wire: the connection.
            set_up: makes sure that stream and durable consumer exist, and says which they are.
            handler: decides each delivery.
            on_poison: puts away what nobody can handle.
            max_in_flight: deliveries handled at once.
            batch: most messages asked for in one request.
        """
        self._wire = wire
        self._loop = asyncio.get_running_loop()
        self._handler = handler
        self._on_poison = on_poison
        self._max_in_flight = max_in_flight
        self._puller = Puller(
            wire, set_up=set_up, room=self._room, take=self._take, batch=max(1, min(batch, max_in_flight))
        )
        self._running: dict[str, Delivery] = {}
        self._held: deque[Delivery] = deque()
        self._paused = False
        self._stopping = False
        self._mute = False
        self._none_runs: asyncio.Future[None] | None = None

    @property
    def name(self) -> str:
        """Stream and durable name, as `nats consumer info` wants them."""
        return self._puller.name

    @property
    def in_flight(self) -> int:
        """Deliveries neither settled nor given back."""
        return len(self._running) + len(self._held)

    @property
    def paused(self) -> bool:
        return self._paused

    @property
    def stopped(self) -> bool:
        """Whether `stop` has done its work."""
        return self._mute

    async def start(self) -> None:
        """Sets the consumer up and begins to take messages. Raises StreamSetupError or BusUnavailableError."""
        await self._puller.start()

    def pause(self) -> None:
        """Asks for no more messages; those asked for already are held until `resume`, and count as in flight."""
        self._paused = True

    def resume(self) -> None:
        """Goes on after `pause`."""
        self._paused = False
        self._start_held()
        self._puller.look_soon()

    async def stop(self, grace: float) -> None:
        """Stops: first the asking, then, after at most `grace` seconds, the handlers; gives back what is left.

        A handler that is cut short sees a cancellation, and its message is delivered again at once.
        """
        if self._stopping:
            return
        self._stopping = True
        await self._puller.stop()
        while self._held:
            self._say(self._held.popleft(), _NAK)
        if self._running:
            self._none_runs = self._loop.create_future()
            await asyncio.wait((self._none_runs,), timeout=grace)
        await self._cut_short()
        self._mute = True

    async def _cut_short(self) -> None:
        tasks = [delivery.task for delivery in self._running.values() if delivery.task is not None]
        if not tasks:
            return
        log.warning("handlers were cut short", event="bus_handlers_cut_short", consumer=self.name, count=len(tasks))
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=_CANCEL_GRACE)
        for delivery in self._running.values():  # cancelled before the first step, or deaf to it
            self._say(delivery, _NAK)
        self._running.clear()

    # -- what the bus calls

    def on_reconnect(self) -> None:
        """The connection is back."""
        self._puller.on_reconnect()

    def tick(self, now: float) -> None:
        """From time to time: says that long handlers are alive, ends endless ones, and looks after the puller."""
        if self._wire.is_connected:
            tell_before = now - self._puller.source.ack_wait / 3
            for delivery in (*self._running.values(), *self._held):
                if delivery.told_at <= tell_before:
                    delivery.told_at = now
                    self._extend(delivery, now)
        self._puller.check(now)

    def _extend(self, delivery: Delivery, now: float) -> None:
        if now - delivery.received_at < MAX_HELD:
            self._say(delivery, _IN_PROGRESS)
        elif delivery.task is None:
            self._held.remove(delivery)
            self._say(delivery, _NAK)
        else:
            log.error(
                "a handler does not end, it is cancelled",
                event="bus_handler_endless",
                consumer=self.name,
                subject=delivery.subject,
                seq=delivery.seq,
            )
            delivery.task.cancel()

    # -- handling

    def _room(self) -> int:
        return 0 if self._paused or self._stopping else self._max_in_flight - self.in_flight

    def _take(self, delivery: Delivery) -> None:
        if self._stopping:
            self._say(delivery, _NAK)
        elif self._paused or len(self._running) >= self._max_in_flight:
            self._held.append(delivery)
        else:
            self._start(delivery)

    def _start(self, delivery: Delivery) -> None:
        self._running[delivery.ack_to] = delivery
        delivery.task = self._loop.create_task(self._handle(delivery))

    def _start_held(self) -> None:
        while self._held and not self._paused and len(self._running) < self._max_in_flight:
            self._start(self._held.popleft())

    async def _handle(self, delivery: Delivery) -> None:
        try:
            if delivery.attempt < WARN_DELIVERIES:
                outcome = await self._handler(delivery)
            else:
                outcome = await self._handle_worn(delivery)
            if outcome is ACK:
                self._say(delivery, _ACK)
            else:
                await self._settle(delivery, outcome)
        except asyncio.CancelledError:
            self._say(delivery, _NAK)
            raise
        except Exception:
            log.exception("a bus handler failed", event="bus_handler_failed", **self._about(delivery))
            self._nak(delivery, FAILURE_RETRY)
        finally:
            self._running.pop(delivery.ack_to, None)
            if self._held:
                self._start_held()
            if self._none_runs is not None and not self._running and not self._none_runs.done():
                self._none_runs.set_result(None)
            self._puller.look_soon()

    async def _handle_worn(self, delivery: Delivery) -> Outcome:
        if delivery.attempt >= MAX_DELIVERIES:
            return Poison(f"delivered {delivery.attempt} times without an end")
        log.warning("a message comes again and again", event="bus_message_worn", **self._about(delivery))
        return await self._handler(delivery)

    # -- settling

    async def _settle(self, delivery: Delivery, outcome: Outcome) -> None:
        match outcome:
            case Retry():
                self._nak(delivery, outcome)
            case Poison(reason):
                await self._put_away(delivery, reason)
            case Ack():
                self._say(delivery, _ACK)
            case _:
                raise TypeError(f"a bus handler answered {outcome!r}: no outcome")

    async def _put_away(self, delivery: Delivery, reason: str) -> None:
        about = self._about(delivery) | {"reason": reason}
        try:
            await self._on_poison(delivery, reason)
        except Exception:
            log.exception("a poison message could not be put away, it stays", event="bus_poison_kept", **about)
            self._nak(delivery, POISON_RETRY)
        else:
            log.warning("a poison message was put away", event="bus_poison", **about)
            self._say(delivery, _TERM)

    def _nak(self, delivery: Delivery, retry: Retry) -> None:
        delay = int(max(0.0, retry.delay_s) * 1e9)
        self._say(delivery, b'%s {"delay":%d}' % (_NAK, delay) if delay else _NAK)

    def _say(self, delivery: Delivery, word: bytes) -> None:
        if not self._mute and not self._wire.is_closed:
            self._wire.send(delivery.ack_to, "", b"", word)

    def _about(self, delivery: Delivery) -> dict[str, object]:
        return {
            "consumer": self.name,
            "subject": delivery.subject,
            "seq": delivery.seq,
            "attempt": delivery.attempt,
        }
