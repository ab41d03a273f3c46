"""Submitting jobs: what is stored, what is published, what the caller is told."""

import asyncio
from typing import Any

import httpx
import pytest

from cordum.bus import CoreMessage, envelope, subjects
from cordum.core.ids import JobId, TenantId
from cordum.core.jobs.states import JobState
from cordum.embedded.servers import Server
from cordum.services.gateway import protojson

from .conftest import AGENT, BOB, STRANGER, VIEWER, MakeWorld, World, eventually


async def listen(world: World, subject: str) -> asyncio.Queue[Any]:
    """The packets that come over a subject, seen from outside the gateway's own connection."""
    packets: asyncio.Queue[Any] = asyncio.Queue()
    outside = await world.outside()

    async def keep(message: CoreMessage) -> None:
        packets.put_nowait(envelope.decode(message.data))

    await outside.subscribe(subject, keep)
    await outside.ping()
    return packets


async def test_an_allowed_job_is_stored_and_published(world: World, api: httpx.AsyncClient) -> None:
    published = await listen(world, subjects.JOB_SUBMIT)
    body = {
        "prompt": "say hello",
        "topic": "job.default",
        "context": {"deep": [1, 2, {"x": None}]},
        "labels": {"team": "blue", "_hidden": "x", "approval_granted": "true"},
        "risk_tags": ["low"],
        "capability": "greet",
        "priority": "critical",
        "deadline_ms": 60_000,
    }

    answer = await api.post("/api/v1/jobs", json=body)

    assert answer.status_code == 200
    told = answer.json()
    assert told["status"] == "accepted"
    assert answer.headers["x-trace-id"] == told["trace_id"]
    packet = await asyncio.wait_for(published.get(), 5)
    request = packet.job_request
    assert (packet.sender_id, packet.trace_id) == ("api-gateway-http", told["trace_id"])
    assert dict(request.labels) == {"team": "blue", "_source": "api"}
    assert dict(request.env)["max_input_tokens"] == "8000"
    assert request.context_ptr == f"redis://ctx:{told['job_id']}"
    stored = await world.store.jobs.request(JobId(told["job_id"]))
    assert stored is not None and protojson.decode(stored) == request
    shown = (await api.get(f"/api/v1/jobs/{told['job_id']}")).json()
    assert shown["state"] == "PENDING"
    assert shown["safety_decision"] == "ALLOW" and shown["safety_rule_id"] == "yes"
    assert shown["context"]["context"] == {"deep": [1, 2, {"x": None}]}
    assert shown["deadline_unix"] == shown["created_at"] + 60_000_000
    assert shown["job_id"] == shown["id"] and shown["tenant_id"] == "default" and shown["failure_reason"] == ""


async def test_a_denied_job_is_kept_and_refused(world: World, api: httpx.AsyncClient) -> None:
    answer = await api.post("/api/v1/jobs", json={"prompt": "rm", "risk_tags": ["destructive"]})

    assert answer.status_code == 403
    told = answer.json()
    assert (told["error"], told["code"], told["status"]) == ("never destroy", "policy_denied", 403)
    assert told["outcome"] == "denied" and told["trace_id"]
    shown = (await api.get(f"/api/v1/jobs/{told['job_id']}")).json()
    assert shown["state"] == "DENIED" and shown["error_code"] == "policy_denied"
    assert shown["failure_reason"] == "safety: denied: never destroy"
    [entry] = (await api.get("/api/v1/dlq")).json()["items"]
    assert entry["job_id"] == told["job_id"] and entry["reason_code"] == "policy_denied"
    assert entry["reason"].startswith("safety: denied")
    [decision] = (await api.get(f"/api/v1/jobs/{told['job_id']}/decisions")).json()
    assert decision["decision"] == decision["action"] == "DENY" and decision["evaluated_at"].endswith("Z")


async def test_a_job_that_needs_approval_is_parked(world: World, api: httpx.AsyncClient) -> None:
    published = await listen(world, subjects.JOB_SUBMIT)

    answer = await api.post("/api/v1/jobs", json={"prompt": "pay", "risk_tags": ["payment"]})

    told = answer.json()
    assert answer.status_code == 200
    assert (told["status"], told["reason"]) == ("approval_required", "a person first")
    record = await world.store.jobs.get(JobId(told["job_id"]))
    assert record is not None and record.state is JobState.APPROVAL_REQUIRED
    assert record.approval_status == "pending" and record.safety_job_hash
    assert published.empty()


async def test_a_throttled_job_is_not_stored(world: World, api: httpx.AsyncClient) -> None:
    answer = await api.post(
        "/api/v1/jobs", json={"prompt": "x", "topic": "job.slow"}, headers={"Idempotency-Key": "t1"}
    )

    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "30"
    assert answer.json()["code"] == "policy_throttled"
    assert (await api.get("/api/v1/jobs")).json()["items"] == []
    again = await world.store.jobs.claim_idempotency_key(TenantId("default"), "t1", JobId("free"))
    assert again is None


@pytest.mark.parametrize(("tags", "status", "word"), [([], 200, "duplicate"), (["payment"], 200, "approval_required")])
async def test_a_repetition_is_told_the_same(api: httpx.AsyncClient, tags: list[str], status: int, word: str) -> None:
    body = {"prompt": "once", "risk_tags": tags}
    first = await api.post("/api/v1/jobs", json={**body, "idempotency_key": "k1"})

    second = await api.post("/api/v1/jobs", json=body, headers={"Idempotency-Key": "k1"})

    assert (first.status_code, second.status_code) == (status, status)
    assert second.json()["job_id"] == first.json()["job_id"]
    assert second.json()["status"] == word and second.json()["replayed"] is True
    assert len((await api.get("/api/v1/jobs")).json()["items"]) == 1


async def test_a_repetition_of_a_denied_submit_is_denied(api: httpx.AsyncClient) -> None:
    body = {"prompt": "x", "risk_tags": ["destructive"], "idempotency_key": "k2"}
    first, second = [await api.post("/api/v1/jobs", json=body) for _ in range(2)]

    assert first.status_code == second.status_code == 403
    assert first.json()["job_id"] == second.json()["job_id"]


async def test_two_submits_under_one_key_at_once_make_one_job(api: httpx.AsyncClient) -> None:
    body = {"prompt": "x", "idempotency_key": "k3"}
    answers = await asyncio.gather(*(api.post("/api/v1/jobs", json=body) for _ in range(8)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["job_id"] for answer in answers}) == 1
    assert sorted(answer.json()["status"] for answer in answers) == ["accepted"] + ["duplicate"] * 7


async def test_a_key_whose_holder_died_is_taken_over(
    world: World, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cordum.services.gateway.submit.service.RESERVATION_PATIENCE_SECONDS", 0.3)
    await world.store.jobs.claim_idempotency_key(TenantId("default"), "orphan", JobId("never-written"))
    first, second = [
        await api.post("/api/v1/jobs", json={"prompt": "x", "idempotency_key": "orphan"}) for _ in range(2)
    ]
    assert first.json()["status"] == "accepted" and second.json()["status"] == "duplicate"
    assert first.json()["job_id"] == second.json()["job_id"] != "never-written"


async def test_a_submit_is_one_round_trip(world: World, api: httpx.AsyncClient) -> None:
    await api.post("/api/v1/jobs", json={"prompt": "warm"})
    before = world.store.round_trips
    for _ in range(20):
        await api.post("/api/v1/jobs", json={"prompt": "x"})
    # Health checks and gauges go on meanwhile.
    assert world.store.round_trips - before <= 20 + 8


async def test_an_idempotency_key_belongs_to_its_tenant(world: World, api: httpx.AsyncClient) -> None:
    other = await world.client(STRANGER)
    body = {"prompt": "x", "idempotency_key": "shared"}
    ours, theirs = (await api.post("/api/v1/jobs", json=body)), (await other.post("/api/v1/jobs", json=body))
    assert ours.json()["job_id"] != theirs.json()["job_id"]


@pytest.mark.seed("S102")
async def test_an_unknown_topic_is_refused(
    world: World, api: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    await world.register(job_default="active", job_old="disabled")
    unknown = await api.post("/api/v1/jobs", json={"prompt": "x", "topic": "job.nope"})
    disabled = await api.post("/api/v1/jobs", json={"prompt": "x", "topic": "job.old"})
    known = await api.post("/api/v1/jobs", json={"prompt": "x"})

    assert unknown.status_code == 400 and unknown.json()["code"] == unknown.json()["error_code"] == "unknown_topic"
    assert unknown.json()["registered_topics"] == ["job.default", "job.old"]
    assert disabled.status_code == 400 and disabled.json()["code"] == "topic_disabled"
    assert known.status_code == 200
    assert '"event":"unknown_topic"' in capsys.readouterr().out


async def test_a_topic_registered_a_moment_ago_is_found(world: World, api: httpx.AsyncClient) -> None:
    await world.register(job_default="active")
    document = await world.store.configs.get("system", "topics")
    assert document is not None
    data = {**document.data, "job.fresh": {"name": "job.fresh"}}
    await world.store.configs.put("system", "topics", data, document.revision)

    async def accepted() -> bool:
        return (await api.post("/api/v1/jobs", json={"prompt": "x", "topic": "job.fresh"})).status_code == 200

    await eventually(accepted, 5)


async def test_without_the_kernel_a_job_waits_and_is_not_allowed(make_world: MakeWorld) -> None:
    world = await make_world()
    api = await world.client()
    await world.stop_kernel()

    answer = await api.post("/api/v1/jobs", json={"prompt": "x", "risk_tags": ["destructive"]})

    assert answer.status_code == 200 and answer.json()["reason"] == "safety_unavailable"
    shown = (await api.get(f"/api/v1/jobs/{answer.json()['job_id']}")).json()
    assert shown["state"] == "PENDING" and shown["pending_reason"] == "safety_unavailable"
    assert shown["safety_decision"] == ""
    refused = await api.post("/api/v1/policy/evaluate", json={"topic": "job.default"})
    assert refused.status_code == 503 and refused.json()["code"] == "safety_unavailable"
    assert refused.headers["retry-after"]


@pytest.mark.seed("S179")
async def test_without_nats_a_job_is_kept_for_replay(world: World, api: httpx.AsyncClient, nats_server: Server) -> None:
    await nats_server.kill()

    answer = await api.post("/api/v1/jobs", json={"prompt": "x"}, timeout=30)

    assert answer.status_code == 200
    record = await world.store.jobs.get(JobId(answer.json()["job_id"]))
    assert record is not None and record.state is JobState.PENDING

    async def not_ready() -> bool:
        return (await api.get("/readyz")).status_code == 503

    await eventually(not_ready)
    assert (await api.get("/readyz")).json()["checks"]["nats"] != "ok"


@pytest.mark.seed("S173")
async def test_without_redis_answers_are_503_in_bounded_time_and_recover(
    world: World, api: httpx.AsyncClient, redis_server: Server
) -> None:
    await redis_server.kill()
    for method, path in (("GET", "/api/v1/jobs"), ("GET", "/api/v1/dlq"), ("GET", "/api/v1/jobs/x")):
        async with asyncio.timeout(8):
            answer = await api.request(method, path)
        assert answer.status_code == 503 and answer.json()["code"] == "store_unavailable", path
    async with asyncio.timeout(8):
        submitted = await api.post("/api/v1/jobs", json={"prompt": "x"})
    assert submitted.status_code == 503 and submitted.headers["retry-after"]

    async def ready() -> bool:
        return (await api.get("/readyz")).status_code == 200

    async def not_ready() -> bool:
        return not await ready()

    await eventually(not_ready)

    await redis_server.restart()
    await eventually(ready, 20)
    assert (await api.get("/api/v1/jobs")).status_code == 200


async def test_who_may_submit(world: World) -> None:
    for key, status in ((AGENT, 200), (BOB, 200), (VIEWER, 403)):
        client = await world.client(key)
        answer = await client.post("/api/v1/jobs", json={"prompt": "x"})
        assert answer.status_code == status, key
    assert answer.json()["code"] == "access_denied"


async def test_the_body_may_not_name_another_tenant_or_principal(api: httpx.AsyncClient) -> None:
    for extra, code in (
        ({"tenant_id": "other"}, "tenant_access_denied"),
        ({"principal_id": "bob"}, "principal_access_denied"),
    ):
        answer = await api.post("/api/v1/jobs", json={"prompt": "x", **extra})
        assert answer.status_code == 403 and answer.json()["code"] == code
    fine = await api.post("/api/v1/jobs", json={"prompt": "x", "tenant_id": "default", "principal_id": "alice"})
    assert fine.status_code == 200
