"""A NATS server with JetStream, as far as the bus uses one: core messages, streams, durable pull consumers.

Core messages arrive at most once. A stream stores a message once per id and window; a consumer delivers it until it is
acknowledged, again after a `nak`, its delay, or the time to acknowledge.
"""

import contextvars
from collections.abc import Callable
from random import Random
from typing import Any, Final

import msgspec
from tests.simulation.consumers import Consumer, Stored
from tests.simulation.history import Event, History
from tests.simulation.loop import SimLoop
from tests.simulation.weather import Weather
from tests.simulation.wire import SimWire, Subscription

from cordum.bus import subjects
from cordum.bus.headers import parse_headers

WINDOW: Final = 120.0
"""Seconds in which a stream knows the ids of its messages."""

_API: Final = "$JS.API."
_ACKS: Final = "$JS.ACK."

OnStored = Callable[[str, Stored], None]


class Stream:
    """One stream."""

    def __init__(self, name: str, config: dict[str, Any]) -> None:
        self.name = name
        self.config = config
        self.messages: list[Stored] = []
        self.ids: dict[str, tuple[float, int]] = {}
        self.consumers: dict[str, Consumer] = {}

    def takes(self, subject: str) -> bool:
        return any(subjects.covers(pattern, subject) for pattern in self.config["subjects"])


class SimBroker:
    """The server. Wires hand it what they send, when it arrives."""

    def __init__(self, loop: SimLoop, random: Random, history: History, world: contextvars.Context) -> None:
        self.loop = loop
        self.random = random
        self.history = history
        self.world = world
        self.weather = Weather()
        self.streams: dict[str, Stream] = {}
        self.subscriptions: list[Subscription] = []
        self.on_stored: OnStored | None = None
        self._streams_of: dict[str, tuple[Stream, ...]] = {}
        self._heard_by: dict[str, list[Subscription]] = {}

    def latency(self) -> float:
        if self.weather.spike and self.random.random() < self.weather.spike:
            self.history.fault(self.loop.time(), "net", "message_slow", told=False)
            return self.weather.longest_spike * self.random.random()
        return 0.0001 + 0.001 * self.random.random()

    def chance(self, chance: float, who: str, kind: str, *, told: bool = True, detail: str = "") -> bool:
        """Whether a fault of this likelihood happens now."""
        if not chance or self.random.random() >= chance:
            return False
        self.history.fault(self.loop.time(), who, kind, detail, told=told)
        return True

    # Core

    def subscribe(self, subscription: Subscription) -> None:
        self.subscriptions.append(subscription)
        self._heard_by.clear()

    def unsubscribe(self, subscription: Subscription) -> None:
        if subscription in self.subscriptions:
            self.subscriptions.remove(subscription)
            self._heard_by.clear()

    def _listeners(self, subject: str) -> list[Subscription]:
        found = self._heard_by.get(subject)
        if found is None:
            found = [known for known in self.subscriptions if subjects.covers(known.pattern, subject)]
            self._heard_by[subject] = found
        return found

    def receive(self, wire: SimWire, subject: str, reply: str, headers: bytes, data: bytes) -> None:
        """Takes one message from a connection."""
        if subject.startswith("$JS."):
            if subject.startswith(_ACKS):
                self._on_word(wire, subject, data)
            else:
                self._on_api(wire, subject[len(_API) :], reply, data)
            return
        for subscription in self._listeners(subject):
            if subscription.wire is wire:
                continue  # no_echo
            if not self.chance(self.weather.core_lost, subscription.wire.process.name, "core_lost", detail=subject):
                subscription.wire.deliver(subscription, subject.encode(), b"", data, headers or None)
        streams = self._streams_of.get(subject)
        if streams is None:
            streams = tuple(stream for stream in self.streams.values() if stream.takes(subject))
            self._streams_of[subject] = streams
        for stream in streams:
            self._store(stream, wire, subject, reply, headers, data)

    # Streams

    def _store(self, stream: Stream, wire: SimWire, subject: str, reply: str, headers: bytes, data: bytes) -> None:
        now = self.loop.time()
        fields = parse_headers(headers).fields if headers else {}
        msg_id = fields.get("Nats-Msg-Id", "")
        known = stream.ids.get(msg_id) if msg_id else None
        if known is not None and now - known[0] < WINDOW:
            answer = b'{"stream":"%s","seq":%d,"duplicate":true}' % (stream.name.encode(), known[1])
            self._answer(wire, reply, answer)
            return
        if "Nats-Rollup" in fields:
            self._answer(wire, reply, _error(500, 10111, "rollup not permitted"))
            return
        who = wire.process.name
        if reply and self.chance(self.weather.publish_refused, who, "publish_refused", detail=subject):
            self._answer(wire, reply, _error(503, 10077, "insufficient resources"))
            return
        if self.chance(self.weather.publish_lost if reply else 0.0, who, "publish_lost", detail=subject):
            return
        stored = Stored(len(stream.messages) + 1, subject, headers, data)
        stream.messages.append(stored)
        if msg_id:
            stream.ids[msg_id] = now, stored.seq
        if self.on_stored is not None:
            self.on_stored(who, stored)
        for consumer in stream.consumers.values():
            consumer.offer(stored)
        if reply and not self.chance(self.weather.puback_lost, who, "puback_lost", detail=subject):
            self._answer(wire, reply, b'{"stream":"%s","seq":%d}' % (stream.name.encode(), stored.seq))

    def _answer(self, wire: SimWire, reply: str, data: bytes) -> None:
        if reply:
            wire.answer(reply, data)

    # The JetStream API

    def _on_api(self, wire: SimWire, request: str, reply: str, data: bytes) -> None:
        if request.startswith("CONSUMER.MSG.NEXT."):
            stream, durable = request[len("CONSUMER.MSG.NEXT.") :].split(".", 1)
            consumer = self.streams[stream].consumers.get(durable) if stream in self.streams else None
            if consumer is None:
                wire.status(reply, 503, "")
            else:
                consumer.ask(wire, reply, data)
            return
        body = msgspec.json.decode(data) if data else {}
        wire.answer(reply, self._administer(request.split("."), body))

    def _administer(self, words: list[str], body: dict[str, Any]) -> bytes:
        match words:
            case ["STREAM", "INFO", name]:
                stream = self.streams.get(name)
                return _config(stream.config) if stream else _error(404, 10059, "stream not found")
            case ["STREAM", "CREATE", name]:
                if name not in self.streams:
                    self.streams[name] = Stream(name, body)
                    self._streams_of.clear()
                elif self.streams[name].config != body:
                    return _error(400, 10058, "stream name already in use with a different configuration")
                return _config(body)
            case ["STREAM", "UPDATE", name]:
                self.streams[name].config = body
                self._streams_of.clear()
                return _config(body)
            case ["CONSUMER", "INFO", name, durable]:
                consumer = self.streams[name].consumers.get(durable) if name in self.streams else None
                return _config(consumer.config) if consumer else _error(404, 10014, "consumer not found")
            case ["CONSUMER", "DURABLE", "CREATE", name, durable]:
                if name not in self.streams:
                    return _error(404, 10059, "stream not found")
                stream = self.streams[name]
                if durable in stream.consumers:
                    stream.consumers[durable].config = body["config"]
                else:
                    consumer = stream.consumers[durable] = Consumer(self, name, durable, body["config"])
                    for stored in stream.messages:
                        consumer.offer(stored)
                return _config(body["config"])
            case _:
                return _error(400, 10025, f"unknown request {'.'.join(words)}")

    def _on_word(self, wire: SimWire, subject: str, data: bytes) -> None:
        words = subject.split(".")
        consumer = self.streams[words[2]].consumers[words[3]]
        if not self.chance(self.weather.ack_lost, wire.process.name, "ack_lost", detail=f"{words[3]} {words[5]}"):
            consumer.hear(wire.process.name, int(words[5]), int(words[4]), data)

    # What happens to connections

    def forget(self, wire: SimWire) -> None:
        """A connection is gone, and the server knows."""
        for stream in self.streams.values():
            for consumer in stream.consumers.values():
                consumer.forget(wire)

    def note(self, who: str, what: str, detail: str) -> None:
        self.history.add(Event(self.loop.time(), who, what, detail=detail))


def _config(config: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"config": config})


def _error(code: int, err_code: int, description: str) -> bytes:
    return msgspec.json.encode({"error": {"code": code, "err_code": err_code, "description": description}})
