"""What is looked for, and the looking: bounded windows, so that time can be watched, and no seam anybody could hide in.

A text is searched window by window, but each search sees on past the window's end, and the regular expression sees the
whole text around it, so that a match is found wherever it stands. A match that reaches the end of what was seen is
followed as far as it goes.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

import msgspec

from cordum.core.errors import CordumError
from cordum.core.output.checks import Check
from cordum.core.output.finding import Severity
from cordum.core.output.patterns import BadPatternError, Regexp, combined

WINDOW = 256 * 1024
"""Bytes searched in one go."""
OVERLAP = 16 * 1024
"""Bytes a search sees past its window: no match up to this long is lost at a seam, whatever its pattern."""

Expired = Callable[[], bool]
"""Whether the time is up."""


def never() -> bool:
    """No time limit."""
    return False


class ScanTimeoutError(CordumError):
    """The content could not be scanned in time."""

    code: ClassVar[str] = "scan_timeout"


class Probe(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """One thing to look for. `source` is the text of `regexp`; `context` must match within `NEARBY` bytes around."""

    NEARBY: ClassVar[int] = 96

    scanner: str
    type: str
    detail: str
    severity: Severity
    confidence: float
    source: str
    regexp: Regexp
    check: Check | None = None
    context: Regexp | None = None

    def accepts(self, text: bytes, start: int, end: int) -> int:
        """Where the match really ends; `start` when it is none."""
        if end == start:
            return start
        if self.context is not None:
            around = text[max(0, start - self.NEARBY) : start] + b"\n" + text[end : end + self.NEARBY]
            if self.context.search(around) is None:
                return start
        return end if self.check is None else start + self.check(text[start:end])


class Hit(msgspec.Struct, frozen=True):
    """A place where a probe matched: bytes from `start` to `end`."""

    probe: Probe
    start: int
    end: int


class Limits(msgspec.Struct, frozen=True):
    """How many hits are wanted, of each probe and in all. Looking ends when there are enough."""

    per_probe: int
    total: int


REPORT = Limits(10, 32)
"""What a report needs."""
ONE = Limits(1, 1)
"""What a yes or no needs."""
ALL = Limits(20_000, 20_000)
"""What redaction needs; with more than this the whole text goes."""


class Probes:
    """Things looked for together: one pass for all, and each by itself only where that pass found something."""

    def __init__(self, probes: Sequence[Probe]) -> None:
        self.probes = tuple(probes)
        self._first = _first_pass(self.probes)

    def hits(self, text: bytes, limits: Limits, expired: Expired, window: int = WINDOW) -> tuple[Hit, ...]:
        """The hits in order of place. Raises ScanTimeoutError when `expired` says so before the end."""
        hits: list[Hit] = []
        places = [0] * len(self.probes)
        left = [limits.per_probe] * len(self.probes)
        for start in range(0, len(text), window):
            edge = min(start + window, len(text))
            end = min(edge + OVERLAP, len(text))
            _mind(expired)
            if all(first.search(text, start, end) is None for first in self._first):
                continue
            found: list[Hit] = []
            for number, probe in enumerate(self.probes):
                if left[number] <= 0:
                    continue
                _mind(expired)
                looking = _Looking(probe, text, max(places[number], start), edge, end)
                for hit in looking.hits(expired):
                    found.append(hit)
                    left[number] -= 1
                    if left[number] <= 0:
                        break
                places[number] = looking.at
            hits += sorted(found, key=lambda hit: (hit.start, -hit.end))
            if len(hits) >= limits.total:
                break
        return tuple(hits[: limits.total])


class _Looking:
    """One probe in one window; `at` is where the next look begins."""

    def __init__(self, probe: Probe, text: bytes, at: int, edge: int, end: int) -> None:
        self.at = at
        self._probe = probe
        self._text = text
        self._edge = edge
        self._end = end

    def hits(self, expired: Expired) -> Iterator[Hit]:
        probe, text = self._probe, self._text
        while self.at < self._edge:
            match = probe.regexp.search(text, self.at, self._end)
            if match is None or match.start() >= self._edge:
                return
            start, end = match.span()
            if end == self._end < len(text):
                end = self._followed(start, end)
            accepted = probe.accepts(text, start, end)
            if accepted > start:
                self.at = accepted
                yield Hit(probe, start, accepted)
            else:
                # What only looked like one may hide a real one that begins inside it.
                self.at = start + 1
            _mind(expired)

    def _followed(self, start: int, end: int) -> int:
        """The end of a match that reached the end of what the search saw."""
        while end < len(self._text):
            seen = min(len(self._text), end + (end - start) + OVERLAP)
            longer = self._probe.regexp.match(self._text, start, seen)
            if longer is None:
                return end
            end = longer.end()
            if end < seen:
                return end
        return end


def _first_pass(probes: Sequence[Probe]) -> tuple[Regexp, ...]:
    """As few expressions as can be built that together match where any probe does."""
    if len(probes) <= 1:
        return tuple(probe.regexp for probe in probes)
    try:
        return (combined([probe.source for probe in probes]),)
    except BadPatternError:  # too large in one piece
        half = len(probes) // 2
        return _first_pass(probes[:half]) + _first_pass(probes[half:])


def _mind(expired: Expired) -> None:
    if expired():
        raise ScanTimeoutError
