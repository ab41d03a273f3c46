"""Which web pages may call us from a browser (spec-gateway section 2.3). WebSocket upgrades obey the same answer."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})
METHODS: Final = "GET, POST, PUT, PATCH, DELETE, OPTIONS"
HEADERS: Final = (
    "Content-Type, Authorization, X-API-Key, X-Tenant-ID, X-Principal-Id, X-Principal-Role, X-Request-Id, "
    "Idempotency-Key, X-Idempotency-Key, X-Agent-Id, X-Max-Artifact-Bytes, X-MCP-Session-ID"
)
EXPOSED: Final = "X-Request-Id, X-Trace-Id, Retry-After, Link"
PREFLIGHT_AGE: Final = "600"  # seconds


class Origins:
    """The allow-list; empty means this machine's own pages and those of the host name we are called by."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self._any = "*" in allowed
        self._allowed = frozenset(origin.lower() for origin in allowed)

    def allows(self, origin: str, host: str | None) -> bool:
        """Whether a page of this origin may call.

        Args:
            origin: the `Origin` header.
            host: the `Host` header.
        """
        if self._any or origin.lower() in self._allowed:
            return True
        if self._allowed:
            return False
        name = _host_name(origin)
        return name is not None and (name in _LOCAL or name == _host_name(f"//{host or ''}"))

    def headers(self, origin: str) -> dict[str, str]:
        """The headers of an answer to an allowed page. `*` never comes with credentials."""
        headers = {
            "Access-Control-Allow-Origin": origin,
            "Vary": "Origin",
            "Access-Control-Expose-Headers": EXPOSED,
        }
        if not self._any:
            headers["Access-Control-Allow-Credentials"] = "true"
        return headers


def preflight_headers() -> dict[str, str]:
    """What an answer to OPTIONS adds."""
    return {
        "Access-Control-Allow-Methods": METHODS,
        "Access-Control-Allow-Headers": HEADERS,
        "Access-Control-Max-Age": PREFLIGHT_AGE,
    }


def _host_name(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
