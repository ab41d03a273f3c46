"""The dead-letter queue over HTTP."""

import asyncio

import httpx
import pytest
from cap.pb.cordum.agent.v1 import job_pb2

from cordum.bus import CoreMessage, envelope, subjects
from cordum.core.ids import JobId, TenantId
from cordum.store import DeadLetter

from .conftest import STRANGER, World, eventually


async def bury(api: httpx.AsyncClient, **fields: object) -> str:
    answer = await api.post("/api/v1/jobs", json={"prompt": "x", "risk_tags": ["destructive"], **fields})
    assert answer.status_code == 403
    job_id: str = answer.json()["job_id"]
    return job_id


@pytest.mark.seed("S185")
async def test_a_tenant_sees_its_own_newest_entries(world: World, api: httpx.AsyncClient) -> None:
    made = [await bury(api) for _ in range(12)]
    items = (await api.get("/api/v1/dlq?limit=10", headers={"X-Tenant-ID": "default"})).json()["items"]
    assert [item["job_id"] for item in items] == made[:1:-1]
    for item in items:
        assert item["topic"] == "job.default" and item["reason"].startswith("safety: denied") and item["created_at"]
        assert (item["id"], item["error"], item["failed_at"]) == (item["job_id"], item["reason"], item["created_at"])
    assert (await (await world.client(None)).get("/api/v1/dlq")).status_code == 401
    stranger = await world.client(STRANGER)
    assert (await stranger.get("/api/v1/dlq")).json()["items"] == []
    assert (await stranger.delete(f"/api/v1/dlq/{made[0]}")).status_code == 404
    assert (await stranger.post(f"/api/v1/dlq/{made[0]}/retry")).status_code == 404


async def test_entries_come_in_pages(api: httpx.AsyncClient) -> None:
    made = [await bury(api) for _ in range(5)]
    first = await api.get("/api/v1/dlq/page?limit=3")
    assert [item["job_id"] for item in first.json()["items"]] == made[:1:-1]
    second = await api.get(first.links["next"]["url"])
    assert [item["job_id"] for item in second.json()["items"]] == made[1::-1]
    assert second.json()["next_cursor"] is None


@pytest.mark.seed("S192")
async def test_an_entry_is_removed_once(api: httpx.AsyncClient) -> None:
    job_id = await bury(api)
    assert (await api.delete(f"/api/v1/dlq/{job_id}")).status_code == 204
    gone = await api.delete(f"/api/v1/dlq/{job_id}")
    assert (gone.status_code, gone.json()["code"]) == (404, "dlq_entry_not_found")
    assert (await api.get("/api/v1/dlq")).json()["items"] == []
    assert (await api.get(f"/api/v1/jobs/{job_id}")).status_code == 200


@pytest.mark.seed("S191")
async def test_a_retry_is_a_new_job_that_asks_for_the_same(world: World, api: httpx.AsyncClient) -> None:
    heard: asyncio.Queue[job_pb2.JobRequest] = asyncio.Queue()
    outside = await world.outside()

    async def keep(message: CoreMessage) -> None:
        heard.put_nowait(envelope.decode(message.data).job_request)

    await outside.subscribe(subjects.JOB_SUBMIT, keep)
    await outside.ping()
    job_id = await bury(
        api, context={"n": 1}, labels={"team": "x"}, priority="critical", deadline_ms=5000, idempotency_key="k"
    )

    answer = await api.post(f"/api/v1/dlq/{job_id}/retry")

    told = answer.json()
    assert answer.status_code == 200 and told["job_id"].startswith(f"{job_id}-retry-")
    assert len(told["job_id"]) == len(job_id) + len("-retry-") + 8
    request = await asyncio.wait_for(heard.get(), 5)
    assert request.job_id == told["job_id"] and request.context_ptr == f"redis://ctx:{told['job_id']}"
    assert dict(request.labels) == {
        "_source": "api", "team": "x", "retry": "true", "dlq_entry": job_id, "retry_of_job": job_id,
    }  # fmt: skip
    assert request.env["retry_of_job"] == job_id
    assert request.priority == job_pb2.JOB_PRIORITY_CRITICAL and request.budget.deadline_ms == 5000
    shown = (await api.get(f"/api/v1/jobs/{told['job_id']}")).json()
    assert (shown["state"], shown["trace_id"]) == ("PENDING", f"dlq-retry-{job_id}")
    assert shown["context"]["context"] == {"n": 1} and shown["risk_tags"] == ["destructive"]
    assert (await api.get("/api/v1/dlq")).json()["items"] == []
    assert (await api.post(f"/api/v1/dlq/{job_id}/retry")).status_code == 404


async def test_what_cannot_be_tried_again_says_so(world: World, api: httpx.AsyncClient) -> None:
    for job_id, topic, status in (("gone", "job.x", 409), ("aimless", "", 400)):
        await world.store.dead_letters.add(DeadLetter(job_id=JobId(job_id), tenant=TenantId("default"), topic=topic))
        assert (await api.post(f"/api/v1/dlq/{job_id}/retry")).status_code == status
    assert len((await api.get("/api/v1/dlq")).json()["items"]) == 2


@pytest.mark.seed("S184")
async def test_the_gauges_say_what_the_list_says(world: World, api: httpx.AsyncClient) -> None:
    from cordum.runtime import metrics

    for _ in range(3):
        await bury(api)

    async def counted() -> bool:
        text = metrics.exposition("cordum-api-gateway")[0].decode()
        return "cordum_dlq_entries 3.0" in text and "cordum_dlq_depth 3.0" in text

    await eventually(counted, 12)
    assert len((await api.get("/api/v1/dlq")).json()["items"]) == 3
