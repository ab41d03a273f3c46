"""Keeping secrets out of what people read: by the name of the field, by its value, and in addresses."""

import functools
import re
from typing import Final

import msgspec

MASK: Final = "[redacted]"

SECRET_WORDS: Final = ("password", "passwd", "secret", "token", "api_key", "apikey", "credential", "auth")
"""A field whose name contains one of these is masked (spec-auth section 2.8)."""

MAX_TEXT: Final = 4_096  # characters of one logged value
MAX_STACK: Final = 16_384  # characters of a traceback
_MAX_DEPTH: Final = 4
_MAX_ITEMS: Final = 64
_SHORTEST_SECRET: Final = 6  # anything shorter would mask ordinary words

_USERINFO: Final = re.compile(r"(?<=://)[^/\s]*@")


@functools.lru_cache(maxsize=4_096)
def is_secret_name(name: str) -> bool:
    """Whether a field of this name holds a secret."""
    plain = name.lower().replace("-", "_")
    return any(word in plain for word in SECRET_WORDS)


def mask_urls(text: str) -> str:
    """Masks user and password in every address within the text."""
    return _USERINFO.sub(f"{MASK}@", text) if "://" in text else text


def clean(value: object, depth: int = 0) -> object:
    """A logged value without secrets, bounded in length and depth. Structures become plain lists and dictionaries."""
    if isinstance(value, str):
        text = mask_urls(str(value))
        return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}... ({len(text)} characters)"
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth >= _MAX_DEPTH:
        return "..."
    if isinstance(value, dict):
        return {
            str(key): MASK if inner and is_secret_name(str(key)) else clean(inner, depth + 1)
            for key, inner in list(value.items())[:_MAX_ITEMS]
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [clean(inner, depth + 1) for inner in list(value)[:_MAX_ITEMS]]
    if isinstance(value, msgspec.Struct):
        return clean(msgspec.structs.asdict(value), depth + 1)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"({len(value)} bytes)"
    if isinstance(value, BaseException):
        return clean(describe(value), depth)
    return clean(str(value), depth)


def describe(error: BaseException) -> str:
    """An exception in a few words."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class KnownSecrets:
    """The secret values of this process; whatever way one gets into a text, it is masked."""

    def __init__(self) -> None:
        self._values: tuple[str, ...] = ()

    def learn(self, values: list[str]) -> None:
        """Adds secrets; the very short are left out, they would mask ordinary words."""
        long_enough = {value for value in values if len(value) >= _SHORTEST_SECRET}
        # Longest first: one secret may contain another.
        self._values = tuple(sorted(long_enough | set(self._values), key=len, reverse=True))

    def mask(self, text: str) -> str:
        for value in self._values:
            if value in text:
                text = text.replace(value, MASK)
        return text
