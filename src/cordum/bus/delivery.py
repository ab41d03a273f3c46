"""What a handler gets from a stream, and what it may answer."""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from cordum.bus.headers import parse_headers

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class Ack(msgspec.Struct, frozen=True):
    """Done: never deliver this again."""


class Retry(msgspec.Struct, frozen=True):
    """Not now: deliver again after `delay_s` seconds, to whichever process asks first."""

    delay_s: float = 0.0


class Poison(msgspec.Struct, frozen=True):
    """Nobody will ever be able to handle this: into the DLQ with it, and never deliver it again."""

    reason: str


Outcome = Ack | Retry | Poison

ACK: Final = Ack()


class Delivery:
    """One message, handed out once more.

    Attributes:
        subject: what it was published on.
        data: the payload.
        attempt: 1 on the first delivery; counts every delivery to any process.
        seq: its number in the stream.
        received_at: monotonic seconds of the event loop's clock (`loop.time()`).
        ack_to: the subject the outcome is sent to; like `task` and `told_at` the consumer's business.
        task: what handles it.
        told_at: when the server last heard that it is being worked on, monotonic seconds.
    """

    __slots__ = ("_headers", "ack_to", "attempt", "data", "received_at", "seq", "subject", "task", "told_at")

    def __init__(
        self,
        subject: str,
        data: bytes,
        headers: bytes | None = None,
        attempt: int = 1,
        seq: int = 0,
        received_at: float = 0.0,
        ack_to: str = "",
    ) -> None:
        self.subject = subject
        self.data = data
        self.attempt = attempt
        self.seq = seq
        self.received_at = received_at
        self.ack_to = ack_to
        self.task: asyncio.Task[None] | None = None
        self.told_at = received_at
        self._headers: bytes | Mapping[str, str] | None = headers

    @property
    def headers(self) -> Mapping[str, str]:
        """The message's headers, read on first use."""
        if self._headers is None:
            return _NO_HEADERS
        if isinstance(self._headers, bytes):
            self._headers = parse_headers(self._headers).fields
        return self._headers

    def __repr__(self) -> str:
        return f"<Delivery {self.subject} seq={self.seq} attempt={self.attempt} bytes={len(self.data)}>"


def position(ack_to: str) -> tuple[int, int] | None:
    """Delivery count and stream sequence, read from the reply subject of a delivery; None when it is no such subject.

    Old servers say `$JS.ACK.<stream>.<consumer>.<count>.<seq>...` (9 tokens), newer ones put domain and account
    in front (11 or more).
    """
    tokens = ack_to.split(".")
    first = {9: 4, 11: 6, 12: 6}.get(len(tokens))
    if first is None or tokens[0] != "$JS" or tokens[1] != "ACK":
        return None
    try:
        return int(tokens[first]), int(tokens[first + 1])
    except ValueError:
        return None
