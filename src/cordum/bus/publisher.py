"""Acknowledged publishing in a window: many messages on their way at once, none of them lost without a word.

One subscription takes the acknowledgements of all messages; each message's reply subject ends in its number. One sweep
looks for the overdue, instead of a timer per message.
"""

import asyncio
import math
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from cordum.bus.errors import BadSubjectError, MessageTooLargeError, PublishError
from cordum.bus.headers import parse_headers, write_headers
from cordum.bus.subjects import is_publishable
from cordum.bus.wire import Wire

if TYPE_CHECKING:
    from nats.aio.subscription import Subscription as NatsSubscription

WINDOW: Final = 4096  # messages on their way
WINDOW_BYTES: Final = 64 * 1024 * 1024
MAX_WAITING: Final = 20_000  # publishers that wait for room in the window
ACK_TIMEOUT: Final = 5.0  # seconds
_SWEEP_PERIOD: Final = 0.25  # seconds
_NO_RESPONDERS: Final = 503
_NOBODY_RETRIES: Final = 2
_NOBODY_DELAY: Final = 0.25  # seconds; a stream that elects its leader is nobody for a moment


class _Sent:
    """A message on its way."""

    __slots__ = ("answer", "data", "deadline", "has_id", "headers", "nobody", "subject")

    def __init__(
        self, answer: "asyncio.Future[None]", subject: str, headers: bytes, data: bytes, deadline: float, has_id: bool
    ) -> None:
        self.answer = answer
        self.subject = subject
        self.headers = headers
        self.data = data
        self.deadline = deadline
        self.has_id = has_id
        self.nobody = 0


class _StreamFault(msgspec.Struct):
    description: str = "unknown error"
    err_code: int = 0


class _BadAck(msgspec.Struct):
    error: _StreamFault


class Publisher:
    """Publishes to streams over one connection."""

    def __init__(
        self,
        wire: Wire,
        *,
        window: int = WINDOW,
        window_bytes: int = WINDOW_BYTES,
        max_waiting: int = MAX_WAITING,
        ack_timeout: float = ACK_TIMEOUT,
    ) -> None:
        self._wire = wire
        self._loop = asyncio.get_running_loop()
        self._window = window
        self._window_bytes = window_bytes
        self._max_waiting = max_waiting
        self._ack_timeout = ack_timeout
        self._inbox = ""
        self._subscription: NatsSubscription | None = None
        self._number = 0
        self._sent: dict[int, _Sent] = {}
        self._taken = 0
        self._taken_bytes = 0
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()
        self._sweep_handle: asyncio.TimerHandle | None = None
        self._drained: asyncio.Future[None] | None = None
        self._offline_since = math.inf
        self._closed = False

    async def start(self) -> None:
        """Subscribes to the acknowledgements; once, before the first `publish`."""
        self._inbox = self._wire.new_inbox() + "."
        self._subscription = await self._wire.listen(self._inbox + "*", self._on_ack)

    @property
    def in_flight(self) -> int:
        """Messages sent and not yet acknowledged."""
        return len(self._sent)

    async def publish(
        self, subject: str, data: bytes, msg_id: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Sends one message and returns once a stream has stored it.

        While the window is full or the connection is down it waits for its turn, up to the acknowledgement timeout. If
        the connection breaks with the message on its way, a message with an id is sent again after the reconnect.

        Raises:
            PublishError: no stream took it, or none said so in time.
            MessageTooLargeError: the server would refuse it.
            BadSubjectError: nobody may publish on this subject.
        """
        if not is_publishable(subject):
            raise BadSubjectError(f"cannot publish on {subject!r}")
        block = write_headers(msg_id, headers)
        size = len(data) + len(block)
        if size > self._wire.max_payload:
            raise MessageTooLargeError(f"{subject}: {size} bytes, the server takes {self._wire.max_payload}")
        if self._closed:
            raise PublishError(f"{subject}: the bus is closed")
        if self._waiting or not self._has_room(size):
            await self._wait_for_room(subject, size)
        else:
            self._taken += 1
            self._taken_bytes += size
        self._number = number = self._number + 1
        answer = self._loop.create_future()
        deadline = self._loop.time() + self._ack_timeout
        self._sent[number] = _Sent(answer, subject, block, data, deadline, bool(msg_id))
        self._wire.send(subject, f"{self._inbox}{number}", block, data)
        if self._sweep_handle is None:
            self._sweep_later()
        await answer

    def on_disconnect(self) -> None:
        """The connection broke: what comes now waits, for a while."""
        self._offline_since = min(self._offline_since, self._loop.time())

    def on_reconnect(self) -> None:
        """The connection is back. What has an id may be sent twice without harm, so it goes out again."""
        self._offline_since = math.inf
        for number, sent in self._sent.items():
            if sent.has_id:
                self._wire.send(sent.subject, f"{self._inbox}{number}", sent.headers, sent.data)
        self._admit()

    async def aclose(self, grace: float) -> None:
        """Waits up to `grace` seconds for the acknowledgements that are due, then fails what is left."""
        self._closed = True
        self._fail_waiting("the bus is closed")
        if self._sent:
            self._drained = self._loop.create_future()
            await asyncio.wait((self._drained,), timeout=grace)
        if self._sweep_handle is not None:
            self._sweep_handle.cancel()
        for number in list(self._sent):
            self._settle(
                number, PublishError(f"{self._sent[number].subject}: the bus was closed before the stream answered")
            )
        if self._subscription is not None:
            await self._wire.unlisten(self._subscription)

    # -- acknowledgements

    def _on_ack(self, subject: bytes, _reply: bytes, data: bytes, headers: bytes | None) -> None:
        number = int(subject[len(self._inbox) :])
        sent = self._sent.get(number)
        if sent is None:
            return  # too late, or the second answer to a message sent twice
        if headers is not None and parse_headers(headers).status == _NO_RESPONDERS:
            self._on_nobody(number, sent)
        elif b'"error"' in data:
            self._settle(number, PublishError(f"{sent.subject}: {_fault(data)}"))
        else:
            self._settle(number, None)

    def _on_nobody(self, number: int, sent: _Sent) -> None:
        sent.nobody += 1
        if sent.nobody <= _NOBODY_RETRIES and not self._closed:
            self._loop.call_later(_NOBODY_DELAY, self._send_again, number)
        else:
            self._settle(number, PublishError(f"{sent.subject}: no stream takes this subject"))

    def _send_again(self, number: int) -> None:
        sent = self._sent.get(number)
        if sent is not None:
            self._wire.send(sent.subject, f"{self._inbox}{number}", sent.headers, sent.data)

    def _settle(self, number: int, error: PublishError | None) -> None:
        sent = self._sent.pop(number)
        self._leave(len(sent.data) + len(sent.headers))
        if not sent.answer.done():  # else its publisher was cancelled
            if error is None:
                sent.answer.set_result(None)
            else:
                sent.answer.set_exception(error)
        if self._drained is not None and not self._sent and not self._drained.done():
            self._drained.set_result(None)

    def _sweep(self) -> None:
        now = self._loop.time()
        while self._sent:  # all have the same patience, so the oldest is the first that is overdue
            number, sent = next(iter(self._sent.items()))
            if sent.deadline > now:
                break
            self._settle(number, PublishError(f"{sent.subject}: not acknowledged within {self._ack_timeout:g} s"))
        self._sweep_handle = None
        if self._sent:
            self._sweep_later()

    def _sweep_later(self) -> None:
        self._sweep_handle = self._loop.call_later(min(_SWEEP_PERIOD, self._ack_timeout), self._sweep)

    # -- the window

    def _has_room(self, size: int) -> bool:
        if not self._wire.is_connected or self._taken >= self._window:
            return False
        return self._taken == 0 or self._taken_bytes + size <= self._window_bytes

    async def _wait_for_room(self, subject: str, size: int) -> None:
        if self._loop.time() - self._offline_since > self._ack_timeout:
            raise PublishError(f"{subject}: not connected to NATS")
        if len(self._waiting) >= self._max_waiting:
            raise PublishError(f"{subject}: {len(self._waiting)} messages wait already")
        turn: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((turn, size))
        try:
            async with asyncio.timeout(self._ack_timeout):
                await turn
        except (TimeoutError, asyncio.CancelledError) as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:  # let in and called away at once
                self._leave(size)
            if isinstance(error, asyncio.CancelledError):
                raise
            why = "the window stayed full" if self._wire.is_connected else "not connected to NATS"
            raise PublishError(f"{subject}: not sent within {self._ack_timeout:g} s: {why}") from None

    def _leave(self, size: int) -> None:
        self._taken -= 1
        self._taken_bytes -= size
        if self._waiting:
            self._admit()

    def _admit(self) -> None:
        """Lets in whoever waits, in order, as far as there is room."""
        while self._waiting:
            turn, size = self._waiting[0]
            if turn.done():
                self._waiting.popleft()
                continue
            if not self._has_room(size):
                return
            self._waiting.popleft()
            self._taken += 1
            self._taken_bytes += size
            turn.set_result(None)

    def _fail_waiting(self, why: str) -> None:
        while self._waiting:
            turn, _ = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(PublishError(why))


def _fault(answer: bytes) -> str:
    try:
        fault = msgspec.json.decode(answer, type=_BadAck).error
    except msgspec.MsgspecError:
        return "the stream answered with an error"
    return f"{fault.description} ({fault.err_code})"
