"""Token buckets: how much passes, when more comes in, and that memory does not grow."""

import ipaddress

import pytest

from cordum.runtime.clock import ManualClock
from cordum.runtime.settings import GatewaySettings, SettingsError, load
from cordum.services.gateway import ratelimit
from cordum.services.gateway.errors import ApiError
from cordum.services.gateway.ratelimit import Limit, RateLimiter, bucket_of, client_address

BASE = {"CORDUM_API_KEY": "k" * 40}


def passed(limiter: RateLimiter, key: str, tries: int) -> int:
    return sum(limiter.take(key) == 0.0 for _ in range(tries))


@pytest.mark.seed("S88", "S89", "S260")
def test_the_defaults_let_200_and_20_through_at_once() -> None:
    settings = load(GatewaySettings, BASE)
    clock = ManualClock()
    api = RateLimiter(Limit(settings.api_rate_limit_rps, settings.api_rate_limit_burst), clock)
    public = RateLimiter(Limit(settings.api_public_rate_limit_rps, settings.api_public_rate_limit_burst), clock)
    assert passed(api, "tenant:a", 400) == 200
    assert passed(public, "ip:1.2.3.4", 400) == 20
    clock.advance(1.0)
    assert passed(api, "tenant:a", 400) == 100
    assert passed(public, "ip:1.2.3.4", 400) == 10


@pytest.mark.seed("S90")
def test_variables_override_and_nonsense_stops_the_start() -> None:
    settings = load(GatewaySettings, {**BASE, "API_RATE_LIMIT_RPS": "7", "API_PUBLIC_RATE_LIMIT_BURST": "3"})
    assert (settings.api_rate_limit_rps, settings.api_public_rate_limit_burst) == (7, 3)
    for name in ("API_RATE_LIMIT_RPS", "API_RATE_LIMIT_BURST", "API_PUBLIC_RATE_LIMIT_RPS"):
        for value in ("many", "0", "-1", "1.5"):
            with pytest.raises(SettingsError, match=name):
                load(GatewaySettings, {**BASE, name: value})


@pytest.mark.seed("S91")
def test_an_idle_bucket_is_dropped_after_half_an_hour() -> None:
    clock = ManualClock()
    limiter = RateLimiter(Limit(10, 20), clock)
    limiter.take("ip:a")
    clock.advance(29 * 60)
    limiter.take("ip:b")
    limiter.sweep()
    assert len(limiter) == 2
    clock.advance(61)
    limiter.sweep()
    assert len(limiter) == 1
    assert ratelimit.SWEEP_SECONDS == 300


def test_tenants_do_not_share_a_bucket() -> None:
    limiter = RateLimiter(Limit(1, 2), ManualClock())
    assert passed(limiter, "tenant:a", 5) == 2
    assert passed(limiter, "tenant:b", 5) == 2


def test_a_refusal_says_when_to_come_back() -> None:
    limiter = RateLimiter(Limit(0.5, 1), ManualClock())
    limiter.demand("x")
    with pytest.raises(ApiError) as caught:
        limiter.demand("x")
    assert caught.value.status == 429 and caught.value.slug == "rate_limited"
    assert caught.value.retry_after == 2
    assert caught.value.headers == {"RateLimit-Limit": "0.5", "RateLimit-Remaining": "0", "RateLimit-Reset": "2"}


def test_made_up_addresses_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ratelimit, "MAX_BUCKETS", 100)
    limiter = RateLimiter(Limit(10, 20), ManualClock())
    for number in range(1_000):
        limiter.take(f"ip:{number}")
    assert len(limiter) <= 100


def test_an_ipv6_client_is_its_network() -> None:
    assert bucket_of("2001:db8::1") == bucket_of("2001:db8::ffff") == "ip:2001:db8::/64"
    assert bucket_of("2001:db8:0:1::1") != bucket_of("2001:db8::1")
    assert bucket_of("192.0.2.7") == "ip:192.0.2.7"


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("10.0.0.1", "198.51.100.9", "198.51.100.9"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.9, 10.0.0.2", "198.51.100.9"),
        ("10.0.0.1", "forged", "10.0.0.1"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("203.0.113.5", "198.51.100.9", "203.0.113.5"),
    ],
)
def test_only_trusted_proxies_are_believed(peer: str, forwarded: str | None, address: str) -> None:
    assert client_address(peer, forwarded, (ipaddress.ip_network("10.0.0.0/8"),)) == address
