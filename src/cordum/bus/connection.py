"""The bus of one process: one NATS connection, kept for ever, with everything that goes over it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from nats.errors import Error as NatsError

from cordum.bus.admin import STREAM_NOT_FOUND, Admin, RejectedError
from cordum.bus.consumer import Consumer, Handler, OnPoison
from cordum.bus.core import CoreHandler, Subscription
from cordum.bus.endpoint import Endpoint, endpoint
from cordum.bus.errors import (
    BadSubjectError,
    BusRefusedError,
    BusUnavailableError,
    MessageTooLargeError,
    PublishError,
)
from cordum.bus.events import ConnectionEvents, reconnect_choice
from cordum.bus.publisher import Publisher
from cordum.bus.puller import Source
from cordum.bus.streams import Durable, StreamLimits, ensure_consumer, ensure_streams
from cordum.bus.subjects import is_publishable
from cordum.bus.wire import Wire
from cordum.runtime.logging import get_logger
from cordum.runtime.settings import NatsSettings

CLIENT_NAME: Final = "cordum-bus"
PATIENCE: Final = 15.0  # seconds until a server that is not there is given up at the start
STOP_GRACE: Final = 10.0  # seconds handlers have to end
MAX_BACKLOG: Final = 16 * 1024 * 1024  # bytes of core messages that wait to be sent
_FIRST_RETRY: Final = 0.25  # seconds between two tries of the first connect
_CONNECT_TIMEOUT: Final = 2  # seconds for one try
_TICK: Final = 1.0  # seconds
_FLUSH_TIMEOUT: Final = 2.0  # seconds

log = get_logger(__name__)

OnReconnect = Callable[[], Awaitable[None]]


class Bus:
    """Publishing, consuming, and core messages.

    The connection is opened with no_echo: a core subscription does not see what this process published itself.
    """

    def __init__(self, wire: Wire, settings: NatsSettings, events: ConnectionEvents) -> None:
        """For `connect`, which is the way to make one."""
        self._wire = wire
        self._events = events
        self._admin = Admin(wire)
        self._publisher = Publisher(wire)
        self._limits = StreamLimits(settings.nats_js_replicas, settings.nats_js_max_age, settings.nats_js_max_bytes)
        self._ack_wait = settings.nats_js_ack_wait
        self._max_ack_pending = settings.nats_max_ack_pending
        self._consumers: list[Consumer] = []
        self._on_reconnect: list[OnReconnect] = []
        self._ticker: asyncio.Task[None] | None = None
        self._closing = False

    @classmethod
    async def connect(cls, settings: NatsSettings, *, name: str = CLIENT_NAME, patience: float = PATIENCE) -> "Bus":
        """Connects, and stays connected until `aclose`.

        Args:
            settings: where NATS is, how to be let in, what the streams keep.
            name: how the connection is called in the server's monitoring.
            patience: seconds to wait for a server that is not there yet.

        Raises:
            BusSettingsError: the settings cannot be used.
            BusRefusedError: the server does not accept the credentials.
            BusUnavailableError: no server within `patience`.
        """
        target = await asyncio.to_thread(endpoint, settings)  # reads certificates
        events = ConnectionEvents(target.shown)
        wire = Wire(target.public_key)
        await _open(wire, target, events, name, patience, settings.nats_ping_interval)
        bus = await cls.over(wire, settings, events)
        log.info("connected to NATS", event="bus_connected", url=target.shown)
        return bus

    @classmethod
    async def over(cls, wire: Wire, settings: NatsSettings, events: ConnectionEvents) -> "Bus":
        """A bus over a connection that stands already; `events` hears when it breaks and when it is back."""
        bus = cls(wire, settings, events)
        await bus._publisher.start()
        events.on_disconnect = bus._publisher.on_disconnect
        events.on_reconnect = bus._reconnected
        bus._ticker = asyncio.create_task(bus._tick(), name="bus ticker")
        return bus

    @property
    def connected(self) -> bool:
        """Whether the connection stands at this moment."""
        return bool(self._wire.is_connected) and not self._closing

    async def ping(self, timeout: float = 1.0) -> None:
        """Asks the server for a sign of life. Raises BusUnavailableError when none comes within `timeout` seconds."""
        if not self.connected:
            raise BusUnavailableError(f"not connected to NATS at {self._events.shown}")
        try:
            await self._wire.ping(timeout)
        except (TimeoutError, NatsError, OSError) as error:
            raise BusUnavailableError(f"NATS at {self._events.shown} does not answer") from error

    def on_reconnect(self, callback: OnReconnect) -> None:
        """Has `callback` awaited after each reconnect, when subscriptions and consumers are in place again."""
        self._on_reconnect.append(callback)

    async def ensure_streams(self) -> None:
        """Makes CORDUM_SYS and CORDUM_JOBS, or mends them. Raises StreamSetupError or BusUnavailableError."""
        await ensure_streams(self._admin, self._limits)

    async def publish(
        self, subject: str, data: bytes, *, msg_id: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Publishes to a stream and returns once it is stored.

        Args:
            subject: one that a stream takes.
            data: the payload.
            msg_id: makes the stream drop what comes again under the same id within two minutes; with one, a message is
                sent again after a reconnect.
            headers: further headers, like `traceparent`.

        Raises:
            PublishError: nothing says that it is stored; publish it again, under the same id.
            BadSubjectError: nobody may publish on this subject.
        """
        await self._publisher.publish(subject, data, msg_id, headers)

    async def has_stored(self, stream: str, msg_id: str) -> bool:
        """Whether a stream took a message under this id within the last two minutes; leaves no trace.

        For messages that workers hear with core subscriptions: the stream drops a double, they do not.

        Raises:
            BusUnavailableError: JetStream does not answer.
            StreamSetupError: there is no such stream.
        """
        return await self._admin.has_message(stream, msg_id)

    async def publish_core(self, subject: str, data: bytes) -> None:
        """Publishes to whoever listens now, at most once.

        Raises:
            PublishError: not connected, too large, or more than 16 MiB wait to be sent already.
            BadSubjectError: nobody may publish on this subject.
        """
        if not is_publishable(subject):
            raise BadSubjectError(f"cannot publish on {subject!r}")
        if not self._wire.is_connected:
            raise PublishError(f"{subject}: not connected to NATS")
        if self._wire.backlog > MAX_BACKLOG:
            raise PublishError(f"{subject}: the server does not keep up")
        if len(data) > self._wire.max_payload:
            raise MessageTooLargeError(f"{subject}: {len(data)} bytes, the server takes {self._wire.max_payload}")
        self._wire.send(subject, "", b"", data)

    async def subscribe(self, subject: str, handler: CoreHandler, *, queue: str = "") -> Subscription:
        """Has `handler` awaited for each core message on `subject`, one at a time, in order.

        Args:
            subject: may hold wildcards.
            handler: its exceptions are logged.
            queue: name of a group of which only one member gets each message.

        Raises:
            BadSubjectError: this is no subject.
            BusUnavailableError: the bus is closed.
        """
        subscription = Subscription(self._wire, subject, handler)
        try:
            await subscription.start(queue)
        except NatsError as error:
            if self._wire.is_closed:
                raise BusUnavailableError("the bus is closed") from error
            raise BadSubjectError(f"cannot subscribe to {subject!r} (queue {queue!r})") from error
        return subscription

    async def consume(
        self,
        *,
        stream: str,
        subject: str,
        queue: str,
        handler: Handler,
        on_poison: OnPoison,
        max_in_flight: int = 1024,
        batch: int = 256,
    ) -> Consumer:
        """Has `handler` decide each message of a stream; processes with the same queue share the work.

        Args:
            stream: where the messages are.
            subject: which of them.
            queue: names the durable consumer, together with the subject.
            handler: answers `ACK`, `Retry(seconds)` or `Poison(reason)`; an exception counts as `Retry(1)`.
            on_poison: writes a poison message to the DLQ; only after it returned the message is given up.
            max_in_flight: messages handled at once.
            batch: most messages asked for at once.

        Raises:
            StreamSetupError: the consumer cannot be made.
            BusUnavailableError: JetStream does not answer.
        """
        wanted = Durable(stream, queue, subject, self._ack_wait, max(self._max_ack_pending, max_in_flight))

        async def set_up() -> Source:
            try:
                durable = await ensure_consumer(self._admin, wanted)
            except RejectedError as error:
                if error.err_code != STREAM_NOT_FOUND:
                    raise
                await self.ensure_streams()
                durable = await ensure_consumer(self._admin, wanted)
            return Source(stream, durable, self._ack_wait)

        consumer = Consumer(
            self._wire, set_up=set_up, handler=handler, on_poison=on_poison, max_in_flight=max_in_flight, batch=batch
        )
        await consumer.start()
        self._consumers.append(consumer)
        return consumer

    async def aclose(self, grace: float = STOP_GRACE) -> None:
        """Stops consumers, waits for acknowledgements that are due, and closes; at most about `grace` seconds."""
        if self._closing:
            return
        self._closing = True
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.wait((self._ticker,))
        await asyncio.gather(*(consumer.stop(grace) for consumer in self._consumers))
        await self._publisher.aclose(grace)
        if self._wire.is_connected:
            try:
                await self._wire.ping(_FLUSH_TIMEOUT)  # what was written before is with the server now
            except (TimeoutError, NatsError, OSError):
                log.warning("NATS did not take our last words", event="bus_close_unflushed")
        self._events.mute()
        await self._wire.close()

    async def _reconnected(self) -> None:
        self._publisher.on_reconnect()
        for consumer in self._consumers:
            consumer.on_reconnect()
        for callback in self._on_reconnect:
            try:
                await callback()
            except Exception:
                log.exception("a reconnect callback failed", event="bus_reconnect_callback_failed")

    async def _tick(self) -> None:
        period = min(_TICK, self._ack_wait / 6)
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(period)
            try:
                self._wire.check_up()
                self._events.remind()
                self._consumers = [consumer for consumer in self._consumers if not consumer.stopped]
                for consumer in self._consumers:
                    consumer.tick(loop.time())
            except Exception:
                log.exception("the bus ticker failed", event="bus_tick_failed")


async def _open(
    wire: Wire, target: Endpoint, events: ConnectionEvents, name: str, patience: float, ping_interval: float
) -> None:
    """The first connect: as long as the server is not there, but no longer than `patience` seconds."""
    attempt = asyncio.create_task(
        wire.connect(
            target.servers,
            name=name,
            no_echo=True,
            error_cb=events.error,
            disconnected_cb=events.disconnected,
            reconnected_cb=events.reconnected,
            closed_cb=events.closed,
            reconnect_to_server_handler=reconnect_choice,
            connect_timeout=_CONNECT_TIMEOUT,
            reconnect_time_wait=_FIRST_RETRY,  # type: ignore[arg-type]  # any number of seconds will do
            max_reconnect_attempts=-1,
            ping_interval=ping_interval,  # type: ignore[arg-type]
            max_outstanding_pings=2,
            **target.options,
        ),
        name="bus connect",
    )
    refusal = events.refused
    try:
        await asyncio.wait((attempt, refusal), timeout=patience, return_when=asyncio.FIRST_COMPLETED)
    finally:
        connected = attempt.done() and not attempt.cancelled() and attempt.exception() is None
        if not connected:
            events.mute()
            attempt.cancel()
            await asyncio.wait((attempt,))
            await wire.close()
    if connected:
        return
    if refusal.done():
        raise BusRefusedError(f"NATS at {target.shown} refused the credentials of this process ({events.last_error})")
    error = attempt.exception() if not attempt.cancelled() else None
    why = str(error or events.last_error or "no answer")
    raise BusUnavailableError(f"NATS at {target.shown} cannot be reached within {patience:g} s: {why}")
