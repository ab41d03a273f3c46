"""Approvals: who may give them, what they are bound to, and that one word counts."""

import asyncio

import httpx
import pytest
from cap.pb.cordum.agent.v1 import job_pb2
from cordum_guard.client import CordumClient

from cordum.bus import CoreMessage, envelope, subjects
from cordum.core.ids import JobId
from cordum.core.jobs.states import JobState

from .conftest import AGENT, ALICE, BOB, POLICY, STRANGER, VIEWER, MakeWorld, World, eventually


async def park(client: httpx.AsyncClient, **fields: object) -> JobId:
    answer = await client.post("/api/v1/jobs", json={"prompt": "pay", "risk_tags": ["payment"], **fields})
    assert answer.json()["status"] == "approval_required"
    return JobId(answer.json()["job_id"])


@pytest.mark.seed("S237")
async def test_a_second_person_approves_and_the_job_goes_on(world: World, api: httpx.AsyncClient) -> None:
    job_id = await park(api)
    heard: asyncio.Queue[job_pb2.JobRequest] = asyncio.Queue()
    outside = await world.outside()

    async def keep(message: CoreMessage) -> None:
        heard.put_nowait(envelope.decode(message.data).job_request)

    await outside.subscribe(subjects.JOB_SUBMIT, keep)
    await outside.ping()
    bob = await world.client(BOB)

    answer = await bob.post(f"/api/v1/approvals/{job_id}/approve", json={"reason": "checked", "note": "n" * 600})

    told = answer.json()
    assert answer.status_code == 200 and (told["status"], told["approved_by"]) == ("approved", "bob")
    request = await asyncio.wait_for(heard.get(), 5)
    assert request.job_id == job_id and "approval_granted" not in request.labels
    record = await world.store.jobs.get(job_id)
    assert record is not None and record.state is JobState.PENDING
    assert (record.approval_by, record.approval_role, record.approval_reason) == ("bob", "operator", "checked")
    assert record.approval_at and record.approval_policy_snapshot == record.safety_snapshot
    assert record.approval_job_hash == record.safety_job_hash and len(record.approval_note) == 512
    assert record.approval_publish_status == "published"

    again = (await bob.post(f"/api/v1/approvals/{job_id}/approve")).json()
    assert (again["status"], again["approved_by"]) == ("already_approved", "bob") and again["approved_at"]
    other = await bob.post(f"/api/v1/approvals/{job_id}/reject")
    assert (other.status_code, other.json()["code"]) == (409, "approval_already_resolved")


async def test_nobody_approves_their_own_job(world: World, api: httpx.AsyncClient) -> None:
    job_id = await park(api)
    for word in ("approve", "reject"):
        answer = await api.post(f"/api/v1/approvals/{job_id}/{word}")
        assert (answer.status_code, answer.json()["code"]) == (403, "self_approval_denied")
        assert "another person" in answer.json()["error"]
    record = await world.store.jobs.get(job_id)
    assert record is not None and record.state is JobState.APPROVAL_REQUIRED


async def test_the_same_person_with_another_key_is_the_same_person(make_world: MakeWorld) -> None:
    keys = "default:key-one-0123456789:admin:alice,default:key-two-0123456789:admin:alice"
    world = await make_world(keys=keys)
    job_id = await park(await world.client("key-one-0123456789"))
    answer = await (await world.client("key-two-0123456789")).post(f"/api/v1/approvals/{job_id}/approve")
    assert answer.json()["code"] == "self_approval_denied"


async def test_a_header_does_not_make_another_person(world: World) -> None:
    agent = await world.client(AGENT, **{"X-Principal-Id": "one"})
    job_id = await park(agent)
    disguised = await world.client(BOB, **{"X-Principal-Id": "one"})
    assert (await disguised.post(f"/api/v1/approvals/{job_id}/approve")).status_code == 200


async def test_a_rejection_ends_the_job_in_the_dead_letters(world: World, api: httpx.AsyncClient) -> None:
    job_id = await park(api)
    bob = await world.client(BOB)
    answer = await bob.post(f"/api/v1/approvals/{job_id}/reject", json={"reason": "too much"})
    assert answer.status_code == 200 and answer.json()["status"] == "rejected"
    shown = (await api.get(f"/api/v1/jobs/{job_id}")).json()
    assert (shown["state"], shown["error_code"], shown["approval_by"]) == ("DENIED", "approval_rejected", "bob")
    [entry] = (await api.get("/api/v1/dlq")).json()["items"]
    assert (entry["reason_code"], entry["last_state"]) == ("approval_rejected", "APPROVAL_REQUIRED")
    again = (await bob.post(f"/api/v1/approvals/{job_id}/reject")).json()
    assert (again["status"], again["rejected_by"]) == ("already_rejected", "bob")


async def test_of_many_who_decide_at_once_one_counts(world: World, api: httpx.AsyncClient) -> None:
    job_id = await park(api)
    bob = await world.client(BOB)
    answers = await asyncio.gather(
        *(bob.post(f"/api/v1/approvals/{job_id}/{word}") for word in ("approve", "reject") * 6)
    )
    words = [answer.json().get("status") for answer in answers]
    assert words.count("approved") + words.count("rejected") == 1
    assert {answer.status_code for answer in answers} <= {200, 409}


async def test_who_may_not_approve(world: World, api: httpx.AsyncClient) -> None:
    job_id = await park(api)
    for key, status in ((VIEWER, 403), (AGENT, 403), (STRANGER, 404)):
        client = await world.client(key)
        assert (await client.post(f"/api/v1/approvals/{job_id}/approve")).status_code == status
    bob = await world.client(BOB)
    assert (await bob.post("/api/v1/approvals/unknown/approve")).status_code == 404
    running = (await api.post("/api/v1/jobs", json={"prompt": "x"})).json()["job_id"]
    refused = await bob.post(f"/api/v1/approvals/{running}/approve")
    assert (refused.status_code, refused.json()["code"]) == (409, "approval_not_actionable")
    assert (await bob.post(f"/api/v1/approvals/{job_id}/approve", json={"reson": "typo"})).status_code == 400


async def test_an_approval_is_bound_to_the_policy_of_today(world: World, api: httpx.AsyncClient) -> None:
    denied_now, still_asked = await park(api, labels={"kind": "big"}), await park(api)
    bob = await world.client(BOB)
    before = (await bob.get("/api/v1/policy/snapshots")).json()["snapshots"][0]
    rule = "  - {id: no-big, match: {labels: {kind: big}}, decision: deny, reason: not any more}\n"
    world.policy.write_text(POLICY.replace("rules:\n", "rules:\n" + rule))

    async def reloaded() -> bool:
        newest: str = (await bob.get("/api/v1/policy/snapshots")).json()["snapshots"][0]
        return bool(newest != before)

    await eventually(reloaded)
    refused = await bob.post(f"/api/v1/approvals/{denied_now}/approve")
    assert (refused.status_code, refused.json()["code"]) == (409, "approval_stale_snapshot")
    assert (await bob.post(f"/api/v1/approvals/{still_asked}/approve")).status_code == 200
    record = await world.store.jobs.get(still_asked)
    assert record is not None and record.approval_policy_snapshot == record.safety_snapshot != before


async def test_a_changed_request_is_not_what_was_to_be_approved(world: World, api: httpx.AsyncClient) -> None:
    job_id = await park(api)
    await world.store.jobs.annotate(
        job_id, {"safety_job_hash": "0" * 64}, allowed_from=frozenset({JobState.APPROVAL_REQUIRED})
    )
    answer = await (await world.client(BOB)).post(f"/api/v1/approvals/{job_id}/approve")
    assert (answer.status_code, answer.json()["code"]) == (409, "approval_stale_request")


async def test_the_list_shows_what_waits_and_what_was_decided(world: World, api: httpx.AsyncClient) -> None:
    first, second = await park(api, context={"amount": 5}), await park(api)
    bob = await world.client(BOB)
    await bob.post(f"/api/v1/approvals/{first}/approve")
    items = (await bob.get("/api/v1/approvals")).json()["items"]
    assert [(item["job_id"], item["approval_status"]) for item in items] == [(second, "pending"), (first, "approved")]
    assert items[1]["job_input"]["context"] == {"amount": 5} and items[1]["resolved_by"] == "bob"
    for item in items:
        assert item["topic"] == "job.default" and item["tenant_id"] == "default" and item["risk_tags"] == ["payment"]
        assert item["capability"] == "" and item["reason"] == "a person first" and item["created_at"].endswith("Z")
    pending = (await bob.get("/api/v1/approvals?include_resolved=false")).json()["items"]
    assert [item["job_id"] for item in pending] == [second]
    assert (await (await world.client(STRANGER)).get("/api/v1/approvals")).json()["items"] == []


async def test_the_published_guard_lists_and_approves(world: World, api: httpx.AsyncClient) -> None:
    job_id = await park(api)

    def as_guard() -> list[str]:
        with CordumClient(world.url, BOB) as guard:
            listed = [entry.job_id for entry in guard.list_approvals()]
            guard.approve_job(job_id)
        with CordumClient(world.url, ALICE) as guard:
            listed.append(guard.get_job(job_id).state)
        return listed

    assert await asyncio.to_thread(as_guard) == [job_id, "PENDING"]
