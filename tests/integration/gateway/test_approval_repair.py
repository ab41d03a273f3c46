"""Approvals that are stuck: what is found, what mends it, and that nothing else is touched."""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from cordum.core.ids import JobId, TenantId
from cordum.core.jobs import approvals
from cordum.core.jobs.approvals import Resolution
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.runtime.clock import SystemClock, unix_micros
from cordum.store.keys import job_lock

from .conftest import BOB, POLICY, STRANGER, VIEWER, World, eventually
from .test_approvals import park


async def stored(world: World, job_id: JobId) -> JobRecord:
    record = await world.store.jobs.get(job_id)
    assert record is not None
    return record


async def annotate(world: World, job_id: JobId, fields: Mapping[str, str]) -> None:
    """Leaves a record as a crash, or an older version, may have left it."""
    assert await world.store.jobs.annotate(job_id, fields, allowed_from=frozenset(JobState))


async def repaired(world: World, job_id: JobId, *, apply: bool) -> dict[str, Any]:
    bob = await world.client(BOB)
    answer = await bob.post(f"/api/v1/approvals/{job_id}/repair", json={"apply": apply, "note": "stuck"})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def resolve(world: World, job_id: JobId, word: str) -> None:
    """Somebody decides and dies before anything is published."""
    record = await stored(world, job_id)
    now = unix_micros(SystemClock())
    made = Resolution(by="ann", role="admin", reason="r", at=now)
    change = approvals.approve(record, made) if word == "approve" else approvals.reject(record, made)
    await world.store.jobs.apply(job_id, change, now=now, known=record)


async def assert_sound(world: World, job_id: JobId) -> None:
    body = await repaired(world, job_id, apply=False)
    assert (body["repairable"], body["plan"]) == (False, {"kind": "none"})


async def test_an_approval_that_is_well_is_left_alone(world: World, api: httpx.AsyncClient) -> None:
    job_id = await park(api)
    await assert_sound(world, job_id)
    refused = await (await world.client(BOB)).post(f"/api/v1/approvals/{job_id}/repair", json={"apply": True})
    assert (refused.status_code, refused.json()["code"]) == (409, "not_repairable")
    assert (await stored(world, job_id)).approval_status == "pending"


@pytest.mark.parametrize("word", ["approve", "reject"])
async def test_what_was_not_published_is_published(world: World, api: httpx.AsyncClient, word: str) -> None:
    job_id = await park(api)
    await resolve(world, job_id, word)
    found = await repaired(world, job_id, apply=False)
    assert found["plan"]["kind"] == "replay_pending_publish" and not found["applied"] and found["repairable"]
    assert (await stored(world, job_id)).approval_publish_status == "pending", "looking changes nothing"

    done = await repaired(world, job_id, apply=True)
    assert done["applied"] and done["plan"]["kind"] == "replay_pending_publish"
    assert (await stored(world, job_id)).approval_publish_status == "published"
    if word == "reject":
        letter = await world.store.dead_letters.get(TenantId("default"), job_id)
        assert letter is not None and letter.reason_code == "approval_rejected"
    await assert_sound(world, job_id)


@pytest.mark.parametrize(
    ("status", "kind", "state"),
    [
        ("approved", "apply_approved_resolution", JobState.PENDING),
        ("rejected", "apply_rejected_resolution", JobState.DENIED),
    ],
)
async def test_what_was_decided_and_not_done_is_done(
    world: World, api: httpx.AsyncClient, status: str, kind: str, state: JobState
) -> None:
    job_id = await park(api)
    await annotate(world, job_id, {"approval_status": status, "approval_by": "ann", "approval_reason": "so"})
    done = await repaired(world, job_id, apply=True)
    assert (done["plan"]["kind"], done["applied"], done["state"]) == (kind, True, state.value)
    record = await stored(world, job_id)
    assert (record.state, record.approval_status, record.approval_by) == (state, status, "ann")
    assert record.approval_publish_status == "published"
    await assert_sound(world, job_id)


async def denied_today(world: World, job_id: JobId) -> None:
    bob = await world.client(BOB)
    before = (await bob.get("/api/v1/policy/snapshots")).json()["snapshots"][0]
    rule = "  - {id: no-pay, match: {risk_tags: [payment]}, decision: deny, reason: not any more}\n"
    world.policy.write_text(POLICY.replace("rules:\n", "rules:\n" + rule))

    async def reloaded() -> bool:
        return bool((await bob.get("/api/v1/policy/snapshots")).json()["snapshots"][0] != before)

    await eventually(reloaded)


@pytest.mark.parametrize("kind", ["invalidate_terminal_run", "invalidate_stale_request", "invalidate_stale_snapshot"])
async def test_what_can_never_be_approved_is_put_away(world: World, api: httpx.AsyncClient, kind: str) -> None:
    job_id = await park(api, labels={"run_id": "r1"})
    match kind:
        case "invalidate_terminal_run":
            await world.store._batcher.submit([("SET", "wf:run:r1", '{"status":"failed"}')])
        case "invalidate_stale_request":
            await annotate(world, job_id, {"safety_job_hash": "0" * 64})
        case _:
            await denied_today(world, job_id)
    assert (await repaired(world, job_id, apply=False))["plan"]["kind"] == kind
    done = await repaired(world, job_id, apply=True)
    assert done["applied"] and done["approval"]["approval_status"] == "invalidated"
    record = await stored(world, job_id)
    assert (record.state, record.error_code) == (JobState.DENIED, "approval_invalidated")
    assert (record.approval_actionability, record.approval_decision) == ("invalidated", "invalidate")
    letter = await world.store.dead_letters.get(TenantId("default"), job_id)
    assert letter is not None and letter.reason_code == "approval_invalidated"
    refused = await (await world.client(BOB)).post(f"/api/v1/approvals/{job_id}/approve")
    assert (refused.status_code, refused.json()["code"]) == (409, "approval_already_resolved")


async def test_a_repair_is_written_down(world: World, api: httpx.AsyncClient) -> None:
    job_id = await park(api)
    await resolve(world, job_id, "approve")
    await repaired(world, job_id, apply=True)
    found = await world.store.audit.page(TenantId("default"), lambda event: event.action == "repair", limit=5, offset=0)
    [event] = found.items
    assert (event.actor_id, event.job_id, event.reason) == ("bob", job_id, "stuck")
    assert event.extra["kind"] == "replay_pending_publish"


async def test_two_do_not_repair_at_once(world: World, api: httpx.AsyncClient) -> None:
    job_id = await park(api)
    await resolve(world, job_id, "approve")
    lease = await world.store.leases.acquire(job_lock(job_id), 10.0)
    assert lease is not None
    bob = await world.client(BOB)
    busy = await bob.post(f"/api/v1/approvals/{job_id}/repair", json={"apply": True})
    assert (busy.status_code, busy.json()["code"]) == (409, "approval_retryable_lock")
    await world.store.leases.release(lease)
    assert (await repaired(world, job_id, apply=True))["applied"]


async def test_who_may_not_repair(world: World, api: httpx.AsyncClient) -> None:
    job_id = await park(api)
    for key, status in ((VIEWER, 403), (STRANGER, 404)):
        client = await world.client(key)
        assert (await client.post(f"/api/v1/approvals/{job_id}/repair")).status_code == status
    plain = (await api.post("/api/v1/jobs", json={"prompt": "x"})).json()["job_id"]
    assert (await (await world.client(BOB)).post(f"/api/v1/approvals/{plain}/repair")).status_code == 404
