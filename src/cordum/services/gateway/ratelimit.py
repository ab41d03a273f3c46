"""Token buckets, one per tenant or address, in this process (spec-gateway section 2.4, spec-auth section 2.6)."""

import ipaddress
from collections.abc import Sequence
from typing import Final

import msgspec

from cordum.runtime.clock import Clock
from cordum.services.gateway.errors import ApiError

IDLE_SECONDS: Final = 30 * 60.0
"""A bucket nobody used for this long is dropped."""
SWEEP_SECONDS: Final = 5 * 60.0
MAX_BUCKETS: Final = 100_000

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Limit(msgspec.Struct, frozen=True):
    """`per_second` tokens come in, at most `burst` are kept."""

    per_second: float
    burst: int


class _Bucket:
    __slots__ = ("filled_at", "tokens")

    def __init__(self, tokens: float, filled_at: float) -> None:
        self.tokens = tokens
        self.filled_at = filled_at


class RateLimiter:
    """Buckets under one limit. Keys must not come unbounded from outside: see MAX_BUCKETS."""

    def __init__(self, limit: Limit, clock: Clock) -> None:
        self.limit = limit
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: str) -> float:
        """Takes one token. 0 when there was one, else the seconds until there is."""
        now = self._clock.monotonic()
        limit = self.limit
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= MAX_BUCKETS:
                self._make_room()
            bucket = self._buckets[key] = _Bucket(limit.burst, now)
        else:
            tokens = bucket.tokens + (now - bucket.filled_at) * limit.per_second
            bucket.tokens = tokens if tokens < limit.burst else limit.burst
            bucket.filled_at = now
        if bucket.tokens >= 1.0:
            bucket.tokens -= 1.0
            return 0.0
        return (1.0 - bucket.tokens) / limit.per_second

    def demand(self, key: str) -> None:
        """Takes one token; raises ApiError (429) with the headers that tell when to come back."""
        wait = self.take(key)
        if wait > 0.0:
            raise self._refusal(wait)

    def sweep(self) -> None:
        """Drops the buckets nobody has used for IDLE_SECONDS."""
        oldest = self._clock.monotonic() - IDLE_SECONDS
        for key in [key for key, bucket in self._buckets.items() if bucket.filled_at <= oldest]:
            del self._buckets[key]

    def _make_room(self) -> None:
        """Somebody makes up addresses. Dropping the longest unused tenth costs them nothing but memory."""
        by_age = sorted(self._buckets, key=lambda key: self._buckets[key].filled_at)
        for key in by_age[: MAX_BUCKETS // 10]:
            del self._buckets[key]

    def _refusal(self, wait: float) -> ApiError:
        seconds = max(1, round(wait + 0.499))
        return ApiError(
            "rate_limited",
            retry_after=seconds,
            headers={
                "RateLimit-Limit": f"{self.limit.per_second:g}",
                "RateLimit-Remaining": "0",
                "RateLimit-Reset": str(seconds),
            },
        )


def bucket_of(address: str) -> str:
    """The bucket of a client address. IPv6 clients own a whole /64, so that is what is counted."""
    if ":" not in address:
        return f"ip:{address}"
    try:
        return f"ip:{ipaddress.ip_network((address.partition('%')[0], 64), strict=False)}"
    except ValueError:
        return f"ip:{address[:64]}"


def client_address(peer: str, forwarded_for: str | None, trusted: Sequence[Network]) -> str:
    """The address of the client: the peer's, or what a proxy we trust says about it.

    Proxies append: the last address that is not a trusted proxy's own is the one somebody we trust has seen.
    """
    if not trusted or not forwarded_for or not _within(peer, trusted):
        return peer
    for hop in reversed(forwarded_for.split(",")):
        address = hop.strip()
        try:
            ipaddress.ip_address(address)
        except ValueError:
            return peer
        if not _within(address, trusted):
            return address
    return peer


def _within(address: str, networks: Sequence[Network]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed.version == network.version and parsed in network for network in networks)
