"""Patterns an operator writes: checked, and compiled for matching in linear time (spec-safety section 10, Regex).

A pattern that cannot be used is refused with the reason. It is never dropped: a rule that lost its pattern would let
everything pass, or nothing.
"""

from typing import ClassVar, Protocol

import msgspec
import re2  # type: ignore[import-untyped]

from cordum.core.errors import CordumError

MAX_LENGTH = 256
"""Characters of a pattern."""
MAX_ALTERNATIONS = 5
"""How many `|` a pattern may have."""
MAX_PROGRAM = 5_000
"""Instructions of the compiled pattern; what bounds the time per byte of content."""

_HINTS = {
    "(?=": "lookahead is not supported",
    "(?!": "lookahead is not supported",
    "(?<": "lookbehind is not supported",
    "(?>": "atomic groups are not supported",
}


class BadPatternError(CordumError):
    """The pattern cannot be used."""

    code: ClassVar[str] = "bad_pattern"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Found(Protocol):
    """Where a match is, in bytes."""

    def span(self) -> tuple[int, int]: ...
    def start(self) -> int: ...
    def end(self) -> int: ...


class Regexp(Protocol):
    """A compiled expression. `pos` and `endpos` bound the match, not what `\\b` or `$` see around it."""

    @property
    def programsize(self) -> int: ...
    def search(self, text: bytes, pos: int | None = None, endpos: int | None = None) -> Found | None: ...
    def match(self, text: bytes, pos: int | None = None, endpos: int | None = None) -> Found | None: ...


class Pattern(msgspec.Struct, frozen=True, eq=False):
    """A pattern as written, and compiled for bytes of UTF-8."""

    text: str
    regexp: Regexp


def compile_pattern(text: str) -> Pattern:
    """The pattern an operator wrote, RE2 syntax. Raises BadPatternError with the reason it cannot be used."""
    if not text.strip():
        raise BadPatternError("the pattern is empty")
    if len(text) > MAX_LENGTH:
        raise BadPatternError(f"{len(text)} characters; at most {MAX_LENGTH}")
    _check_shape(text)
    regexp = compile_trusted(text)
    if regexp.programsize > MAX_PROGRAM:
        raise BadPatternError("repeats too much: its compiled form is too large")
    if regexp.search(b"") is not None:
        raise BadPatternError("matches the empty text, so it would match everything")
    return Pattern(text, regexp)


def compile_trusted(text: str) -> Regexp:
    """Compiles without the limits for operators, for patterns of our own. Raises BadPatternError."""
    options = re2.Options()
    options.never_capture = True  # only where a match begins and ends is asked for; groups would cost a slower engine
    options.log_errors = False
    options.max_mem = 32 * 1024 * 1024
    try:
        compiled: Regexp = re2.compile(text.encode(), options)
    except re2.error as error:
        raise BadPatternError(_reason(text, error)) from error
    except UnicodeEncodeError as error:
        raise BadPatternError("not valid Unicode text") from error
    return compiled


def combined(texts: list[str]) -> Regexp:
    """One expression that matches where any of the given ones does."""
    return compile_trusted("|".join(f"(?:{text})" for text in texts))


def _reason(text: str, error: Exception) -> str:
    said = error.args[0] if error.args else "not a valid expression"
    said = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    for opening, hint in _HINTS.items():
        if opening in said and opening in text:
            return f"{said} ({hint})"
    return said


class _Group:
    """An open group: whether something inside it repeats without bound."""

    def __init__(self) -> None:
        self.repeats = False


def _check_shape(text: str) -> None:
    """Refuses too many alternatives, a repeat without bound of a repeat without bound, and `\\Q`."""
    groups = [_Group()]
    closed: _Group | None = None
    alternations = 0
    at = 0
    while at < len(text):
        char = text[at]
        step = 1
        just_closed, closed = closed, None
        if char == "\\":
            if text.startswith("\\Q", at):
                raise BadPatternError(r"\Q is not supported; put a backslash before each special character")
            step = 2
        elif char == "[":
            step = _class_length(text, at)
        elif char == "(":
            groups.append(_Group())
        elif char == ")" and len(groups) > 1:
            closed = groups.pop()
            groups[-1].repeats |= closed.repeats
        elif char == "|":
            alternations += 1
        elif unbounded := _unbounded_repeat(text, at):
            if just_closed is not None and just_closed.repeats:
                raise BadPatternError("a repeated group that repeats inside, such as (a+)+")
            groups[-1].repeats = True
            step = unbounded
        at += step
    if alternations > MAX_ALTERNATIONS:
        raise BadPatternError(f"{alternations} alternatives (|); at most {MAX_ALTERNATIONS}")


def _unbounded_repeat(text: str, at: int) -> int:
    """The length of a `*`, `+` or `{n,}` at this place; 0 when there is none."""
    if text[at] in "*+":
        return 1
    if text[at] == "{":
        end = text.find(",}", at)
        if end > at + 1 and text[at + 1 : end].isascii() and text[at + 1 : end].isdigit():
            return end + 2 - at
    return 0


def _class_length(text: str, start: int) -> int:
    """The length of the class that opens at `start`; to the end when it is not closed, which RE2 then refuses."""
    at = start + 1
    at += text.startswith("^", at)
    at += text.startswith("]", at)
    while at < len(text) and text[at] != "]":
        if text[at] == "\\":
            at += 2
        elif text.startswith("[:", at) and (end := text.find(":]", at)) > 0:
            at = end + 2
        else:
            at += 1
    return at + 1 - start
