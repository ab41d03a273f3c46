"""A topic pattern as an automaton: which sets of characters it wants, one after the other, and where its stars are.

The patterns are those of `cordum.core.policy.glob` (Go's `path.Match`); here they are read a second time because the
tests compiled there cannot be asked what they would accept.
"""

from functools import lru_cache

import msgspec

from cordum.core.policy.glob import BadGlobError, compile_glob

Ranges = tuple[tuple[int, int], ...]
"""Code points, both ends included, in order and apart from each other."""

LAST = 0x10FFFF
_SLASH = ord("/")
NO_SLASH: Ranges = ((0, _SLASH - 1), (_SLASH + 1, LAST))


class Step(msgspec.Struct, frozen=True):
    """One character of a set, or, for a star, any number of characters of it."""

    chars: Ranges
    star: bool = False


@lru_cache(maxsize=8192)
def steps_of(pattern: str) -> tuple[Step, ...] | None:
    """The steps of a pattern; None for one that cannot be compiled, and so matches nothing."""
    try:
        compile_glob(pattern)
    except BadGlobError:
        return None
    steps: list[Step] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "*":
            if not (steps and steps[-1].star):
                steps.append(Step(NO_SLASH, star=True))
            at += 1
        elif char == "?":
            steps.append(Step(NO_SLASH))
            at += 1
        elif char == "[":
            chars, at = _class(pattern, at + 1)
            steps.append(Step(chars))
        else:
            literal, at = _member(pattern, at)
            steps.append(Step(((literal, literal),)))
    return tuple(steps)


def _class(pattern: str, at: int) -> tuple[Ranges, int]:
    """The set of a class whose members start at `at`, and where the pattern goes on. The pattern is a good one."""
    negated = pattern[at] == "^"
    at += negated
    ranges: list[tuple[int, int]] = []
    while not (ranges and pattern[at] == "]"):
        low, at = _member(pattern, at)
        high = low
        if pattern[at] == "-":
            high, at = _member(pattern, at + 1)
        ranges.append((low, high))
    chars = _joined([(low, high) for low, high in ranges if low <= high])
    return (_complement(chars) if negated else chars), at + 1


def _member(pattern: str, at: int) -> tuple[int, int]:
    if pattern[at] == "\\":
        at += 1
    return ord(pattern[at]), at + 1


def _joined(ranges: list[tuple[int, int]]) -> Ranges:
    joined: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if joined and low <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], high))
        else:
            joined.append((low, high))
    return tuple(joined)


def _complement(ranges: Ranges) -> Ranges:
    out: list[tuple[int, int]] = []
    start = 0
    for low, high in ranges:
        if start < low:
            out.append((start, low - 1))
        start = high + 1
    if start <= LAST:
        out.append((start, LAST))
    return tuple(out)
