"""Where to redact JSON so that it stays JSON: inside its strings, and whole numbers and words.

What was found may begin in a key and end in its value; then both are redacted, and what is between them stays.
"""

import re
from collections.abc import Iterator, Sequence

import msgspec

_SCALAR = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[-0-9a-z][-+.0-9A-Za-z]*', re.DOTALL)
_ESCAPE = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.", re.DOTALL)


class Replacement(msgspec.Struct, frozen=True):
    """What stands in place of the bytes from `start` to `end`."""

    start: int
    end: int
    text: bytes


def json_places(content: bytes, ranges: Sequence[tuple[int, int]], text: bytes) -> list[Replacement] | None:
    """What to replace with `text` so that nothing of the ranges is left and the content stays JSON.

    The ranges are in order and do not overlap. None when the content is no JSON, or a range covers none of its values.
    """
    if content[:64].lstrip()[:1] not in (b"{", b"["):
        return None
    try:
        msgspec.json.decode(content, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return None
    scalars = _SCALAR.finditer(content)
    scalar = next(scalars, None)
    places: list[Replacement] = []
    for start, end in ranges:
        before = len(places)
        covered = bool(places) and places[-1].end >= end
        while scalar is not None and scalar.start() < end:
            place = _place(content, scalar.start(), scalar.end(), start, end, text)
            if place is not None:
                _add(places, place)
            if scalar.end() > end:
                break  # the next range may begin in it, too
            scalar = next(scalars, None)
        if len(places) == before and not covered:
            return None
    return places


def _place(content: bytes, opens: int, closes: int, start: int, end: int, text: bytes) -> Replacement | None:
    """What of the scalar from `opens` to `closes` goes; None when the range does not touch it."""
    if start >= closes or end <= opens:
        return None
    if content[opens] != ord('"'):
        return Replacement(opens, closes, b'"' + text + b'"')
    start, end = max(start, opens + 1), min(end, closes - 1)
    if start >= end:
        return None
    for first, last in _escapes(content, opens + 1, closes - 1):
        if first >= end:
            break
        if first < start < last:
            start = first
        if first < end < last:
            end = last
    return Replacement(start, end, text)


def _escapes(content: bytes, opens: int, closes: int) -> Iterator[tuple[int, int]]:
    """Where the escapes of a string are."""
    for escape in _ESCAPE.finditer(content, opens, closes):
        yield escape.span()


def _add(places: list[Replacement], place: Replacement) -> None:
    """Two ranges may want the same number, or meet in an escape."""
    if places and place.start < places[-1].end:
        last = places.pop()
        place = Replacement(min(last.start, place.start), max(last.end, place.end), last.text)
    places.append(place)
