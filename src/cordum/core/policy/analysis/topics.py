"""Which topics match some patterns and not others: inclusion and overlap of patterns, decided with an example.

All patterns run side by side over the same text, each as the set of places it may have reached; a breadth-first search
over these sets finds a shortest topic, or that there is none. The search is bounded, so an answer may also be "too
hard", which is never taken for "none".
"""

from collections import deque
from collections.abc import Iterable
from functools import lru_cache

from cordum.core.errors import CordumError
from cordum.core.policy.analysis.patterns import LAST, Step, steps_of
from cordum.core.policy.evaluate import JOB_TOPICS

MOST_STATES = 20_000
"""States one search looks at."""

_READABLE = "abcdefghijklmnopqrstuvwxyz0123456789_-ABCDEFGHIJKLMNOPQRSTUVWXYZ."

Group = tuple[str, ...]
"""Patterns of which one must match."""


class TooHardError(CordumError):
    """The question has too many cases to be decided within bounds."""

    code = "analysis_too_hard"


def topic_where(inside: Iterable[Group], outside: Iterable[str]) -> str | None:
    """A topic of a job that matches one pattern of every group of `inside` and none of `outside`; None: there is none.

    Raises TooHardError when the bound is reached first.
    """
    return _topic_where(frozenset(inside), frozenset(outside))


def includes(wide: Group, narrow: Group) -> bool:
    """Whether every job topic that `narrow` matches is matched by `wide` as well. Raises TooHardError."""
    return topic_where([narrow], wide) is None


@lru_cache(maxsize=16_384)
def _topic_where(inside: frozenset[Group], outside: frozenset[str]) -> str | None:
    search = _Search([*sorted(inside)], sorted(outside))
    return search.word(only_readable=True) or search.word(only_readable=False)


class _Search:
    """The product of the automata of all patterns. A set of places is the bits of a whole number."""

    def __init__(self, inside: list[Group], outside: list[str]) -> None:
        patterns = list(dict.fromkeys([*(pattern for group in inside for pattern in group), *outside]))
        self._steps = [steps_of(pattern) for pattern in patterns]
        number = {pattern: index for index, pattern in enumerate(patterns)}
        self._inside = [[number[pattern] for pattern in group] for group in inside]
        self._outside = [number[pattern] for pattern in outside]
        self._alphabet = _alphabet([steps for steps in self._steps if steps is not None])
        self._takes = [
            {char: _taking(steps or (), ord(char)) for char in (*self._alphabet, *JOB_TOPICS)} for steps in self._steps
        ]
        self._stars = [sum(1 << place for place, step in enumerate(steps or ()) if step.star) for steps in self._steps]
        self._ends = [1 << len(steps or ()) for steps in self._steps]

    def word(self, *, only_readable: bool) -> str | None:
        letters = [char for char in self._alphabet if char in _READABLE or not only_readable]
        start = tuple(0 if steps is None else self._settled(1, i) for i, steps in enumerate(self._steps))
        for char in JOB_TOPICS:
            start = self._after(start, char)
        # A readable topic has something behind "job.", and does not end in a dot.
        ways: deque[tuple[tuple[int, ...], str]] = deque([(start, "")])
        seen = {(start, only_readable)}
        while ways:
            state, text = ways.popleft()
            if self._accepts(state) and not (only_readable and (not text or text.endswith("."))):
                return JOB_TOPICS + text
            for char in letters:
                following = self._after(state, char)
                key = (following, only_readable and char == ".")
                if key in seen or not self._alive(following):
                    continue
                if len(seen) >= MOST_STATES:
                    raise TooHardError()
                seen.add(key)
                ways.append((following, text + char))
        return None

    def _after(self, state: tuple[int, ...], char: str) -> tuple[int, ...]:
        out = []
        for i, places in enumerate(state):
            taken = places & self._takes[i][char]
            out.append(self._settled((taken & ~self._stars[i]) << 1 | taken & self._stars[i], i) if taken else 0)
        return tuple(out)

    def _settled(self, places: int, i: int) -> int:
        """A star may also take nothing; two never stand side by side."""
        return places | (places & self._stars[i]) << 1

    def _accepts(self, state: tuple[int, ...]) -> bool:
        return all(any(state[i] & self._ends[i] for i in group) for group in self._inside) and not any(
            state[i] & self._ends[i] for i in self._outside
        )

    def _alive(self, state: tuple[int, ...]) -> bool:
        return all(any(state[i] for i in group) for group in self._inside)


def _taking(steps: tuple[Step, ...], char: int) -> int:
    return sum(1 << place for place, step in enumerate(steps) if any(low <= char <= high for low, high in step.chars))


def _alphabet(patterns: list[tuple[Step, ...]]) -> list[str]:
    """One character for each class that the patterns tell apart, a readable one where there is any."""
    sets = {step.chars for steps in patterns for step in steps}
    edges = {0, ord("/"), ord("/") + 1}
    for ranges in sets:
        for low, high in ranges:
            edges.update((low, high + 1))
    # Surrogates are no characters.
    starts = [edge for edge in edges if edge <= LAST and not 0xD800 <= edge < 0xE000] + [0xE000]
    chars = sorted({*map(ord, _READABLE), *starts}, key=lambda code: (_rank(chr(code)), code))
    found: dict[tuple[bool, ...], str] = {}
    ordered = sorted(sets)
    for code in chars:
        kind = tuple(any(low <= code <= high for low, high in ranges) for ranges in ordered)
        found.setdefault(kind, chr(code))
    return list(found.values())


def _rank(char: str) -> int:
    place = _READABLE.find(char)
    if place >= 0:
        return place
    return 100 if char.isprintable() else 200
