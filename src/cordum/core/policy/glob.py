"""Topic patterns: Go's `path.Match` (spec-safety section 4.2), compiled to the cheapest test that will do.

`*` any run without `/`, `?` one character but `/`, `[a-z]` `[^a]` a class, a backslash escapes; the whole text must
match, case matters, dots are ordinary. No test takes more than linear time (times the pattern's length), whatever
topic a client sends: each stretch between two stars is found once, leftmost, and never given back.
"""

import itertools
import re
from collections.abc import Callable

import msgspec

from cordum.core.errors import CordumError

MAX_PATTERN = 512
"""Characters."""


class BadGlobError(CordumError):
    """The pattern is malformed."""

    code = "bad_glob"


class Glob(msgspec.Struct, frozen=True, eq=False):
    """A compiled pattern. `prefix` is the literal text every match starts with; `literal` says it is all of it."""

    pattern: str
    prefix: str
    literal: bool
    matches: Callable[[str], bool]


class _Piece(msgspec.Struct, frozen=True):
    """One element of a pattern: a regular expression, and the literal character it stands for, if it does."""

    regex: str
    char: str = ""
    star: bool = False
    takes_slash: bool = False


def compile_glob(pattern: str) -> Glob:
    """Raises BadGlobError for a pattern Go would call bad, and for one that cannot be tested in linear time."""
    if len(pattern) > MAX_PATTERN:
        raise BadGlobError(f"longer than {MAX_PATTERN} characters")
    pieces = _split(pattern)
    prefix = ""
    for piece in pieces:
        if not piece.char:
            break
        prefix += piece.char
    rest = pieces[len(prefix) :]
    if not rest:
        return Glob(pattern, prefix, True, prefix.__eq__)
    if len(rest) == 1 and rest[0].star:
        return Glob(pattern, prefix, False, _prefix_test(prefix))
    expression = re.compile(_regex(pieces), re.DOTALL)
    return Glob(pattern, prefix, False, lambda text: expression.fullmatch(text) is not None)


def _prefix_test(prefix: str) -> Callable[[str], bool]:
    length = len(prefix)
    return lambda text: text.startswith(prefix) and text.find("/", length) < 0


def _split(pattern: str) -> list[_Piece]:
    pieces: list[_Piece] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "*":
            if not (pieces and pieces[-1].star):
                pieces.append(_Piece("", star=True))
            at += 1
        elif char == "?":
            pieces.append(_Piece("[^/]"))
            at += 1
        elif char == "[":
            piece, at = _class(pattern, at)
            pieces.append(piece)
        else:
            literal, at = _escaped(pattern, at)
            pieces.append(_Piece(re.escape(literal), literal))
    return pieces


def _escaped(pattern: str, at: int) -> tuple[str, int]:
    if pattern[at] != "\\":
        return pattern[at], at + 1
    if at + 1 == len(pattern):
        raise BadGlobError("ends in a backslash that escapes nothing")
    return pattern[at + 1], at + 2


def _class(pattern: str, start: int) -> tuple[_Piece, int]:
    """The class that opens at `start`, and where the pattern goes on."""
    at = start + 1
    negated = pattern.startswith("^", at)
    at += negated
    ranges: list[tuple[str, str]] = []
    while not (ranges and pattern.startswith("]", at)):
        low, at = _class_member(pattern, at)
        high = low
        if pattern.startswith("-", at):
            high, at = _class_member(pattern, at + 1)
        ranges.append((low, high))
    takes_slash = any(low <= "/" <= high for low, high in ranges) != negated
    # An upside-down range is legal and empty; a class of nothing else matches nothing, or anything when negated.
    members = "".join(f"{re.escape(low)}-{re.escape(high)}" for low, high in ranges if low <= high)
    if members:
        return _Piece(f"[{'^' if negated else ''}{members}]", takes_slash=takes_slash), at + 1
    return _Piece("." if negated else "(?!)", takes_slash=takes_slash), at + 1


def _class_member(pattern: str, at: int) -> tuple[str, int]:
    if at >= len(pattern):
        raise BadGlobError("a [ is not closed")
    if pattern[at] in "-]":
        raise BadGlobError(f'"{pattern[at]}" must be escaped with a backslash inside [ ]')
    return _escaped(pattern, at)


def _regex(pieces: list[_Piece]) -> str:
    stars = [index for index, piece in enumerate(pieces) if piece.star]
    if not stars:
        return "".join(piece.regex for piece in pieces)
    out = "".join(piece.regex for piece in pieces[: stars[0]])
    for star, following in itertools.pairwise(stars):
        between = pieces[star + 1 : following]
        if any(piece.takes_slash for piece in between):
            raise BadGlobError('a class between two stars must not take "/": write [^a/] for [^a]')
        # Atomic: taking the leftmost place is always right here, so going back could only cost time.
        out += f"(?>[^/]*?{''.join(piece.regex for piece in between)})"
    return f"{out}[^/]*{''.join(piece.regex for piece in pieces[stars[-1] + 1 :])}"
