"""The lists of an effective configuration: they travel with the request and can only tighten (spec-safety 4.3).

A configuration that cannot be read denies: restrictions that vanish with a typing error would be none.
"""

from collections.abc import Callable
from typing import Annotated

import msgspec

from cordum.core.policy.document import McpLists
from cordum.core.policy.glob import BadGlobError
from cordum.core.policy.matchers import any_topic
from cordum.core.policy.mcp import McpCall, call_of, objector
from cordum.core.policy.request import PolicyRequest

MAX_BYTES = 256 * 1024
_REMEMBERED = 256

Patterns = Annotated[list[str], msgspec.Meta(max_length=10_000)]


class _Mcp(msgspec.Struct, forbid_unknown_fields=True):
    """The lists, and what concerns the MCP gateway alone."""

    allow_servers: Patterns | None = None
    deny_servers: Patterns | None = None
    allow_tools: Patterns | None = None
    deny_tools: Patterns | None = None
    allow_resources: Patterns | None = None
    deny_resources: Patterns | None = None
    allow_actions: Patterns | None = None
    deny_actions: Patterns | None = None
    gateway_enabled: bool | None = None
    upstream_servers: list[object] | None = None
    allowed_upstreams: list[object] | None = None


class _Safety(msgspec.Struct):
    denied_topics: Patterns | None = None
    allowed_topics: Patterns | None = None
    mcp: _Mcp | None = None


class _Data(msgspec.Struct):
    safety: _Safety | None = None


class _Config(msgspec.Struct):
    safety: _Safety | None = None
    data: _Data | None = None


_decoder = msgspec.json.Decoder(_Config)


class ConfigBounds(msgspec.Struct, frozen=True, eq=False):
    """What one effective configuration says about topics and MCP; None where it says nothing."""

    denied: Callable[[str], bool] | None = None
    allowed: Callable[[str], bool] | None = None
    mcp: tuple[Callable[[McpCall], str], ...] = ()
    fault: str = ""

    def objection(self, request: PolicyRequest) -> str:
        """Why this job may not run, or an empty text."""
        if self.fault:
            return self.fault
        topic = request.topic
        if self.denied is not None and self.denied(topic):
            return f"topic '{topic}' denied by effective config"
        if self.allowed is not None and not self.allowed(topic):
            return f"topic '{topic}' not allowed by effective config"
        for objector_of_part in self.mcp:
            if objection := objector_of_part(call_of(request.labels)):
                return f"{objection} by effective config"
        return ""


class BoundsReader:
    """Reads configurations and remembers the last few hundred by their bytes: they are the same for all of a tenant."""

    def __init__(self) -> None:
        self._known: dict[bytes, ConfigBounds] = {}

    def read(self, config: bytes) -> ConfigBounds:
        """The bounds in an effective configuration (JSON, `.safety` or `.data.safety`)."""
        known = self._known.get(config)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[config] = read_bounds(config)
        return known


def read_bounds(config: bytes) -> ConfigBounds:
    """As BoundsReader.read, without remembering. Never raises: what cannot be read denies, with the reason."""
    if len(config) > MAX_BYTES:
        return ConfigBounds(fault=f"effective config is larger than {MAX_BYTES} bytes")
    try:
        decoded = _decoder.decode(config)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ConfigBounds(fault="effective config cannot be read")
    parts = [part for part in (decoded.safety, decoded.data.safety if decoded.data else None) if part is not None]
    denied = tuple(pattern for part in parts for pattern in part.denied_topics or ())
    allowed = [tuple(part.allowed_topics) for part in parts if part.allowed_topics]
    try:
        return ConfigBounds(
            any_topic(denied) if denied else None,
            _all_of(allowed),
            tuple(objects for part in parts if part.mcp is not None and (objects := objector(_lists(part.mcp)))),
        )
    except BadGlobError as error:
        return ConfigBounds(fault=f"effective config has a bad pattern: {error}")


def _all_of(lists: list[tuple[str, ...]]) -> Callable[[str], bool] | None:
    tests = [any_topic(patterns) for patterns in lists]
    if not tests:
        return None
    return tests[0] if len(tests) == 1 else lambda topic: all(test(topic) for test in tests)


def _lists(mcp: _Mcp) -> McpLists:
    return McpLists(**{name: tuple(getattr(mcp, name) or ()) for name in McpLists.__struct_fields__})
