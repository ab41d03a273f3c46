"""What a job is to work on, as people may see it who decide about it: without secrets, and bounded."""

import re
from typing import Final

import msgspec

from cordum.core.output.engine import ContentTest

LISTED: Final = 16 * 1024
ALONE: Final = 256 * 1024
"""Bytes of an input that are shown in a list of approvals, and of one approval."""
_PREVIEW: Final = 2_000  # characters shown of what is longer
_DEEPEST: Final = 64
GONE: Final = "[REDACTED]"

_SECRETS: Final = ContentTest.compile(scanners=("secret",))
_SECRET_NAMES: Final = re.compile(
    r"(^|[_\-.])(secret|passw(or)?d|passphrase|token|api[_\-]?key|authorization|credentials?|private[_\-]?key|cookie)s?$",
    re.IGNORECASE,
)


def shown_input(context: bytes | None, most: int) -> object:
    """An input inside an answer: JSON as it is, other text as a string, secrets replaced, nothing as None.

    Args:
        most: bytes; of a longer input only the size and the beginning are shown.
    """
    if not context:
        return None
    if len(context) > most:
        beginning = without_secrets(context[: 4 * _PREVIEW].decode(errors="ignore")[:_PREVIEW])
        return {"truncated": True, "size_bytes": len(context), "preview": beginning}
    try:
        value = msgspec.json.decode(context)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return without_secrets(context.decode(errors="replace"))
    return _cleaned(value, 0)


def without_secrets(text: str) -> str:
    """The text with everything in it replaced that looks like a secret."""
    if len(text) < 6:
        return text
    content = text.encode()
    ranges = _SECRETS.ranges(content)
    if ranges is None:
        return GONE
    if not ranges:
        return text
    kept: list[str] = []
    at = 0
    for start, end in sorted(ranges):
        if start > at:
            kept.append(content[at:start].decode(errors="ignore"))
        if end > at:
            kept.append(GONE)
            at = end
    kept.append(content[at:].decode(errors="ignore"))
    return "".join(kept)


def _cleaned(value: object, depth: int) -> object:
    if depth > _DEEPEST:
        return GONE
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, list):
        return [_cleaned(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {
            name: GONE if _names_secret(name) and isinstance(item, str) else _cleaned(item, depth + 1)
            for name, item in value.items()
        }
    return value


def _names_secret(name: object) -> bool:
    return isinstance(name, str) and _SECRET_NAMES.search(name) is not None
