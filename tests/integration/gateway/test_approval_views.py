"""What somebody sees who has to decide: the list, page by page, one approval with its context, and no secrets."""

import httpx

from cordum.core.ids import JobId

from .conftest import ALICE, BOB, STRANGER, World
from .test_approvals import park


async def listed(client: httpx.AsyncClient, limit: int, **query: str) -> list[list[JobId]]:
    """All pages of the list."""
    pages: list[list[JobId]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = await client.get("/api/v1/approvals", params={"limit": str(limit), **query, **cursor})
        body = answer.json()
        pages.append([item["job_id"] for item in body["items"]])
        if body["next_cursor"] is None:
            return pages
        assert body["next_cursor"] < 2**53, "a number that JavaScript holds exactly"
        assert f"cursor={body['next_cursor']}" in answer.headers["link"]
        cursor = {"cursor": str(body["next_cursor"])}


async def test_every_approval_is_on_exactly_one_page(world: World, api: httpx.AsyncClient) -> None:
    jobs = [await park(api) for _ in range(9)]
    bob = await world.client(BOB)
    for n, job_id in enumerate(jobs[:5]):
        await bob.post(f"/api/v1/approvals/{job_id}/{'approve' if n % 2 else 'reject'}")
    for limit in (1, 2, 3, 4, 5, 100):
        pages = await listed(bob, limit)
        assert all(pages[:-1]) and [job_id for page in pages for job_id in page] == [*jobs[:4:-1], *jobs[4::-1]]
    assert [job_id for page in await listed(bob, 2, include_resolved="false") for job_id in page] == jobs[:4:-1]


async def test_resolved_approvals_are_found_behind_many_other_jobs(world: World, api: httpx.AsyncClient) -> None:
    job_id = await park(api)
    bob = await world.client(BOB)
    await bob.post(f"/api/v1/approvals/{job_id}/approve")
    for _ in range(20):
        await api.post("/api/v1/jobs", json={"prompt": "x"})
    assert await listed(bob, 5) == [[job_id]]


async def test_an_item_says_what_is_to_be_decided(world: World, api: httpx.AsyncClient) -> None:
    context = {
        "amount": 950,
        "currency": "EUR",
        "vendor": "ACME",
        "system": "ledger",
        "rollback_hint": "book it back",
        "password": "correct horse",
        "headers": ["Authorization: Bearer ghp_0123456789abcdefghijklmnopqrstuvwxyz"],
    }
    job_id = await park(api, context=context, capability="payments.send", labels={"namespace": "prod"})
    [item] = (await (await world.client(BOB)).get("/api/v1/approvals")).json()["items"]
    assert item["job_id"] == job_id and item["approval_status"] == "pending"
    summary = item["decision_summary"]
    assert (summary["amount"], summary["currency"], summary["vendor"]) == (950, "EUR", "ACME")
    assert (summary["completeness"], summary["context_status"], summary["why"]) == (
        "rich",
        "available",
        "a person first",
    )
    assert item["blast_radius"]["systems"] == ["ledger"] and item["blast_radius"]["namespaces"] == ["prod"]
    assert "payments.send" in item["blast_radius"]["scope_description"] and item["rollback_hint"] == "book it back"
    assert item["policy_snapshot_summary"]["matched_rule"]["id"] == "ask"
    assert (item["approvals"], item["required"], item["approvers"], item["roles"]) == (0, 1, [], [])
    assert item["expires_at"].endswith("Z") and 0 < item["time_remaining_ms"] <= 72 * 3_600_000
    shown = item["job_input"]["context"]
    assert shown["password"] == "[REDACTED]" and "ghp_" not in shown["headers"][0] and shown["amount"] == 950


async def test_a_workflow_gate_is_summed_up_by_its_workflow(world: World, api: httpx.AsyncClient) -> None:
    context = {
        "kind": "workflow_approval_context",
        "version": 1,
        "workflow": {"workflow_id": "wf", "step_name": "Pay the invoice"},
        "decision": {"amount": 5},
    }
    labels = {"gate_type": "workflow_approval", "workflow_id": "wf", "run_id": "r", "step_id": "s"}
    await park(api, topic="job.cordum.approval-gate", context=context, labels=labels)
    [item] = (await (await world.client(BOB)).get("/api/v1/approvals")).json()["items"]
    assert item["gate_type"] == "workflow_approval" and item["workflow_run_id"] == "r"
    assert item["decision_summary"]["next_effect"] == "the workflow goes on"


async def test_a_large_input_is_only_hinted_at(world: World, api: httpx.AsyncClient) -> None:
    job_id = await park(api, context={"text": "x" * 20_000})
    bob = await world.client(BOB)
    [item] = (await bob.get("/api/v1/approvals")).json()["items"]
    assert item["job_input"]["truncated"] and item["job_input"]["size_bytes"] > 20_000
    alone = (await bob.get(f"/api/v1/approvals/{job_id}/context")).json()
    assert len(alone["approval"]["job_input"]["context"]["text"]) == 20_000


async def test_the_context_of_an_approval_tells_of_earlier_ones(world: World, api: httpx.AsyncClient) -> None:
    bob = await world.client(BOB)
    earlier = [await park(api) for _ in range(12)]
    for n, job_id in enumerate(earlier):
        await bob.post(f"/api/v1/approvals/{job_id}/{'reject' if n == 11 else 'approve'}")
    job_id = await park(api)
    body = (await bob.get(f"/api/v1/approvals/{job_id}/context")).json()
    prior = body["prior_approvals"]
    assert [one["job_id"] for one in prior] == earlier[:1:-1]
    assert (prior[0]["was_approved"], prior[0]["decision"], prior[1]["was_approved"]) == (False, "reject", True)
    assert prior[0]["resolved_by"] == "bob" and prior[0]["resolved_at"] > 0
    assert body["time_remaining_ms"] > 0 and body["approval"]["state"] == "APPROVAL_REQUIRED"
    assert body["policy_snapshot_summary"]["rule_count"] == 1 and body["constraints"] is None
    for client, path in ((bob, "nobody"), (await world.client(STRANGER), job_id)):
        assert (await client.get(f"/api/v1/approvals/{path}/context")).status_code == 404


async def test_a_reason_keeps_no_secret(world: World, api: httpx.AsyncClient) -> None:
    job_id = await park(api)
    bob = await world.client(BOB)
    await bob.post(f"/api/v1/approvals/{job_id}/approve", json={"reason": "key AKIAABCDEFGHIJKLMNOP is fine"})
    record = await world.store.jobs.get(job_id)
    assert record is not None and record.approval_reason == "key [REDACTED] is fine"


async def test_the_default_key_of_the_submitter_sees_its_own_approvals(world: World) -> None:
    alice = await world.client(ALICE)
    job_id = await park(alice)
    assert await listed(alice, 10) == [[job_id]]
