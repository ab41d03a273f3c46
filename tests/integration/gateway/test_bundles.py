"""Writing, publishing and taking back policy bundles over HTTP, with a kernel that reads them from Redis."""

import asyncio
from typing import Any

import httpx
import pytest
import pytest_asyncio
from tests.integration.gateway.conftest import BOB, CROSSING, STRANGER, VIEWER, MakeWorld, World, eventually

from cordum.core.ids import TenantId

DENY_REPORTS = "rules:\n  - {id: no-reports, match: {topics: [job.report]}, decision: deny, reason: not today}\n"
URL = "/api/v1/policy/bundles/secops~reports"
QUESTION = {"topic": "job.report"}


@pytest_asyncio.fixture
async def world(make_world: MakeWorld) -> World:
    """The kernel's timer is far away: what it learns, it was told."""
    return await make_world(
        policy="version: v1\nrules:\n  - {id: special, match: {topics: [job.special]}, decision: allow}\n",
        with_bundles=True,
        kernel={"SAFETY_POLICY_RELOAD_INTERVAL": "1h"},
    )


async def decision(api: httpx.AsyncClient, question: dict[str, Any] = QUESTION) -> tuple[str, str]:
    answer = await api.post("/api/v1/policy/evaluate", json=question)
    assert answer.status_code == 200, answer.text
    return answer.json()["decision"], answer.json()["rule_id"]


async def put(api: httpx.AsyncClient, name: str, content: str, **more: Any) -> httpx.Response:
    return await api.put(f"/api/v1/policy/bundles/{name.replace('/', '~')}", json={"content": content, **more})


async def publish(api: httpx.AsyncClient, *names: str, **more: Any) -> dict[str, Any]:
    answer = await api.post("/api/v1/policy/publish", json={"bundle_ids": names, **more})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def until_decided(api: httpx.AsyncClient, wanted: tuple[str, str], question: dict[str, Any] = QUESTION) -> None:
    """A second is all a kernel has to follow."""

    async def is_so() -> bool:
        return await decision(api, question) == wanted

    await eventually(is_so, seconds=1.0)


ALLOW_REPORTS = "rules:\n  - {id: reports, match: {topics: [job.report]}, decision: allow}\n"


@pytest.mark.seed("S203")
async def test_a_published_bundle_decides_the_next_job_and_a_rollback_takes_it_back(
    world: World, api: httpx.AsyncClient
) -> None:
    assert (await put(api, "secops/reports", ALLOW_REPORTS)).status_code == 200
    assert await decision(api) == ("DENY", "")

    refused = await api.post("/api/v1/policy/publish", json={"bundle_ids": ["secops/reports"]})
    assert refused.status_code == 409
    assert refused.json()["code"] == "POLICY_RELAXED"
    assert refused.json()["differences"][0]["after"] == "ALLOW"
    assert refused.json()["differences"][0]["request"]["topic"] == "job.report"

    done = await publish(api, "secops/reports", acknowledge_relaxed=True)
    assert done["published"] == ["secops/reports"]
    await until_decided(api, ("ALLOW", "reports"))
    job = await api.post("/api/v1/jobs", json={"prompt": "x", "topic": "job.report"})
    assert job.status_code == 200, job.text

    back = await api.post("/api/v1/policy/rollback", json={"snapshot_id": done["snapshot_before"]})
    assert back.status_code == 200, back.text
    assert back.json()["rollback_to"] == done["snapshot_before"]
    await until_decided(api, ("DENY", ""))


async def test_concurrent_writes_of_different_bundles_through_two_gateways_are_all_kept(make_world: MakeWorld) -> None:
    worlds = [await make_world(with_bundles=True), await make_world(with_bundles=True)]
    clients = [await world.client() for world in worlds]
    names = [f"secops/b{number}" for number in range(10)]
    answers = await asyncio.gather(
        *(put(clients[at % 2], name, f"rules:\n  - {{id: r{at}, decision: deny}}\n") for at, name in enumerate(names))
    )
    assert [answer.status_code for answer in answers] == [200] * 10
    listed = (await clients[0].get("/api/v1/policy/bundles")).json()
    assert {item["id"]: item["status"] for item in listed["items"]} == dict.fromkeys(names, "draft")

    done = await asyncio.gather(*(publish(clients[at % 2], name) for at, name in enumerate(names)))
    assert sorted(name for one in done for name in one["published"]) == names
    assert sorted(one["revision"] for one in done) == list(range(1, 11))
    listed = (await clients[0].get("/api/v1/policy/bundles")).json()
    assert {item["id"]: item["status"] for item in listed["items"]} == dict.fromkeys(names, "in_force")


BAD = {
    "a broken line": ("rules:\n  - {id: a\n", 3),
    "an unknown key": ("rules:\n  - id: a\n    match: {keywords: [x]}\n    decision: deny\n", 3),
    "a misspelt decision": ("rules:\n  - id: a\n    decision: dney\n", 3),
    "a bad glob": ('rules:\n  - id: a\n    match: {topics: ["job.[a"]}\n    decision: deny\n', 3),
}


@pytest.mark.parametrize("name", BAD)
async def test_what_is_no_policy_is_refused_with_its_line_and_not_stored(
    world: World, api: httpx.AsyncClient, name: str
) -> None:
    content, line = BAD[name]
    answer = await put(api, "secops/reports", content)
    assert answer.status_code == 400, answer.text
    body = answer.json()
    assert (body["code"], body["line"]) == ("POLICY_VALIDATION_FAILED", line)
    assert body["faults"][0]["bundle_id"] == "secops/reports"
    assert (await api.get(URL)).status_code == 404


WRONG_BODIES: dict[str, Any] = {
    "no content": {},
    "empty content": {"content": "  \n"},
    "content is no text": {"content": {"rules": []}},
    "an unknown member": {"content": DENY_REPORTS, "force": True},
    "enabled is no truth value": {"content": DENY_REPORTS, "enabled": "maybe"},
    "a long author": {"content": DENY_REPORTS, "author": "x" * 1000},
}


@pytest.mark.parametrize("name", WRONG_BODIES)
async def test_a_wrong_body_is_refused(world: World, api: httpx.AsyncClient, name: str) -> None:
    assert (await api.put(URL, json=WRONG_BODIES[name])).status_code == 400
    assert (await api.get("/api/v1/policy/bundles")).json()["items"] == []


async def test_ids_are_written_with_a_tilde_and_only_secops_is_written_by_hand(
    world: World, api: httpx.AsyncClient
) -> None:
    assert (await put(api, "secops/a", DENY_REPORTS)).json()["id"] == "secops/a"
    assert (await put(api, "secops/a/b", DENY_REPORTS.replace("no-", "b-"))).json()["id"] == "secops/a/b"
    assert (await api.get("/api/v1/policy/bundles/x", params={"bundle_id": "secops/a"})).json()["id"] == "secops/a"
    for name, code in {
        "velocity~x": "POLICY_BUNDLE_READ_ONLY",
        "pack~overlay": "POLICY_BUNDLE_READ_ONLY",
        "secops": "POLICY_BUNDLE_READ_ONLY",
        "secops~": "invalid_bundle_id",
        "secops~~a": "invalid_bundle_id",
        "secops~..~x": "invalid_bundle_id",
        "secops~a b": "invalid_bundle_id",
    }.items():
        answer = await api.put(f"/api/v1/policy/bundles/{name}", json={"content": DENY_REPORTS})
        assert (answer.status_code, answer.json()["code"]) == (400, code), name


@pytest.mark.seed("S130")
async def test_a_draft_is_seen_and_decides_nothing_until_it_is_published(world: World, api: httpx.AsyncClient) -> None:
    await put(api, "secops/reports", ALLOW_REPORTS)
    await publish(api, acknowledge_relaxed=True)
    await until_decided(api, ("ALLOW", "reports"))
    assert (await put(api, "secops/reports", DENY_REPORTS, message="close it")).json()["status"] == "changed"
    shown = (await api.get(URL)).json()
    assert (shown["content"], shown["content_in_force"]) == (DENY_REPORTS, ALLOW_REPORTS)
    assert await decision(api) == ("ALLOW", "reports")
    simulated = await api.post(f"{URL}/simulate", json={"request": QUESTION})
    assert (simulated.json()["decision"], simulated.json()["current"]["decision"]) == ("DENY", "ALLOW")

    await put(api, "secops/held", "rules: [{id: held, match: {topics: [job.report]}, decision: deny}]", enabled=False)
    assert (await publish(api))["published"] == ["secops/reports"]
    await until_decided(api, ("DENY", "no-reports"))
    assert (await publish(api, "secops/held"))["published"] == ["secops/held"]
    assert (await api.get("/api/v1/policy/bundles/secops~held")).json()["status"] == "in_force"


async def test_switching_off_and_deleting_count_at_once_and_ask_when_they_relax(
    world: World, api: httpx.AsyncClient
) -> None:
    await put(api, "secops/reports", ALLOW_REPORTS)
    await put(api, "secops/stop", DENY_REPORTS.replace("no-reports", "reports"))
    await publish(api, acknowledge_relaxed=True)
    await until_decided(api, ("DENY", "reports"))

    stop = {"content": DENY_REPORTS.replace("no-reports", "reports"), "enabled": False}
    refused = await api.put("/api/v1/policy/bundles/secops~stop", json=stop)
    assert (refused.status_code, refused.json()["code"]) == (409, "POLICY_RELAXED")
    assert await decision(api) == ("DENY", "reports")
    off = await api.put("/api/v1/policy/bundles/secops~stop", json={**stop, "acknowledge_relaxed": True})
    assert (off.status_code, off.json()["status"]) == (200, "draft")
    await until_decided(api, ("ALLOW", "reports"))

    assert (await api.delete(URL)).status_code == 204
    await until_decided(api, ("DENY", ""))
    assert (await api.get(URL)).status_code == 404
    assert (await api.delete(URL)).status_code == 404


async def test_a_bundle_whose_own_tests_fail_is_not_published(world: World, api: httpx.AsyncClient) -> None:
    wrong = "tests: [{name: reports pass, request: {topic: job.report}, expect: {decision: ALLOW}}]"
    content = f"{DENY_REPORTS}{wrong}\n"
    stored = await put(api, "secops/reports", content)
    assert (stored.status_code, stored.json()["tests_failed"]) == (200, 1)
    answer = await api.post("/api/v1/policy/publish", json={"bundle_ids": ["secops/reports"]})
    assert (answer.status_code, answer.json()["code"]) == (409, "POLICY_TESTS_FAILED")
    assert answer.json()["tests"][0]["name"] == "reports pass"


async def test_the_difference_names_the_request_whose_decision_changes(world: World, api: httpx.AsyncClient) -> None:
    await put(api, "secops/reports", ALLOW_REPORTS)
    found = (await api.post("/api/v1/policy/diff", json={})).json()
    assert found["relaxed"] == 1
    [item] = found["differences"]
    assert item["request"]["topic"] == "job.report"
    assert (item["before"], item["after"], item["direction"]) == ("DENY", "ALLOW", "relaxed")
    assert found["bundles"][0]["change"] == "added"
    assert "+rules:" in found["bundles"][0]["text"]
    done = await publish(api, acknowledge_relaxed=True)
    await until_decided(api, ("ALLOW", "reports"))
    back = (await api.post("/api/v1/policy/diff", json={"snapshot_id": done["snapshot_before"]})).json()
    assert (back["escalated"], back["bundles"][0]["change"]) == (1, "removed")
    typed = {"content": DENY_REPORTS.replace("no-reports", "reports"), "bundle_id": "secops/reports"}
    assert (await api.post("/api/v1/policy/diff", json=typed)).json()["escalated"] == 1
    assert (await api.post("/api/v1/policy/diff", json={"content": "rules: 3"})).status_code == 400
    assert (await api.post("/api/v1/policy/diff", json={"bundle_ids": ["secops/none"]})).status_code == 404


async def test_the_kernel_away_nothing_is_written_and_only_an_acknowledged_rollback_is_made(
    world: World, api: httpx.AsyncClient
) -> None:
    await put(api, "secops/reports", ALLOW_REPORTS)
    done = await publish(api, acknowledge_relaxed=True)
    await world.stop_kernel()
    assert (await put(api, "secops/reports", DENY_REPORTS)).status_code == 503
    back = {"snapshot_id": done["snapshot_before"]}
    assert (await api.post("/api/v1/policy/rollback", json=back)).status_code == 503
    answer = await api.post("/api/v1/policy/rollback", json={**back, "acknowledge_relaxed": True})
    assert answer.status_code == 200, answer.text
    assert (await world.store.policies.in_force()).bundles == {}


async def test_snapshots_are_listed_taken_and_shown(world: World, api: httpx.AsyncClient) -> None:
    await put(api, "secops/reports", DENY_REPORTS)
    done = await publish(api, note="first")
    taken = (await api.post("/api/v1/policy/bundles/snapshots", json={"note": "by hand"})).json()
    assert taken["bundles"]["secops/reports"]["content"] == DENY_REPORTS
    items = (await api.get("/api/v1/policy/bundles/snapshots")).json()["items"]
    assert [item["id"] for item in items] == [taken["id"], done["snapshot_after"], done["snapshot_before"]]
    assert [item["note"] for item in items] == ["by hand", "first", ""]
    shown = await api.get(f"/api/v1/policy/bundles/snapshots/{taken['id']}")
    assert shown.json() == taken
    assert (await api.get("/api/v1/policy/bundles/snapshots/2020-01-01T00:00:00Z-0123456789")).status_code == 404
    assert (await api.post("/api/v1/policy/rollback", json={"snapshot_id": "none"})).status_code == 404


async def test_every_change_is_in_the_audit_log(world: World, api: httpx.AsyncClient) -> None:
    await put(api, "secops/reports", DENY_REPORTS, message="close")
    done = await publish(api, message="go")
    await api.post(
        "/api/v1/policy/rollback", json={"snapshot_id": done["snapshot_before"], "acknowledge_relaxed": True}
    )
    await api.delete(URL)
    events = (await world.store.audit.page(TenantId("default"), lambda event: True, limit=50)).items
    seen = [(event.action, event.actor_id, event.bundle_ids) for event in events]
    assert ("edit", "alice", ("secops/reports",)) in seen
    assert ("publish", "alice", ("secops/reports",)) in seen
    assert ("rollback", "alice", ("secops/reports",)) in seen
    published = next(event for event in events if event.action == "publish")
    assert (published.snapshot_before, published.snapshot_after) == (done["snapshot_before"], done["snapshot_after"])


ROUTES = [
    ("GET", "/policy/bundles", None),
    ("GET", "/policy/bundles/secops~reports", None),
    ("PUT", "/policy/bundles/secops~reports", {"content": DENY_REPORTS}),
    ("DELETE", "/policy/bundles/secops~reports", None),
    ("POST", "/policy/bundles/secops~reports/simulate", {"request": QUESTION, "content": DENY_REPORTS}),
    ("GET", "/policy/bundles/snapshots", None),
    ("POST", "/policy/bundles/snapshots", {}),
    ("GET", "/policy/bundles/snapshots/x", None),
    ("POST", "/policy/publish", {}),
    ("POST", "/policy/rollback", {"snapshot_id": "x"}),
    ("POST", "/policy/diff", {}),
    ("PUT", "/policy/output/rules/x", {"enabled": False}),
    ("GET", "/policy/global", None),
    ("PUT", "/policy/global", {"snapshot_version": 0, "sections": {"invariants": {"content": DENY_REPORTS}}}),
    ("GET", "/policy/velocity-rules", None),
    ("POST", "/policy/velocity-rules", {"window": "1m", "key": "tenant", "threshold": 1}),
    ("GET", "/policy/velocity-rules/stats", None),
    ("PUT", "/policy/velocity-rules/x", {"window": "1m", "key": "tenant", "threshold": 1}),
    ("DELETE", "/policy/velocity-rules/x", None),
]
OF_EVERY_TENANT = [
    ("GET", "/policy/rules", None),
    ("GET", "/policy/output/rules", None),
    ("GET", "/policy/output/stats", None),
]


async def test_who_may_only_read_changes_nothing_and_other_tenants_see_nothing(world: World) -> None:
    clients = {key: await world.client(key) for key in (VIEWER, BOB, STRANGER, CROSSING)}
    nobody = await world.client(None)
    for method, path, body in ROUTES:
        where = f"/api/v1{path}"
        asked = {key: await client.request(method, where, json=body) for key, client in clients.items()}
        assert (await nobody.request(method, where, json=body)).status_code == 401, path
        assert asked[STRANGER].status_code == 403, path
        assert asked[STRANGER].json()["code"] == "tenant_access_denied"
        writes = method != "GET"
        for reader in (VIEWER, BOB):
            assert (asked[reader].status_code == 403) is writes, (method, path, asked[reader].text)
        assert asked[CROSSING].status_code not in (401, 403), (method, path)


async def test_lists_of_rules_are_for_every_tenant_and_show_only_what_concerns_it(
    world: World, api: httpx.AsyncClient
) -> None:
    content = (
        "rules:\n  - {id: for-all, match: {topics: [job.x]}, decision: deny}\n"
        "  - {id: for-one, match: {tenants: [default]}, decision: deny}\n"
        "  - {id: for-other, match: {tenants: [OTHER]}, decision: deny}\n"
    )
    await put(api, "secops/reports", content)
    await publish(api)
    stranger = await world.client(STRANGER)
    for method, path, _ in OF_EVERY_TENANT:
        assert (await stranger.request(method, f"/api/v1{path}")).status_code == 200, path
    rules = (await api.get("/api/v1/policy/rules")).json()["items"]
    assert [rule["id"] for rule in rules] == ["for-all", "for-one", "for-other"]
    assert rules[0]["source"]["fragment_id"] == "secops/reports"
    assert (rules[0]["decision"], rules[0]["match"]) == ("deny", {"topics": ["job.x"]})
    theirs = (await stranger.get("/api/v1/policy/rules")).json()["items"]
    assert [rule["id"] for rule in theirs] == ["for-all", "for-other"]
