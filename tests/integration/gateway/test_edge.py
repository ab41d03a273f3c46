"""What every request meets before and after its handler: gates, limits, headers, and clear answers to nonsense."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from .conftest import AGENT, ALICE, BOB, CROSSING, STRANGER, VIEWER, MakeWorld, World

HSTS = "max-age=63072000; includeSubDomains"


async def raw(world: World, data: bytes, *, wait: float = 10.0) -> bytes:
    """Sends bytes over a connection and answers what comes back until it is closed."""
    assert world.gateway.http is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", world.gateway.http.address.port)
    try:
        writer.write(data)
        await writer.drain()
        async with asyncio.timeout(wait):
            return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


async def test_every_answer_carries_the_security_headers(api: httpx.AsyncClient) -> None:
    for method, path in (("GET", "/health"), ("GET", "/nope"), ("PATCH", "/health"), ("GET", "/api/v1/jobs")):
        headers = (await api.request(method, path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert len(headers["x-request-id"]) == 16
        assert "strict-transport-security" not in headers


@pytest.mark.seed("S34")
async def test_in_production_every_answer_demands_https(make_world: MakeWorld) -> None:
    world = await make_world(production=True)
    nobody = await world.client(None)
    alice = await world.client()
    answers = [
        await nobody.get("/api/v1/jobs"),
        await nobody.get("/nope"),
        await alice.get("/api/v1/jobs"),
        await alice.get("/api/v1/jobs/unknown"),
        await alice.patch("/health"),
        await alice.options("/api/v1/jobs", headers={"Origin": "http://localhost"}),
    ]
    assert [answer.status_code for answer in answers] == [401, 404, 200, 404, 405, 204]
    assert {answer.headers.get("strict-transport-security") for answer in answers} == {HSTS}
    refused = await raw(world, b"NONSENSE\r\n\r\n")
    assert refused.startswith(b"HTTP/1.1 400") and HSTS.encode() in refused


async def test_a_request_id_is_kept_when_it_is_one(api: httpx.AsyncClient) -> None:
    kept = await api.get("/health", headers={"X-Request-Id": "abc.DEF_1-2"})
    replaced = await api.get("/health", headers={"X-Request-Id": 'x" y'})
    assert kept.headers["x-request-id"] == "abc.DEF_1-2"
    assert replaced.headers["x-request-id"] != 'x" y'


@pytest.mark.seed("S93")
async def test_listed_origins_are_echoed_and_others_refused(make_world: MakeWorld) -> None:
    world = await make_world(CORDUM_ALLOWED_ORIGINS="https://dash.example")
    api = await world.client()
    nobody = await world.client(None)

    preflight = await nobody.options("/api/v1/jobs", headers={"Origin": "https://dash.example"})
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == "https://dash.example"
    assert preflight.headers["vary"] == "Origin" and "PATCH" in preflight.headers["access-control-allow-methods"]
    listed = await api.get("/api/v1/jobs", headers={"Origin": "https://dash.example"})
    assert listed.status_code == 200 and listed.headers["access-control-allow-credentials"] == "true"
    for method in ("GET", "POST", "OPTIONS"):
        other = await api.request(method, "/api/v1/jobs", headers={"Origin": "https://evil.example"})
        assert other.status_code == 403 and other.json()["code"] == "origin_not_allowed"
        assert "access-control-allow-origin" not in other.headers


async def test_unknown_paths_and_methods_get_the_envelope(api: httpx.AsyncClient) -> None:
    unknown = await api.get("/api/v1/unknown")
    assert (unknown.status_code, unknown.json()["code"], unknown.json()["status"]) == (404, "not_found", 404)
    wrong = await api.delete("/api/v1/jobs")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method_not_allowed")
    assert "POST" in wrong.headers["allow"]


@pytest.mark.seed("S27")
async def test_each_listed_key_enters_and_no_other(world: World) -> None:
    for key in (ALICE, BOB, AGENT, VIEWER, STRANGER, CROSSING):
        assert (await (await world.client(key)).get("/api/v1/jobs")).status_code == 200
    for headers in (
        {},
        {"X-API-Key": "wrong"},
        {"X-API-Key": ""},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {ALICE}"},
    ):
        nobody = await world.client(None, **headers)
        answer = await nobody.get("/api/v1/jobs")
        assert answer.status_code == 401 and answer.json()["code"] == "unauthorized", headers
        assert "www-authenticate" in answer.headers


async def test_a_bearer_may_be_an_api_key_and_nothing_else_yet(world: World) -> None:
    key = await world.client(None, Authorization=f"Bearer {ALICE}")
    assert (await key.get("/api/v1/jobs")).status_code == 200
    for token, word in (("session-abc", "session"), ("aaa.bbb.ccc", "JSON web token")):
        answer = await (await world.client(None, Authorization=f"Bearer {token}")).get("/api/v1/jobs")
        assert answer.status_code == 401 and word in answer.json()["error"]


async def test_a_tenant_is_the_credentials_own(world: World) -> None:
    own = await world.client(ALICE, **{"X-Tenant-ID": "default"})
    other = await world.client(ALICE, **{"X-Tenant-ID": "other"})
    crossing = await world.client(CROSSING, **{"X-Tenant-ID": "other"})
    nonsense = await world.client(CROSSING, **{"X-Tenant-ID": "a:b*"})
    assert (await own.get("/api/v1/jobs")).status_code == 200
    refused = await other.get("/api/v1/jobs")
    assert (refused.status_code, refused.json()["code"]) == (403, "tenant_access_denied")
    assert (await crossing.get("/api/v1/jobs")).status_code == 200
    assert (await nonsense.get("/api/v1/jobs")).status_code == 400


async def test_roles_are_told_apart(world: World) -> None:
    wanted = {
        ("GET", "/api/v1/jobs"): {ALICE, BOB, VIEWER, AGENT},
        ("GET", "/api/v1/dlq"): {ALICE, BOB, VIEWER},
        ("GET", "/api/v1/workers"): {ALICE, BOB, VIEWER},
        ("GET", "/api/v1/topics"): {ALICE, BOB, VIEWER, AGENT},
        ("GET", "/api/v1/policy/snapshots"): {ALICE, BOB, VIEWER},
        ("GET", "/api/v1/status"): {ALICE, BOB, VIEWER, AGENT},
        ("POST", "/api/v1/policy/evaluate"): {ALICE, BOB, AGENT},
        ("POST", "/api/v1/jobs/x/cancel"): {ALICE, BOB},
        ("POST", "/api/v1/approvals/x/approve"): {ALICE, BOB},
        ("DELETE", "/api/v1/dlq/x"): {ALICE, BOB},
    }
    for (method, path), allowed in wanted.items():
        for key in (ALICE, BOB, VIEWER, AGENT):
            client = await world.client(key)
            answer = await client.request(method, path, json={"topic": "job.x"} if "policy/e" in path else None)
            assert (answer.status_code != 403) == (key in allowed), (method, path, key)


@pytest.mark.seed("S251")
async def test_a_principal_header_counts_outside_production_only(make_world: MakeWorld) -> None:
    for production, principal in ((False, "carol"), (True, "")):
        world = await make_world(production=production)
        client = await world.client(AGENT, **{"X-Principal-Id": "carol"})
        job_id = (await client.post("/api/v1/jobs", json={"prompt": "x"})).json()["job_id"]
        assert (await client.get(f"/api/v1/jobs/{job_id}")).json()["principal"] == principal
        bound = await world.client(BOB, **{"X-Principal-Id": "carol"})
        job_id = (await bound.post("/api/v1/jobs", json={"prompt": "x"})).json()["job_id"]
        assert (await bound.get(f"/api/v1/jobs/{job_id}")).json()["principal"] == "bob"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "invalid_json"),
        (b"{", 400, "invalid_json"),
        (b"nonsense", 400, "invalid_json"),
        (b'{"prompt": "x"} trailing', 400, "invalid_json"),
        (b'{"prompt": "\xff\xfe"}', 400, "invalid_json"),
        (b'{"prompt": "\\ud800"}', 400, "invalid_json"),
        (b'{"prompt": "x", "context": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", 400, "invalid_json"),
        (b"[]", 400, "invalid_request"),
        (b'"text"', 400, "invalid_request"),
        (b'{"prompt": 5}', 400, "invalid_request"),
        (b'{"prompt": "x", "labels": ["a"]}', 400, "invalid_request"),
        (b'{"prompt": "x", "deadline_ms": -5}', 400, "invalid_request"),
        (b'{"prompt": "x", "priority": "now"}', 400, "invalid_request"),
        (b"{}", 400, "prompt_is_required"),
        (b'{"prompt": "x", "topic": "../etc"}', 400, "invalid_topic_format"),
        (b'{"prompt": "x", "labels": {"_ma.x": "1"}}', 400, "reserved_label"),
        (json.dumps({"prompt": "x", "context": "y" * (2 * 1024 * 1024)}).encode(), 413, "body_too_large"),
    ],
)
async def test_bad_bodies_are_refused_clearly(api: httpx.AsyncClient, body: bytes, status: int, code: str) -> None:
    answer = await api.post("/api/v1/jobs", content=body)
    told = answer.json()
    assert (answer.status_code, told["code"], told["status"]) == (status, code, status)
    assert told["error"]


async def test_a_wrong_type_is_named_with_its_place(api: httpx.AsyncClient) -> None:
    told = (await api.post("/api/v1/jobs", json={"prompt": "x", "risk_tags": [1]})).json()
    assert told["violations"] == [{"path": "$.risk_tags[0]", "message": "Expected `str`, got `int`"}]


async def test_a_body_without_a_length_is_measured_as_it_comes(api: httpx.AsyncClient) -> None:
    async def endless() -> Any:
        for _ in range(64):
            yield b" " * 65_536

    answer = await api.post("/api/v1/jobs", content=endless())
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=-1", "limit=x", "limit=1&limit=2", "cursor=x", "cursor=-1", "state=SLEEPING", "updated_after=y"],
)
async def test_bad_queries_are_refused(api: httpx.AsyncClient, query: str) -> None:
    answer = await api.get(f"/api/v1/jobs?{query}")
    assert answer.status_code == 400 and answer.json()["error"]


async def test_an_endless_path_part_is_refused(api: httpx.AsyncClient) -> None:
    assert (await api.get("/api/v1/jobs/" + "x" * 600)).status_code == 400


@pytest.mark.seed("S88")
async def test_a_tenant_is_limited_and_told_when_to_come_back(make_world: MakeWorld) -> None:
    world = await make_world(API_RATE_LIMIT_RPS="1", API_RATE_LIMIT_BURST="5")
    ours, theirs = await world.client(BOB), await world.client(STRANGER)
    answers = [await ours.get("/api/v1/jobs/none") for _ in range(12)]
    assert [answer.status_code for answer in answers].count(404) in (5, 6)
    refused = answers[-1]
    assert refused.status_code == 429 and refused.json()["code"] == "rate_limited"
    assert int(refused.headers["retry-after"]) >= 1 and refused.headers["ratelimit-remaining"] == "0"
    assert (await theirs.get("/api/v1/jobs")).status_code == 200


@pytest.mark.seed("S89")
async def test_public_paths_are_limited_per_address_and_probes_are_not(make_world: MakeWorld) -> None:
    world = await make_world(API_PUBLIC_RATE_LIMIT_RPS="1", API_PUBLIC_RATE_LIMIT_BURST="3")
    nobody = await world.client(None)
    assert [(await nobody.get("/health")).status_code for _ in range(8)].count(429) >= 4
    assert {(await nobody.get("/readyz")).status_code for _ in range(8)} == {200}


async def test_guessing_keys_is_slowed_down_and_valid_keys_are_not(make_world: MakeWorld) -> None:
    world = await make_world(API_PUBLIC_RATE_LIMIT_RPS="1", API_PUBLIC_RATE_LIMIT_BURST="3")
    guesser, alice = await world.client("guess"), await world.client()
    statuses = [(await guesser.get("/api/v1/jobs")).status_code for _ in range(8)]
    assert statuses[:3] == [401, 401, 401] and statuses[-1] == 429
    assert (await alice.get("/api/v1/jobs")).status_code == 200


@pytest.mark.seed("S66")
async def test_health_needs_no_credentials(world: World) -> None:
    nobody = await world.client(None)
    answer = await nobody.get("/health")
    assert answer.status_code == 200
    assert answer.json() == {"status": "healthy", "nats": "connected", "redis": "ok"}
    assert (await nobody.head("/health")).status_code == 200
    assert (await nobody.get("/api/v1/health")).status_code == 401
    for probe in ("/healthz", "/readyz", "/livez"):
        assert (await nobody.get(probe)).json()["status"] == "ok"
    document = (await nobody.get("/api/v1/openapi.json")).json()
    assert document["openapi"] == "3.1.0" and "/api/v1/jobs" in document["paths"]


async def test_what_is_no_http_gets_json_too(world: World) -> None:
    answer = await raw(world, b"\x16\x03\x01nonsense\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400") and b'"code":"invalid_http"' in answer


async def test_headers_without_end_are_cut_off(world: World) -> None:
    answer = await raw(world, b"GET /health HTTP/1.1\r\nX-Long: " + b"x" * (2 * 1024 * 1024))
    assert answer.startswith(b"HTTP/1.1 431") and b"headers_too_large" in answer


async def test_a_request_that_never_ends_is_given_up(make_world: MakeWorld) -> None:
    world = await make_world(GATEWAY_HTTP_READ_TIMEOUT="1s")
    slow = f"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nX-API-Key: {ALICE}\r\nContent-Length: 100\r\n\r\n{{".encode()
    answer = await raw(world, slow)
    assert answer.startswith(b"HTTP/1.1 408") and b"request_timeout" in answer


@pytest.mark.parametrize(
    "line",
    [
        b"CONNECT example.org:443",
        b"OPTIONS *",
        b"GET //",
        b"GET /%00%ff%2e%2e/",
        b"GET http://elsewhere/health",
        b"TRACE /health",
        b"GET /api/v1/jobs?" + b"a=1&" * 5000,
        b"GET /api/v1/jobs/%2e%2e%2f%00",
    ],
)
async def test_odd_requests_do_no_harm(world: World, line: bytes) -> None:
    head = f" HTTP/1.1\r\nHost: x\r\nX-API-Key: {ALICE}\r\nConnection: close\r\n\r\n".encode()
    answer = await raw(world, line + head)
    status = int(answer.split(b" ", 2)[1])
    assert 200 <= status < 500, answer[:200]


async def test_requests_sent_all_at_once_are_answered_in_order(world: World) -> None:
    request = f"GET /api/v1/jobs/%s HTTP/1.1\r\nHost: x\r\nX-API-Key: {ALICE}\r\n"
    data = (
        request % "a" + "X-Request-Id: one\r\n\r\n" + request % "b" + "X-Request-Id: two\r\nConnection: close\r\n\r\n"
    ).encode()
    answer = await raw(world, data)
    assert answer.count(b"HTTP/1.1 404") == 2
    assert answer.index(b"x-request-id: one") < answer.index(b"x-request-id: two")


@pytest.mark.seed("S85")
async def test_the_log_tells_who_did_what_and_no_secret(
    world: World, api: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    await api.post("/api/v1/jobs", json={"prompt": "canary-prompt", "context": {"password": "canary-context"}})
    await (await world.client("canary-key")).get("/api/v1/jobs")
    await (await world.client(None, Authorization="Bearer canary-token")).get("/api/v1/jobs")
    written = capsys.readouterr().out
    lines = [json.loads(line) for line in written.splitlines()]
    requests = [line for line in lines if line.get("event") == "http_request"]
    assert [line["status"] for line in requests] == [200, 401, 401]
    assert requests[0]["caller"] == "alice" and requests[0]["request_id"] and requests[0]["tenant"] == "default"
    assert "canary" not in written and ALICE not in written


@pytest.mark.seed("S82")
async def test_metrics_name_the_route_and_never_the_path(api: httpx.AsyncClient) -> None:
    from cordum.runtime import metrics

    def series() -> dict[str, float]:
        text = metrics.exposition("cordum-api-gateway")[0].decode()
        return {
            line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line.startswith("cordum_http_requests_total")
        }

    name = 'cordum_http_requests_total{method="GET",route="/api/v1/jobs/{job_id}",status="404"}'
    before = series()
    await asyncio.gather(*(api.get(f"/api/v1/jobs/made-up-{number}") for number in range(200)))
    after = series()
    assert after[name] - before.get(name, 0.0) == 200
    assert len(after) <= len(before) + 1 and not any("made-up" in line for line in after)
