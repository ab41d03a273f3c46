"""The audit log and the decision log over HTTP."""

import asyncio
import time
from typing import Any

import httpx
import pytest

from cordum.core.ids import TenantId

from .conftest import AGENT, BOB, CROSSING, STRANGER, VIEWER, MakeWorld, World

AUDIT, VERIFY, DECISIONS = "/api/v1/policy/audit", "/api/v1/audit/verify", "/api/v1/governance/decisions"


async def submitted(api: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await api.post("/api/v1/jobs", json={"prompt": "x", "topic": "job.default", **body})


async def audited(api: httpx.AsyncClient, count: int, **query: str) -> list[dict[str, Any]]:
    """The entries once there are so many: what policy decides is written without anybody waiting for it."""
    deadline = time.monotonic() + 10
    while True:
        answer = await api.get(AUDIT, params=query)
        assert answer.status_code == 200, answer.text
        items: list[dict[str, Any]] = answer.json()["items"]
        if len(items) >= count:
            return items
        assert time.monotonic() < deadline, items
        await asyncio.sleep(0.02)


async def test_every_outcome_of_a_submit_but_a_plain_allow_is_audited(api: httpx.AsyncClient) -> None:
    await submitted(api)
    denied = await submitted(api, risk_tags=["destructive"], labels={"agent_id": "a7"})
    parked = await submitted(api, risk_tags=["payment"])
    assert (await submitted(api, topic="job.slow")).status_code == 429
    items = await audited(api, 3)
    by_action = {item["action"]: item for item in items}
    assert set(by_action) == {"submit_denied", "submit_approval_required", "submit_throttled"}
    entry = by_action["submit_denied"]
    assert (entry["job_id"], entry["decision"], entry["matched_rule"]) == (
        denied.json()["job_id"],
        "DENY",
        "no-destruction",
    )
    assert (entry["severity"], entry["actor_id"], entry["role"], entry["agent_id"]) == ("HIGH", "alice", "admin", "a7")
    assert (entry["identity_source"], entry["identity_label"]) == ("principal", "alice")
    assert entry["policy_version"] and entry["created_at"] == entry["timestamp"]
    assert by_action["submit_approval_required"]["job_id"] == parked.json()["job_id"]


@pytest.mark.seed("S237")
async def test_what_people_do_is_audited_before_they_are_answered(world: World, api: httpx.AsyncClient) -> None:
    bob = await world.client(BOB)
    parked = (await submitted(api, risk_tags=["payment"])).json()["job_id"]
    assert (await api.post(f"/api/v1/approvals/{parked}/approve")).status_code == 403
    assert (await bob.post(f"/api/v1/approvals/{parked}/approve", json={"reason": "fine"})).status_code == 200
    other = (await submitted(api)).json()["job_id"]
    await api.post(f"/api/v1/jobs/{other}/cancel")
    told = (await api.get(AUDIT, params={"search": other})).json()["items"]
    assert [(item["action"], item["actor_id"]) for item in told] == [("cancel", "alice")]
    told = (await api.get(AUDIT, params={"action": "approve"})).json()["items"]
    assert [(item["actor_id"], item["reason"], item["job_id"]) for item in told] == [("bob", "fine", parked)]
    assert [item["action"] for item in (await api.get(AUDIT, params={"search": "self"})).json()["items"]]


async def test_the_audit_is_searched_and_paged(api: httpx.AsyncClient) -> None:
    for _ in range(3):
        await submitted(api, risk_tags=["destructive"])
        await submitted(api, risk_tags=["payment"])
    await audited(api, 6)
    page = (await api.get(AUDIT, params={"rule_id": "ask", "limit": "2"})).json()
    assert (len(page["items"]), page["total"], page["has_more"], page["offset"]) == (2, 3, True, 0)
    rest = (await api.get(AUDIT, params={"rule_id": "ask", "limit": "2", "offset": "2"})).json()
    assert (len(rest["items"]), rest["has_more"]) == (1, False)
    assert {item["id"] for item in rest["items"]}.isdisjoint(item["id"] for item in page["items"])
    assert (await api.get(AUDIT, params={"type": "job", "after": "2099-01-01T00:00:00Z"})).json()["items"] == []
    assert (await api.get(AUDIT, params={"before": "2001-01-01T00:00:00Z"})).json()["items"] == []
    assert (await api.get(AUDIT, params={"agent_id": "nobody"})).json()["total"] == 0
    assert (await api.get(AUDIT, params={"type": "output"})).json() == {
        "items": [], "total": 0, "has_more": False, "offset": 0
    }  # fmt: skip
    assert (await api.get(AUDIT, params={"after": "yesterday"})).json()["code"] == "INVALID_FROM"


async def test_the_chain_is_checked_and_tampering_seen(world: World, api: httpx.AsyncClient) -> None:
    for _ in range(3):
        await submitted(api, risk_tags=["destructive"])
    await audited(api, 3)
    report = (await api.get(VERIFY)).json()
    assert (report["status"], report["total_events"], report["first_seq"], report["last_seq"]) == ("ok", 3, 1, 3)
    assert report["retention_window_hours"] == 168
    # An entry is replaced as only somebody with access to the store could.
    link = world.store._batcher
    entries = (await link.submit([("XRANGE", "audit:chain:{default}", "-", "+")]))[0]
    assert isinstance(entries, list) and isinstance(entries[1], list)
    await link.submit([("XDEL", "audit:chain:{default}", str(entries[1][0]))])
    report = (await api.get(VERIFY)).json()
    assert (report["status"], report["gaps"]) == ("compromised", [{"at_seq": 2, "type": "missing"}])
    assert (await api.get(VERIFY, params={"since": "1", "until": "9999999999999"})).json()["code"] == "INVALID_RANGE"


async def test_the_decision_log_has_every_decision_that_is_final_at_submit(api: httpx.AsyncClient) -> None:
    """What lets a job go on is decided again before the job runs, and written down there."""
    await submitted(api)
    denied = (await submitted(api, risk_tags=["destructive"], labels={"agent_id": "a7"})).json()["job_id"]
    parked = (await submitted(api, risk_tags=["payment"])).json()["job_id"]
    await submitted(api, topic="job.bounded")
    await submitted(api, topic="job.slow")
    told = (await api.get(DECISIONS)).json()
    assert [item["verdict"] for item in told["items"]] == ["throttle", "require_approval", "deny"]
    assert [item["job_id"] for item in told["items"]][1:] == [parked, denied]
    by_job = {item["job_id"]: item for item in told["items"]}
    assert by_job[parked]["approval_status"] == "pending"
    assert by_job[denied]["matched_rule"] == "no-destruction" and by_job[denied]["reason"] == "never destroy"
    assert by_job[denied]["agent_id"] == "a7"
    for query, jobs in (
        ({"verdict": "deny"}, [denied]),
        ({"agent_id": "a7"}, [denied]),
        ({"rule_id": "ask"}, [parked]),
        ({"topic": "job.bounded"}, []),
        ({"since": "2099-01-01T00:00:00Z", "until": "2099-01-02T00:00:00Z"}, []),
    ):
        assert [item["job_id"] for item in (await api.get(DECISIONS, params=query)).json()["items"]] == jobs
    for query, code in (
        ({"verdict": "maybe"}, "INVALID_CATEGORY"),
        ({"cursor": "x"}, "INVALID_CURSOR"),
        ({"since": "soon"}, "INVALID_FROM"),
        ({"since": "2", "until": "1"}, "INVALID_RANGE"),
    ):
        answer = await api.get(DECISIONS, params=query)
        assert (answer.status_code, answer.json()["code"]) == (400, code)


async def test_pages_of_decisions_follow_each_other(api: httpx.AsyncClient) -> None:
    made = [(await submitted(api, risk_tags=["destructive"])).json()["job_id"] for _ in range(5)]
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = (await api.get(DECISIONS, params={"limit": "2", **({"cursor": cursor} if cursor else {})})).json()
        seen += [item["job_id"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert seen == made[::-1]


async def test_a_denied_job_lists_its_decision(api: httpx.AsyncClient) -> None:
    job_id = (await submitted(api, risk_tags=["destructive"])).json()["job_id"]
    told = (await api.get(f"/api/v1/jobs/{job_id}/decisions")).json()
    assert [(item["action"], item["rule_id"]) for item in told] == [("DENY", "no-destruction")]
    assert told[0]["evaluated_at"]


async def test_tenants_and_roles_stay_apart(world: World, api: httpx.AsyncClient) -> None:
    await submitted(api, risk_tags=["destructive"])
    await audited(api, 1)
    stranger, viewer, agent = [await world.client(key) for key in (STRANGER, VIEWER, AGENT)]
    assert (await stranger.get(AUDIT)).json()["items"] == []
    assert (await stranger.get(DECISIONS)).json()["items"] == []
    assert (await stranger.get(VERIFY)).json()["total_events"] == 0
    assert (await stranger.get(VERIFY, params={"tenant": "default"})).status_code == 403
    crossing = await world.client(CROSSING, **{"X-Tenant-ID": "other"})
    assert (await crossing.get(VERIFY, params={"tenant": "default"})).json()["total_events"] == 1
    assert (await viewer.get(AUDIT)).status_code == (await viewer.get(DECISIONS)).status_code == 200
    assert (await viewer.get(VERIFY)).status_code == 403
    assert {(await agent.get(path)).status_code for path in (AUDIT, VERIFY, DECISIONS)} == {403}


async def test_a_batch_answers_each_question(api: httpx.AsyncClient) -> None:
    answer = await api.post(
        "/api/v1/policy/evaluate-batch",
        json={
            "requests": [
                {"topic": "job.default", "job_id": "1"},
                {"topic": "job.default", "risk_tags": ["destructive"]},
                {},
                {"topic": "job.x", "tenant": "other"},
                {"topic": 7},
                {"topic": "job.slow"},
            ]
        },
    )
    assert answer.status_code == 200
    items = answer.json()["items"]
    assert [item["index"] for item in items] == list(range(6))
    assert [item["decision"] for item in items] == ["ALLOW", "DENY", "DENY", "DENY", "DENY", "THROTTLE"]
    assert [item.get("code") for item in items] == [
        None, None, "topic_is_required", "tenant_access_denied", "invalid_request", None
    ]  # fmt: skip
    assert items[0]["job_id"] == "1"
    entry = (await audited(api, 1, action="policy.evaluate_batch"))[0]
    assert entry["extra"] == {"requests": "6", "errors": "3"}
    bad: list[dict[str, Any]] = [{"requests": []}, {"requests": [{"topic": "job.x"}] * 1025}, {}]
    for wrong in bad:
        assert (await api.post("/api/v1/policy/evaluate-batch", json=wrong)).status_code == 400


async def test_rules_can_be_hidden(make_world: MakeWorld) -> None:
    world = await make_world(CORDUM_POLICY_EVALUATE_REDACT="true")
    alice, agent = await world.client(), await world.client(AGENT)
    question = {"topic": "job.default", "risk_tags": ["destructive"]}
    for client, ways in ((alice, ("evaluate",)), (agent, ("evaluate", "simulate", "explain"))):
        for way in ways:
            told = (await client.post(f"/api/v1/policy/{way}", json=question)).json()
            assert (told["decision"], told["rule_id"], told["reason"]) == ("DENY", "matched", "")
            assert "trace" not in told and "never destroy" not in str(told)
    told = (await alice.post("/api/v1/policy/explain", json=question)).json()
    assert told["rule_id"] == "no-destruction" and told["trace"]


async def test_an_explanation_shows_near_misses_and_the_steps(api: httpx.AsyncClient) -> None:
    told = (await api.post("/api/v1/policy/explain", json={"topic": "job.default"})).json()
    assert (told["decision"], told["decided_by"], told["tier"]) == ("ALLOW", "rule", "global")
    assert told["steps"][0]["name"] == "rules" and told["steps"][0]["rule_id"] == "yes"
    assert {note["rule_id"] for note in told["near_misses"]} >= {"no-destruction"}
    assert all(note["tier"] == "global" for note in told["trace"])


async def test_nobody_changes_anything_that_cannot_be_written_down(
    world: World, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cordum.store import StoreUnavailableError

    parked = (await submitted(api, risk_tags=["payment"])).json()["job_id"]
    bob = await world.client(BOB)

    async def refuse(event: object) -> None:
        raise StoreUnavailableError

    monkeypatch.setattr(world.store.audit, "append", refuse)
    # The first one finds out; it happened, it waits to be written, and its caller hears that it is not yet.
    assert (await bob.post(f"/api/v1/approvals/{parked}/approve")).status_code in (200, 503)
    second = (await submitted(api, risk_tags=["payment"])).json()["job_id"]
    answer = await bob.post(f"/api/v1/approvals/{second}/approve")
    assert (answer.status_code, answer.json()["code"]) == (503, "audit_unavailable")
    assert (await api.get(f"/api/v1/jobs/{second}")).json()["state"] == "APPROVAL_REQUIRED"
    monkeypatch.undo()
    assert (await bob.post(f"/api/v1/approvals/{second}/approve")).status_code == 200
    written = await world.store.audit.page(TenantId("default"), lambda event: event.action == "approve", limit=10)
    assert {event.job_id for event in written.items} == {parked, second}
