"""How one log entry becomes one line."""

import json
from collections.abc import Callable
from typing import Any, Final

import msgspec

Entry = dict[str, Any]
Renderer = Callable[[Entry], str]

_encode: Final = msgspec.json.Encoder(enc_hook=repr).encode


def render_json(entry: Entry) -> str:
    """One JSON object."""
    try:
        return _encode(entry).decode()
    except (UnicodeEncodeError, OverflowError):
        # Half a surrogate pair in somebody's text, or a number beyond 64 bits.
        return json.dumps(entry, default=repr)


_RESET: Final = "\x1b[0m"
_DIM: Final = "\x1b[2m"
_COLOURS: Final = {"debug": _DIM, "info": "\x1b[32m", "warn": "\x1b[33m", "error": "\x1b[31m"}
_NOT_SHOWN: Final = frozenset({"time", "level", "msg", "service", "instance", "stack", "logger", "event"})


class TextRenderer:
    """Lines for people: `12:30:05.123 WARN  cordum-scheduler: no worker takes this topic  topic=job.x job_id=...`"""

    def __init__(self, *, dim: str, reset: str, colours: dict[str, str]) -> None:
        self._dim = dim
        self._reset = reset
        self._colours = colours

    def __call__(self, entry: Entry) -> str:
        level = str(entry["level"])
        fields = " ".join(f"{key}={_short(value)}" for key, value in entry.items() if key not in _NOT_SHOWN)
        service = f"{entry['service']}: " if "service" in entry else ""
        word = f"{self._colours.get(level, '')}{level.upper():5}{self._reset}"
        line = f"{self._dim}{entry['time'][11:23]}{self._reset} {word} {service}{_one_line(str(entry['msg']))}"
        if fields:
            line += f"  {self._dim}{fields}{self._reset}"
        if stack := entry.get("stack"):
            # The last frame and the error say most of what a person wants to know.
            line += f"  {self._dim}{_one_line(' '.join(stack.strip().splitlines()[-3:]))}{self._reset}"
        return line


def text_renderer(*, coloured: bool) -> Renderer:
    """A renderer for people, with colours for a terminal."""
    if coloured:
        return TextRenderer(dim=_DIM, reset=_RESET, colours=_COLOURS)
    return TextRenderer(dim="", reset="", colours={})


def _short(value: object) -> str:
    text = value if isinstance(value, str) else render_json({"": value})[4:-1]
    plain = _one_line(text)
    return f'"{plain}"' if not plain or " " in plain else plain


def _one_line(text: str) -> str:
    """Without line ends and without control characters, which could fake lines or colours."""
    return "".join(char if char.isprintable() else " " for char in text) if not text.isprintable() else text
