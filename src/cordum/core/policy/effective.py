"""The topic lists of an effective configuration: they travel with the request and can only tighten (spec-safety 4.3).

A configuration that cannot be read denies: restrictions that vanish with a typing error would be none.
"""

from collections.abc import Callable
from typing import Annotated

import msgspec

from cordum.core.policy.glob import BadGlobError
from cordum.core.policy.matchers import any_topic

MAX_BYTES = 256 * 1024
_REMEMBERED = 256

Patterns = Annotated[list[str], msgspec.Meta(max_length=10_000)]


class _Safety(msgspec.Struct):
    denied_topics: Patterns | None = None
    allowed_topics: Patterns | None = None
    mcp: dict[str, object] | None = None


class _Data(msgspec.Struct):
    safety: _Safety | None = None


class _Config(msgspec.Struct):
    safety: _Safety | None = None
    data: _Data | None = None


_decoder = msgspec.json.Decoder(_Config)


class TopicBounds(msgspec.Struct, frozen=True, eq=False):
    """What one effective configuration says about topics; None where it says nothing."""

    denied: Callable[[str], bool] | None = None
    allowed: Callable[[str], bool] | None = None
    fault: str = ""

    def objection(self, topic: str) -> str:
        """Why this topic may not run, or an empty text."""
        if self.fault:
            return self.fault
        if self.denied is not None and self.denied(topic):
            return f"topic '{topic}' denied by effective config"
        if self.allowed is not None and not self.allowed(topic):
            return f"topic '{topic}' not allowed by effective config"
        return ""


class BoundsReader:
    """Reads configurations and remembers the last few hundred by their bytes: they are the same for all of a tenant."""

    def __init__(self) -> None:
        self._known: dict[bytes, TopicBounds] = {}

    def read(self, config: bytes) -> TopicBounds:
        """The bounds in an effective configuration (JSON, `.safety` or `.data.safety`)."""
        known = self._known.get(config)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[config] = read_bounds(config)
        return known


def read_bounds(config: bytes) -> TopicBounds:
    """As BoundsReader.read, without remembering. Never raises: what cannot be read denies, with the reason."""
    if len(config) > MAX_BYTES:
        return TopicBounds(fault=f"effective config is larger than {MAX_BYTES} bytes")
    try:
        decoded = _decoder.decode(config)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return TopicBounds(fault="effective config cannot be read")
    parts = [part for part in (decoded.safety, decoded.data.safety if decoded.data else None) if part is not None]
    if any(_restricts(part.mcp) for part in parts):
        return TopicBounds(fault="effective config restricts MCP, which is not supported by this version")
    denied = tuple(pattern for part in parts for pattern in part.denied_topics or ())
    allowed = [tuple(part.allowed_topics) for part in parts if part.allowed_topics]
    try:
        return TopicBounds(any_topic(denied) if denied else None, _all_of(allowed))
    except BadGlobError as error:
        return TopicBounds(fault=f"effective config has a bad pattern: {error}")


def _all_of(lists: list[tuple[str, ...]]) -> Callable[[str], bool] | None:
    tests = [any_topic(patterns) for patterns in lists]
    if not tests:
        return None
    return tests[0] if len(tests) == 1 else lambda topic: all(test(topic) for test in tests)


def _restricts(mcp: dict[str, object] | None) -> bool:
    return mcp is not None and any(bool(value) for value in mcp.values())
