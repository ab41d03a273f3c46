"""How Redis writes numbers, reads bounds and keeps values; what the simulated server stands on."""

import math
from collections.abc import Sequence
from typing import Final, TypeAlias

SimReply: TypeAlias = "int | bytes | Status | list[SimReply] | None"
Value: TypeAlias = "bytes | dict[bytes, bytes] | ScoredSet | set[bytes] | list[bytes] | Stream"


class Status(bytes):
    """A reply like `OK`, which scripts see as a table and clients as text."""


OK: Final = Status(b"OK")
PONG: Final = Status(b"PONG")


class RedisError(Exception):
    """An error reply; its text begins with the word clients go by."""


WRONG_TYPE: Final = "WRONGTYPE Operation against a key holding the wrong kind of value"
NOT_AN_INTEGER: Final = "ERR value is not an integer or out of range"
NOT_A_FLOAT: Final = "ERR value is not a valid float"
SYNTAX: Final = "ERR syntax error"


class ScoredSet(dict[bytes, float]):
    """Members and their scores."""

    def ordered(self) -> list[tuple[bytes, float]]:
        return sorted(self.items(), key=_by_score)


class Stream:
    """Entries by id; ids only grow."""

    __slots__ = ("entries", "last")

    def __init__(self) -> None:
        self.entries: list[tuple[tuple[int, int], list[bytes]]] = []
        self.last = (0, 0)


def _by_score(entry: tuple[bytes, float]) -> tuple[float, bytes]:
    return entry[1], entry[0]


def integer(text: bytes) -> int:
    """Raises RedisError."""
    try:
        if text.strip() != text or text[:1] == b"+" or b"_" in text:
            raise RedisError(NOT_AN_INTEGER)
        return int(text)
    except ValueError:
        raise RedisError(NOT_AN_INTEGER) from None


def number(text: bytes) -> float:
    """Raises RedisError."""
    try:
        value = float(text)
    except ValueError:
        raise RedisError(NOT_A_FLOAT) from None
    if math.isnan(value) or b"_" in text:
        raise RedisError(NOT_A_FLOAT)
    return value


def shown(score: float) -> bytes:
    """A score as Redis writes it."""
    if score in (math.inf, -math.inf):
        return b"inf" if score > 0 else b"-inf"
    if score == int(score) and abs(score) < 1e17:
        return b"%d" % int(score)
    return repr(score).encode()


def bound(text: bytes, what: str = "ERR min or max is not a float") -> tuple[float, bool]:
    """The end of a range of scores, and whether it belongs to the range."""
    closed = not text.startswith(b"(")
    try:
        return float(text if closed else text[1:]), closed
    except ValueError:
        raise RedisError(what) from None


def within(score: float, low: tuple[float, bool], high: tuple[float, bool]) -> bool:
    above = score >= low[0] if low[1] else score > low[0]
    return above and (score <= high[0] if high[1] else score < high[0])


def span(start: int, stop: int, length: int) -> tuple[int, int]:
    """A range of ranks as Python slices it."""
    first = max(0, start + length if start < 0 else start)
    last = stop + length if stop < 0 else stop
    return first, max(first, min(last + 1, length))


def limited(found: Sequence[tuple[bytes, float]], offset: int, count: int) -> Sequence[tuple[bytes, float]]:
    if offset < 0:
        return ()
    return found[offset:] if count < 0 else found[offset : offset + count]


def stream_id(text: bytes, missing: int) -> tuple[int, int]:
    """An id of a range; `missing` stands for a part that is not given."""
    left, _, right = text.partition(b"-")
    try:
        return int(left), int(right) if right else missing
    except ValueError:
        raise RedisError("ERR Invalid stream ID specified as stream command argument") from None
