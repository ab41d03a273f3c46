"""A durable pull consumer of the simulated server, with everything at-least-once means."""

from collections import deque
from typing import TYPE_CHECKING, Any, Final

import msgspec
from tests.simulation.loop import Handle
from tests.simulation.wire import SimWire

if TYPE_CHECKING:
    from tests.simulation.broker import SimBroker

_NANOS: Final = 1_000_000_000


class Stored(msgspec.Struct, frozen=True):
    """A message in a stream."""

    seq: int
    subject: str
    headers: bytes
    data: bytes


class _Request:
    """Somebody asked for messages."""

    __slots__ = ("expires", "heartbeat", "inbox", "left", "wire")

    def __init__(self, wire: SimWire, inbox: str, left: int, expires: float, heartbeat: float) -> None:
        self.wire = wire
        self.inbox = inbox
        self.left = left
        self.expires = expires
        self.heartbeat = heartbeat


class _Asked(msgspec.Struct):
    batch: int = 1
    expires: int = 0
    idle_heartbeat: int = 0


class _Delay(msgspec.Struct):
    delay: int = 0


class Consumer:
    """Hands the messages of one subject to whoever asks, and again until each is settled."""

    def __init__(self, broker: "SimBroker", stream: str, name: str, config: dict[str, Any]) -> None:
        self.config = config
        self.stream = stream
        self.name = name
        self._broker = broker
        self._filter: str = config["filter_subject"]
        self._fresh: deque[Stored] = deque()
        self._again: deque[int] = deque()
        self._counts: dict[int, int] = {}
        self._messages: dict[int, Stored] = {}
        self._timers: dict[int, Handle] = {}
        self._requests: deque[_Request] = deque()

    @property
    def unsettled(self) -> int:
        """Messages that are to be delivered, or delivered again, or not settled."""
        return len(self._fresh) + len(self._messages)

    def offer(self, stored: Stored) -> None:
        """A message is in the stream."""
        if stored.subject == self._filter:
            self._fresh.append(stored)
            self._pump()

    def ask(self, wire: SimWire, inbox: str, data: bytes) -> None:
        """A pull request."""
        asked = msgspec.json.decode(data, type=_Asked)
        now = self._broker.loop.time()
        request = _Request(wire, inbox, asked.batch, now + asked.expires / _NANOS, asked.idle_heartbeat / _NANOS)
        self._requests.append(request)
        self._broker.loop.call_at(
            min(request.expires, now + request.heartbeat), self._tend, request, context=self._broker.world
        )
        self._pump()

    def _tend(self, request: _Request) -> None:
        """Ends a request in time, and says meanwhile that it is not forgotten."""
        if request not in self._requests:
            return
        loop = self._broker.loop
        if loop.time() >= request.expires - 1e-6:
            self._requests.remove(request)
            request.wire.status(request.inbox, 408, "Request Timeout", f"Nats-Pending-Messages: {request.left}")
            return
        request.wire.status(request.inbox, 100, "Idle Heartbeat")
        due = min(request.expires, loop.time() + request.heartbeat)
        loop.call_at(due, self._tend, request, context=self._broker.world)

    def forget(self, wire: SimWire) -> None:
        """A connection is gone."""
        self._requests = deque(request for request in self._requests if request.wire is not wire)

    def _pump(self) -> None:
        most = int(self.config["max_ack_pending"])
        while self._requests and (self._again or (self._fresh and len(self._timers) < most)):
            if self._again:
                seq = self._again.popleft()
                stored = self._messages.get(seq)
                if stored is None or seq in self._timers:
                    continue
            else:
                stored = self._fresh.popleft()
                seq = stored.seq
                self._messages[seq] = stored
            request = self._requests.popleft()
            request.left -= 1
            if request.left > 0:
                self._requests.append(request)
            self._deliver(request, stored)

    def _deliver(self, request: _Request, stored: Stored) -> None:
        broker, seq = self._broker, stored.seq
        count = self._counts[seq] = self._counts.get(seq, 0) + 1
        wait = int(self.config["ack_wait"]) / _NANOS
        if broker.weather.twice and broker.chance(broker.weather.twice, self.name, "delivered_twice"):
            wait = 0.002 + 0.5 * broker.random.random() ** 3
        self._timers[seq] = broker.loop.call_later(wait, self._overdue, seq, context=broker.world)
        if broker.history.trace:
            broker.note(request.wire.process.name, "delivered", f"{self._filter} {seq}, for the {count}. time")
        ack = f"$JS.ACK.{self.stream}.{self.name}.{count}.{seq}.{seq}.0.0"
        request.wire.hand(request.inbox, stored.subject.encode(), ack.encode(), stored.data, stored.headers or None)

    def _overdue(self, seq: int) -> None:
        del self._timers[seq]
        self._again.append(seq)
        self._pump()

    def hear(self, who: str, seq: int, count: int, word: bytes) -> None:
        """What a process says about a delivery."""
        if seq not in self._messages:
            return
        loop, world = self._broker.loop, self._broker.world
        if self._broker.history.trace:
            self._broker.note(who, "says", f"{self._filter} {seq} {word.decode()}, of its {count}. time")
        if word.startswith((b"+ACK", b"+TERM")):
            self._settle(seq)
            self._broker.note(who, "acked" if word[1:2] == b"A" else "given up", f"{self._filter} {seq}")
        elif count != self._counts[seq]:
            return  # of an earlier delivery; the one that counts is under way
        elif word.startswith(b"-NAK"):
            delay = msgspec.json.decode(word[5:], type=_Delay).delay / _NANOS if len(word) > 5 else 0.0
            if (timer := self._timers.pop(seq, None)) is not None:
                timer.cancel()
            self._timers[seq] = loop.call_later(delay, self._overdue, seq, context=world)
        elif word.startswith(b"+WPI") and (timer := self._timers.get(seq)) is not None:
            timer.cancel()
            wait = int(self.config["ack_wait"]) / _NANOS
            self._timers[seq] = loop.call_later(wait, self._overdue, seq, context=world)

    def _settle(self, seq: int) -> None:
        del self._messages[seq]
        self._counts.pop(seq, None)
        if (timer := self._timers.pop(seq, None)) is not None:
            timer.cancel()
        self._pump()
