"""CORS: whose pages may call."""

import pytest

from cordum.runtime.settings import GatewaySettings, load
from cordum.services.gateway.origins import Origins, preflight_headers

NAMES = ("CORDUM_ALLOWED_ORIGINS", "CORDUM_CORS_ALLOW_ORIGINS", "CORS_ALLOW_ORIGINS")


@pytest.mark.seed("S92")
def test_the_first_variable_that_says_something_counts() -> None:
    env = {"CORDUM_API_KEY": "k" * 40}
    for name in reversed(NAMES):
        env[name] = f"https://{name.lower().replace('_', '-')}.example"
        assert load(GatewaySettings, env).allowed_origins == (env[name],)
    env[NAMES[0]] = "  "
    assert load(GatewaySettings, env).allowed_origins == (env[NAMES[1]],)


@pytest.mark.seed("S93")
def test_a_list_admits_exactly_what_it_lists() -> None:
    origins = Origins(("https://a.example", "https://b.example:8443"))
    assert origins.allows("https://a.example", "api.example")
    assert origins.allows("https://B.example:8443", "api.example")
    for other in ("http://a.example", "https://a.example.evil", "https://b.example", "null", "http://localhost:3000"):
        assert not origins.allows(other, "api.example"), other


def test_without_a_list_this_machine_and_the_own_host_may_call() -> None:
    origins = Origins(())
    for allowed in ("http://localhost:3000", "http://127.0.0.1", "http://[::1]:1", "https://api.example"):
        assert origins.allows(allowed, "api.example:8081"), allowed
    for other in ("https://evil.example", "null", "http://[", ""):
        assert not origins.allows(other, "api.example:8081"), other


def test_any_origin_never_comes_with_credentials() -> None:
    assert "Access-Control-Allow-Credentials" not in Origins(("*",)).headers("https://x.example")
    assert Origins(()).headers("http://localhost")["Access-Control-Allow-Credentials"] == "true"
    assert "PATCH" in preflight_headers()["Access-Control-Allow-Methods"]
