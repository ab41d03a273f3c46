"""The NATS connection: nats-py's client, with two short cuts for the hot paths and four mends.

Short cuts, because nats-py builds an object, passes a queue and wakes a task for each message (measured: 17 against 10
microseconds for a publish with its acknowledgement): `send` writes all frames of one event-loop turn at once, `listen`
calls a plain function for each message. Everything else (handshake, TLS, authentication, reconnecting, subscriptions of
ordinary handlers) is nats-py's.

Mends: an error line from the server no longer closes the connection for good, an unanswered ping no longer stops the
reader when its answer comes late, a ping does not overtake what was sent before it, and a listener's exception is
reported instead of ending the reader.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from nats.aio.client import Client
from nats.errors import Error as NatsError

from cordum.bus.reader import Reader
from cordum.runtime.logging import get_logger

if TYPE_CHECKING:
    from nats.aio.subscription import Subscription as NatsSubscription

Listener = Callable[[bytes, bytes, bytes, bytes | None], None]
"""Called with subject, reply subject, payload and header block (None without headers)."""

UNLIMITED: Final = 0

log = get_logger(__name__)


class Wire(Client):
    """One connection. Frames and listeners are bytes-level: validation is the business of publisher and consumer."""

    def __init__(self, public_key: str = "") -> None:
        """`public_key` is the NKey to sign in with, together with the option `signature_cb` of `connect`."""
        super().__init__()
        self._public_nkey = public_key or None
        self._ps = Reader(self)
        self._listeners: dict[int, Listener] = {}
        self._flush_is_due = False

    def send(self, subject: str, reply: str, headers: bytes, data: bytes) -> None:
        """Queues one message; it leaves with all others of this event-loop turn, or after the reconnect.

        Nothing is checked: `subject` and `reply` must be legal, `headers` a whole block or empty.
        """
        if headers:
            head = f"HPUB {subject} {reply} {len(headers)} {len(headers) + len(data)}\r\n"
            frame = b"".join((head.encode(), headers, data, b"\r\n"))
        else:
            frame = b"".join((f"PUB {subject} {reply} {len(data)}\r\n".encode(), data, b"\r\n"))
        self._pending.append(frame)
        self._pending_data_size += len(frame)
        if not self._flush_is_due:
            self._flush_is_due = True
            asyncio.get_running_loop().call_soon(self._write_out)

    def _write_out(self) -> None:
        self._flush_is_due = False
        if self._pending and self.is_connected and self._transport is not None:
            frames, self._pending, self._pending_data_size = self._pending, [], 0
            self._transport.write(b"".join(frames))

    @property
    def backlog(self) -> int:
        """Bytes that wait to be sent, here or in the socket's buffer."""
        writer = getattr(self._transport, "_io_writer", None)
        return self._pending_data_size + (writer.transport.get_write_buffer_size() if writer is not None else 0)

    async def listen(self, subject: str, listener: Listener) -> "NatsSubscription":
        """Has `listener` called for each message on `subject`, from within the reader: it must be quick."""
        subscription = await self.subscribe(
            subject, cb=_unused, pending_msgs_limit=UNLIMITED, pending_bytes_limit=UNLIMITED
        )
        self._listeners[subscription._id] = listener
        return subscription

    async def unlisten(self, subscription: "NatsSubscription") -> None:
        """Ends what `listen` began; what the server has sent by then still reaches the listener."""
        try:
            if self.is_connected and not self.is_draining:
                await subscription.drain()  # type: ignore[no-untyped-call]
            elif not self.is_closed:
                await subscription.unsubscribe()
        except NatsError as error:
            log.warning("a bus subscription did not end in time", event="bus_unlisten_failed", error=str(error))
        finally:
            self._listeners.pop(subscription._id, None)

    async def ping(self, timeout: float) -> None:
        """Asks the server for a sign of life; its answer also says that it has all that was sent before.

        Raises:
            TimeoutError: none came within `timeout` seconds.
        """
        answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        async with asyncio.timeout(timeout):
            self._write_out()  # nats-py writes a ping at once, past the frames that wait
            await self._send_ping(answered)
            await answered

    def check_up(self) -> None:
        """Sets right what nothing else would: a reader or a reconnect that ended by an unforeseen exception."""
        reader_ended = self._reading_task is not None and self._reading_task.done()
        if self.is_connected and not self.is_draining and reader_ended:
            self._status = Client.RECONNECTING
            self._ps.reset()
        if self.is_reconnecting and (self._reconnection_task is None or self._reconnection_task.done()):
            self._reconnection_task = asyncio.get_running_loop().create_task(self._attempt_reconnect())

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        """The server's greeting. Whoever asked for TLS gets TLS or nothing: credentials follow."""
        server = self._current_server
        if initial_connection and server is not None and server.uri.scheme == "tls":
            if not (info.get("tls_required") or info.get("tls_available")):
                raise NatsError("nats: the server offers no TLS")
            info["tls_required"] = True
        await super()._process_info(info, initial_connection)

    def hear(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> bool:
        """Gives a message to its listener; False when it is for an ordinary subscription."""
        listener = self._listeners.get(sid)
        if listener is None:
            return False
        try:
            listener(subject, reply, data, headers)
        except Exception:
            log.exception(
                "a bus listener failed", event="bus_listener_failed", subject=subject.decode(errors="replace")
            )
        return True

    async def _process_err(self, message: str) -> None:
        """An error line. Where it is fatal the server hangs up by itself, and then we reconnect."""
        self._err = NatsError(f"nats: {message}")
        await self._error_cb(self._err)

    async def _process_pong(self) -> None:
        """An answer to the oldest ping, whose asker may have given up by now."""
        if self._pongs:
            asker = self._pongs.pop(0)
            if not asker.done():
                asker.set_result(True)
        self._pongs_received += 1
        self._pings_outstanding = 0

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        """Closes, all of it, even when the server is gone.

        nats-py stops half way when its last words cannot be written; then they are dropped, and it goes once more.
        """
        try:
            await super()._close(status, do_cbs)
        except OSError:
            self._pending = []
            self._pending_data_size = 0
            self._status = Client.DISCONNECTED
            await super()._close(status, do_cbs)


async def _unused(_message: object) -> None:
    """nats-py wants a coroutine function; messages of a listener never reach it."""
