"""Signed policies, backups, replays, switches and velocity rules over HTTP, with a kernel that reads bundles."""

import json
from typing import Any

import httpx
import pytest
import pytest_asyncio
import redis.asyncio as redis
from tests.integration.gateway.conftest import STRANGER, MakeWorld, World, eventually

from cordum.core import signing
from cordum.core.ids import TenantId
from cordum.core.signing import Algorithm
from cordum.embedded.servers import Server
from cordum.runtime.health import OK
from cordum.store.shadows import Comparison

FILE = """version: v1
combine: deny_overrides
rules:
  - {id: "yes", match: {topics: [job.default, job.report]}, decision: allow}
"""
STOP = "rules:\n  - {id: stop, match: {topics: [job.report]}, decision: deny, reason: stop}\n"
STOP_ALL = "rules:\n  - {id: stop, match: {topics: ['job.*']}, decision: deny, reason: stop}\n"
QUESTION = {"topic": "job.report"}
KEY = signing.generate(Algorithm.ED25519)


@pytest_asyncio.fixture
async def world(make_world: MakeWorld) -> World:
    """The kernel's timer is far away: what it learns, it was told."""
    return await make_world(policy=FILE, with_bundles=True, kernel={"SAFETY_POLICY_RELOAD_INTERVAL": "1h"})


@pytest_asyncio.fixture
async def server(redis_server: Server) -> Any:
    found: redis.Redis = redis.from_url(redis_server.url, protocol=2)
    yield found
    await found.aclose()


async def strict(make_world: MakeWorld, **env: str) -> World:
    """Gateway and kernel where everything must be signed; the kernel looks every tenth of a second."""
    signature = signing.sign(FILE.encode(), KEY)
    return await make_world(
        policy=FILE,
        with_bundles=True,
        kernel={
            "SAFETY_POLICY_PUBLIC_KEY": signing.public_text(signing.public_key_of(KEY)),
            "SAFETY_POLICY_SIGNATURE": signing.encode(signature).decode(),
            "CORDUM_POLICY_STRICT": "enforce",
        },
        CORDUM_POLICY_STRICT="enforce",
        **env,
    )


async def decision(api: httpx.AsyncClient, question: dict[str, Any] = QUESTION) -> str:
    answer = await api.post("/api/v1/policy/evaluate", json=question)
    assert answer.status_code == 200, answer.text
    found: str = answer.json()["decision"]
    return found


async def until_decided(api: httpx.AsyncClient, wanted: str, question: dict[str, Any] = QUESTION) -> None:
    async def is_so() -> bool:
        return await decision(api, question) == wanted

    await eventually(is_so, seconds=2.0)


async def published(api: httpx.AsyncClient, name: str, content: str) -> dict[str, Any]:
    stored = await api.put(f"/api/v1/policy/bundles/{name.replace('/', '~')}", json={"content": content})
    assert stored.status_code == 200, stored.text
    answer = await api.post("/api/v1/policy/publish", json={"bundle_ids": [name], "acknowledge_relaxed": True})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def until_policy(world: World, *, is_good: bool) -> None:
    """Waits for the kernel's health to say that the policy in Redis is the one in force, or is not."""

    async def is_so() -> bool:
        return ((await world.kernel_life.health.readiness()).checks["policy"] == OK) is is_good

    await eventually(is_so, seconds=5)


INVARIANT = "rules:\n  - {id: never, match: {topics: [job.report]}, decision: deny, reason: never}\n"


async def test_what_is_published_is_signed_and_what_is_tampered_with_changes_nothing(
    make_world: MakeWorld, server: "redis.Redis"
) -> None:
    world = await strict(make_world, CORDUM_POLICY_SIGNING_KEY=signing.private_text(KEY))
    api = await world.client()
    assert await decision(api) == "ALLOW"
    await published(api, "secops/invariants", INVARIANT)
    await until_decided(api, "DENY")
    good = await server.get("cfg:system:policy")
    assert isinstance(good, bytes)
    document = json.loads(good)
    assert document["data"]["bundles"]["secops/invariants"]["_signature"]["algorithm"] == "ed25519"

    def changed(**bundle: Any) -> bytes:
        copy = json.loads(good)
        copy["data"]["bundles"]["secops/invariants"].update(bundle)
        copy["revision"] += 1
        return json.dumps(copy).encode()

    gone = json.loads(good)
    del gone["data"]["bundles"]["secops/invariants"]
    tampered = {
        "another content": changed(content=INVARIANT.replace("deny", "allow")),
        "switched off": changed(enabled=False),
        "the bundle gone": json.dumps(gone).encode(),
        "all gone": json.dumps({**gone, "data": {"bundles": {}}}).encode(),
    }
    for name, forged in tampered.items():
        await server.set("cfg:system:policy", forged)

        await until_policy(world, is_good=False)
        assert await decision(api) == "DENY", name
        await server.set("cfg:system:policy", good)
        await until_policy(world, is_good=True)


async def test_without_a_key_nothing_is_stored_where_everything_must_be_signed(make_world: MakeWorld) -> None:
    api = await (await strict(make_world)).client()
    for method, path, body in (
        ("PUT", "bundles/secops~x", {"content": STOP}),
        ("POST", "publish", {}),
        ("POST", "velocity-rules", {"window": "1m", "key": "tenant", "threshold": 1}),
    ):
        answer = await api.request(method, f"/api/v1/policy/{path}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (503, "POLICY_SIGNING_REQUIRED")


@pytest.mark.seed("S119")
async def test_the_dumped_copy_restored_alone_decides_the_same_with_the_same_snapshot(
    world: World, server: "redis.Redis"
) -> None:
    api = await world.client()
    await published(api, "secops/stop", STOP)
    await until_decided(api, "DENY")
    before = (await api.post("/api/v1/policy/evaluate", json=QUESTION)).json()
    dump = await server.dump("cordum:policies")
    assert isinstance(dump, bytes)
    await server.flushall()
    await server.restore("cordum:policies", 0, dump)
    # The next publish finds the restored bundles and leaves them in force.
    other = "rules: [{id: other, match: {topics: [job.other]}, decision: deny}]"
    await published(api, "secops/other", other)
    assert sorted((await world.store.policies.in_force()).bundles) == ["secops/other", "secops/stop"]
    await until_decided(api, "DENY", {"topic": "job.other"})
    assert (await api.post("/api/v1/policy/evaluate", json=QUESTION)).json()["rule_id"] == before["rule_id"]


async def submit(api: httpx.AsyncClient, topic: str) -> str:
    answer = await api.post("/api/v1/jobs", json={"prompt": "x", "topic": topic})
    found: str = answer.json()["job_id"]
    return found


async def test_a_replay_counts_what_a_candidate_would_decide_otherwise(world: World, api: httpx.AsyncClient) -> None:
    reports = {await submit(api, "job.report") for _ in range(3)}
    await submit(api, "job.default")
    await submit(api, "job.never")
    now = world.gateway.parts.clock.now()
    span = {"from": int((now - 3600) * 1000), "to": int((now + 60) * 1000)}
    found = (await api.post("/api/v1/policy/replay", json={**span, "candidate_content": STOP_ALL})).json()
    assert found["summary"] == {
        "total_jobs": 5,
        "evaluated": 5,
        "escalated": 4,
        "relaxed": 0,
        "unchanged": 1,
        "errored": 0,
    }
    assert found["rule_hits"] == [{"rule_id": "stop", "decision": "DENY", "count": 5}]
    assert {item["job_id"] for item in found["changes"] if item["topic"] == "job.report"} == reports
    assert {item["direction"] for item in found["changes"]} == {"escalated"}

    allowing = "rules: [{id: all, match: {topics: [job.never]}, decision: allow}]"
    filters = {"original_decision": "DENY"}
    relaxed = await api.post("/api/v1/policy/replay", json={**span, "candidate_content": allowing, "filters": filters})
    assert relaxed.json()["summary"]["relaxed"] == 1
    assert relaxed.json()["changes"][0]["new_decision"] == "ALLOW"
    same = await api.post("/api/v1/policy/replay", json={**span, "use_current_policy": True, "max_jobs": 2})
    assert same.json()["summary"]["unchanged"] == same.json()["summary"]["total_jobs"] == 2
    some = await api.post("/api/v1/policy/replay", json={**span, "filters": {"topic_pattern": "job.rep*"}})
    assert some.json()["summary"]["total_jobs"] == 3
    assert (await world.store.policies.in_force()).bundles == {}


async def test_a_replay_is_of_the_callers_own_jobs_and_bounded(world: World, api: httpx.AsyncClient) -> None:
    await submit(api, "job.report")
    stranger = await world.client(STRANGER)
    now = world.gateway.parts.clock.now()
    span = {"from": int((now - 3600) * 1000), "to": int((now + 60) * 1000)}
    theirs = await stranger.post("/api/v1/policy/replay", json=span)
    assert theirs.json()["summary"]["total_jobs"] == 0
    foreign = await stranger.post("/api/v1/policy/replay", json={**span, "filters": {"tenant": "default"}})
    assert foreign.status_code == 403
    assert (await stranger.post("/api/v1/policy/replay", json={**span, "candidate_content": STOP})).status_code == 403
    for wrong in (
        {"from": "yesterday", "to": "2026-01-01T00:00:00Z"},
        {"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"},
        {"from": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:00Z"},
        {**span, "max_jobs": 1001},
        {**span, "candidate_content": "rules: {"},
        {**span, "filters": {"original_decision": "PERHAPS"}},
        {**span, "filters": {"topic_pattern": "job.[a"}},
        {"to": 1},
    ):
        assert (await api.post("/api/v1/policy/replay", json=wrong)).status_code == 400, wrong


OUTPUTS = """# who owns this: the data protection team
output_rules:
  - {id: secrets, match: {scanners: [secret]}, decision: quarantine}  # never off
  - id: pii   # may be off
    match:
      scanners: [pii]
    decision: redact
"""


async def test_an_output_rule_is_switched_in_the_text_it_was_written_in(world: World, api: httpx.AsyncClient) -> None:
    await published(api, "secops/outputs", OUTPUTS)
    url = "/api/v1/policy/output/rules"
    off = await api.put(f"{url}/pii", json={"enabled": False})
    assert off.status_code == 200, off.text
    assert (off.json()["id"], off.json()["enabled"], off.json()["bundle_id"]) == ("pii", False, "secops/outputs")
    shown = (await api.get("/api/v1/policy/bundles/secops~outputs")).json()["content"]
    assert shown == OUTPUTS.replace("  - id: pii", "  - enabled: false\n    id: pii")
    listed = (await api.get(url)).json()["items"]
    assert {rule["id"]: rule["enabled"] for rule in listed} == {"secrets": True, "pii": False}
    assert (await api.put(f"{url}/pii", json={"enabled": True})).status_code == 200
    assert (await api.put(f"{url}/none", json={"enabled": True})).status_code == 404
    assert (await api.put(f"{url}/pii", json={"enabled": "x"})).status_code == 400


async def test_global_sections_are_changed_from_the_version_that_was_read(world: World, api: httpx.AsyncClient) -> None:
    url = "/api/v1/policy/global"
    empty = (await api.get(url)).json()
    assert empty["snapshot_version"] == 0
    wanted = {"snapshot_version": 0, "sections": {"invariants": {"content": INVARIANT}}}
    done = await api.put(url, json=wanted)
    assert done.status_code == 200, done.text
    assert done.json()["sections"]["invariants"]["content"] == INVARIANT
    await until_decided(api, "DENY")
    late = await api.put(url, json=wanted)
    assert (late.status_code, late.json()["code"], late.json()["snapshot_version"]) == (
        409,
        "POLICY_VERSION_CONFLICT",
        1,
    )
    away = {"snapshot_version": 1, "sections": {"invariants": {"content": ""}}}
    assert (await api.put(url, json=away)).json()["code"] == "POLICY_RELAXED"
    assert (await api.put(url, json={**away, "acknowledge_relaxed": True})).status_code == 200
    await until_decided(api, "ALLOW")
    assert (
        await api.put(url, json={"snapshot_version": 2, "sections": {"others": {"content": ""}}})
    ).status_code == 400


async def test_velocity_rules_are_kept_as_bundles_of_their_own(world: World, api: httpx.AsyncClient) -> None:
    url = "/api/v1/policy/velocity-rules"
    rule = {
        "id": "reports",
        "name": "not so many reports",
        "match": {"topics": ["job.report"]},
        "window": "10m",
        "key": "tenant:topic",
        "threshold": 5,
        "decision": "throttle",
    }
    made = await api.post(url, json=rule)
    assert made.status_code == 201, made.text
    assert {name: made.json()[name] for name in rule if name != "match"} == {
        name: value for name, value in rule.items() if name != "match"
    }
    assert made.json()["match"]["topics"] == ["job.report"]
    assert (await api.post(url, json=rule)).json()["code"] == "POLICY_RULE_EXISTS"
    assert "velocity/reports" in (await world.store.policies.in_force()).bundles
    changed = await api.put(f"{url}/reports", json={**rule, "threshold": 9, "window": "90s", "enabled": False})
    assert (changed.json()["threshold"], changed.json()["window"], changed.json()["enabled"]) == (9, "90s", False)
    stats = (await api.get(f"{url}/stats")).json()
    assert (stats["total"], stats["enabled"], stats["by_decision"]["throttle"]) == (1, 0, 1)
    for wrong in (
        {"window": "25h"},
        {"window": "soon"},
        {"threshold": 0},
        {"decision": "allow"},
        {"id": "a/b"},
        {"key": "colour"},
        {"match": {"topics": ["job.[a"]}},
        {"more": 1},
    ):
        assert (await api.post(url, json={**rule, "id": "new", **wrong})).status_code == 400, wrong
    assert (await api.put(f"{url}/other", json={**rule, "id": None})).status_code == 404
    assert (await api.delete(f"{url}/reports")).status_code == 204
    assert (await api.get(url)).json()["items"] == []
    assert (await api.delete(f"{url}/reports")).status_code == 404


async def test_output_statistics_count_the_last_day_of_the_tenant(world: World, api: httpx.AsyncClient) -> None:
    url = "/api/v1/policy/output/stats"
    nothing = {"total_checks_24h": 0, "quarantined_24h": 0, "avg_latency_ms": 0.0, "last_check_at": ""}
    assert (await api.get(url)).json() == nothing
    tenant = TenantId("default")
    await world.store.output_stats.count(tenant, 2.0, quarantined=False)
    await world.store.output_stats.count(tenant, 4.0, quarantined=True)
    found = (await api.get(url)).json()
    assert (found["total_checks_24h"], found["quarantined_24h"], found["avg_latency_ms"]) == (2, 1, 3.0)
    assert found["last_check_at"]
    assert (await (await world.client(STRANGER)).get(url)).json() == nothing


async def test_a_shadow_belongs_to_its_tenant_and_shows_what_it_was_compared_on(
    world: World, api: httpx.AsyncClient
) -> None:
    url = "/api/v1/policy/shadows/secops~stop"
    assert (await api.put(url, json={"content": "rules: {"})).status_code == 400
    assert (await api.get(url)).status_code == 404
    made = (await api.put(url, json={"content": STOP, "note": "try"})).json()
    assert made["shadow_bundle_id"].startswith("shadow-") and len(made["shadow_bundle_id"]) == 19
    assert (await api.get(url)).json() == made
    assert await decision(api) == "ALLOW"
    stranger = await world.client(STRANGER)
    assert (await stranger.get(url)).status_code == 404

    tenant, store = TenantId("default"), world.store.shadows
    hour = 3_600_000
    for at, diff in ((hour, "unchanged"), (hour + 1, "escalated"), (3 * hour, "escalated")):
        found = Comparison(
            shadow_id=made["shadow_bundle_id"], at=at, diff=diff, topic="job.report", shadow_rule_id="stop"
        )
        await store.record(tenant, "secops/stop", found)
    await store.record(tenant, "secops/stop", Comparison(shadow_id="shadow-older", at=5, diff="relaxed"))
    summary = (await api.get(f"{url}/results/summary")).json()
    assert (summary["total"], summary["escalated"], summary["unchanged"], summary["relaxed"]) == (3, 2, 1, 0)
    assert summary["rules"] == [{"rule_id": "stop", "count": 2}]
    listed = (await api.get(f"{url}/results/comparisons", params={"diff": "escalated", "limit": 1})).json()
    assert (listed["total"], listed["items"][0]["at"]) == (2, 3 * hour)
    assert (await api.get(f"{url}/results/comparisons", params={"diff": "other"})).status_code == 400
    points = (await api.get(f"{url}/results/timeseries")).json()["points"]
    assert [(point["time"], point["total"]) for point in points] == [
        ("1970-01-01T01:00:00Z", 2),
        ("1970-01-01T03:00:00Z", 1),
    ]
    assert (await api.delete(url)).status_code == 204
    assert (await api.delete(url)).status_code == 404
