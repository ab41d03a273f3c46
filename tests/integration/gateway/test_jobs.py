"""Reading, listing, waiting for and cancelling jobs."""

import asyncio
import time
from typing import Any

import httpx
import pytest
from cap.pb.cordum.agent.v1 import job_pb2

from cordum.bus import CoreMessage, envelope, messages, subjects
from cordum.core.ids import DispatchId, JobId, Micros, PoolName, WorkerId, micros
from cordum.core.jobs import lifecycle
from cordum.core.jobs.record import recorded_verdict
from cordum.services.gateway.jobs import waiting
from cordum.store import Applied

from .conftest import STRANGER, VIEWER, World, eventually

WORKER = WorkerId("w1")


async def submit(api: httpx.AsyncClient, **fields: Any) -> JobId:
    answer = await api.post("/api/v1/jobs", json={"prompt": "x", **fields})
    assert answer.status_code == 200, answer.text
    return JobId(answer.json()["job_id"])


async def run(world: World, job_id: JobId) -> None:
    """Puts a job to RUNNING, as the scheduler would."""
    record = await world.store.jobs.get(job_id)
    assert record is not None
    verdict = recorded_verdict(record)
    assert verdict is not None
    now = micros(time.time())
    change = lifecycle.dispatch(
        record, verdict, worker=WORKER, pool=PoolName("p"), dispatch_id=DispatchId("d"), now=now, deadline=Micros(0)
    )
    assert isinstance(await world.store.jobs.apply(job_id, change, now=now), Applied)


async def succeed(world: World, job_id: JobId, result: bytes = b'{"out": 1}') -> None:
    """Ends a running job, as worker and scheduler would: first the message, a moment later the record."""
    pointer = await report(world, job_id, result)
    await settle(world, job_id, pointer)


async def report(world: World, job_id: JobId, result: bytes = b'{"out": 1}') -> str:
    """The worker's part of an end."""
    pointer = await world.store.jobs.put_result(job_id, result)
    packet = envelope.packet(WORKER, "trace", time.time())
    packet.job_result.job_id = job_id
    packet.job_result.status = job_pb2.JOB_STATUS_SUCCEEDED
    packet.job_result.worker_id = WORKER
    outside = await world.outside()
    await outside.publish(
        subjects.JOB_RESULT, envelope.encode(packet), msg_id=messages.msg_id_result(subjects.JOB_RESULT, job_id)
    )
    return pointer


async def settle(world: World, job_id: JobId, pointer: str) -> None:
    """The scheduler's part of an end."""
    change = lifecycle.succeed(worker=WORKER, dispatch_id=DispatchId("d"), result_ptr=pointer)
    assert isinstance(await world.store.jobs.apply(job_id, change, now=micros(time.time())), Applied)


async def test_another_tenants_job_is_not_there(world: World, api: httpx.AsyncClient) -> None:
    job_id = await submit(api)
    stranger = await world.client(STRANGER)
    for method, path in (("GET", ""), ("GET", "/decisions"), ("POST", "/cancel")):
        answer = await stranger.request(method, f"/api/v1/jobs/{job_id}{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")
    assert (await stranger.get("/api/v1/jobs")).json()["items"] == []


async def test_a_finished_job_shows_its_result(world: World, api: httpx.AsyncClient) -> None:
    job_id = await submit(api)
    await run(world, job_id)
    await succeed(world, job_id)
    shown = (await api.get(f"/api/v1/jobs/{job_id}")).json()
    assert shown["state"] == "SUCCEEDED" and shown["result"] == {"out": 1}
    assert shown["result_ptr"] == f"redis://res:{job_id}" and shown["worker_id"] == "w1"


@pytest.mark.parametrize("result", [b"\xff\xfe", b'{"broken": ', b"[" * 5000])
async def test_a_result_that_is_no_json_does_not_break_the_answer(
    world: World, api: httpx.AsyncClient, result: bytes
) -> None:
    job_id = await submit(api)
    await run(world, job_id)
    await succeed(world, job_id, result)
    shown = (await api.get(f"/api/v1/jobs/{job_id}")).json()
    assert shown["result"] == result.decode(errors="replace")


async def test_lists_are_paged_newest_first(api: httpx.AsyncClient) -> None:
    made = [await submit(api, labels={"n": str(number)}) for number in range(7)]
    seen: list[str] = []
    path = "/api/v1/jobs?limit=3"
    while path:
        answer = await api.get(path)
        page = answer.json()
        seen += [item["id"] for item in page["items"]]
        following = answer.links.get("next", {}).get("url", "")
        assert bool(following) == (page["next_cursor"] is not None)
        path = following
    assert seen == made[::-1]


async def test_lists_can_be_narrowed(world: World, api: httpx.AsyncClient) -> None:
    other = await submit(api, topic="job.other", team_id="blue")
    waiting = await submit(api, risk_tags=["payment"])

    async def ids(query: str) -> list[str]:
        return [item["id"] for item in (await api.get(f"/api/v1/jobs?{query}")).json()["items"]]

    assert await ids("state=approval_required") == [waiting]
    assert await ids("state=PENDING,APPROVAL_REQUIRED") == [waiting, other]
    assert await ids("topic=job.other") == await ids("team=blue") == [other]
    record = await world.store.jobs.get(other)
    assert record is not None
    assert await ids(f"trace_id={record.trace_id}") == [other]
    assert await ids(f"updated_before={record.updated_at}") == [other]
    assert await ids(f"updated_after={record.updated_at + 1}") == [waiting]
    assert (await api.get("/api/v1/jobs?tenant=other")).status_code == 403


async def test_a_list_shows_what_has_changed(world: World, api: httpx.AsyncClient) -> None:
    job_id = await submit(api)
    assert (await api.get("/api/v1/jobs?limit=50")).json()["items"][0]["state"] == "PENDING"
    await run(world, job_id)
    item = (await api.get("/api/v1/jobs?limit=50")).json()["items"][0]
    assert (item["state"], item["worker_id"], item["job_id"], item["tenant_id"]) == ("RUNNING", "w1", job_id, "default")


async def test_waiting_ends_when_the_job_does(world: World, api: httpx.AsyncClient) -> None:
    job_id = await submit(api)
    await run(world, job_id)
    waits = [asyncio.create_task(api.get(f"/api/v1/jobs/{job_id}?wait=30s")) for _ in range(20)]
    await asyncio.sleep(0.3)
    assert not any(wait.done() for wait in waits)

    started = time.monotonic()
    await succeed(world, job_id)
    answers = await asyncio.gather(*waits)

    assert {answer.json()["state"] for answer in answers} == {"SUCCEEDED"}
    assert time.monotonic() - started < 5


async def test_a_result_that_went_by_a_moment_ago_is_not_missed(
    world: World, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "LOOK_SECONDS", 3600.0)
    other, job_id = await submit(api), await submit(api)
    await run(world, job_id)
    held = asyncio.create_task(api.get(f"/api/v1/jobs/{other}?wait=20s"))

    pointer = ""

    async def has_heard() -> bool:
        nonlocal pointer
        pointer = await report(world, job_id)
        return job_id in world.gateway.parts.waiting.recent

    await eventually(has_heard)
    late = asyncio.create_task(api.get(f"/api/v1/jobs/{job_id}?wait=20s"))

    async def both_wait() -> bool:
        return world.gateway.parts.waiting.count == 2

    await eventually(both_wait)
    await settle(world, job_id, pointer)
    async with asyncio.timeout(10):
        assert (await late).json()["state"] == "SUCCEEDED"
    held.cancel()
    await asyncio.gather(held, return_exceptions=True)


async def test_waiting_costs_the_store_little(world: World, api: httpx.AsyncClient) -> None:
    job_id = await submit(api)
    waits = [asyncio.create_task(api.get(f"/api/v1/jobs/{job_id}?wait=4s")) for _ in range(50)]

    async def all_wait() -> bool:
        return world.gateway.parts.waiting.count == 50

    await eventually(all_wait)
    before = world.store.round_trips
    await asyncio.sleep(1.0)
    assert world.store.round_trips - before <= 12
    assert {answer.json()["state"] for answer in await asyncio.gather(*waits)} == {"PENDING"}


async def test_waiting_does_not_hold_what_is_decided(api: httpx.AsyncClient) -> None:
    job_id = await submit(api, risk_tags=["payment"])
    async with asyncio.timeout(2):
        answer = await api.get(f"/api/v1/jobs/{job_id}?wait=30")
    assert answer.json()["state"] == "APPROVAL_REQUIRED"
    for nonsense in ("soon", "-5", "5 apples"):
        assert (await api.get(f"/api/v1/jobs/{job_id}?wait={nonsense}")).status_code == 400


async def test_cancelling_tells_whoever_works_on_it(world: World, api: httpx.AsyncClient) -> None:
    heard: dict[str, Any] = {}
    outside = await world.outside()

    async def keep(message: CoreMessage) -> None:
        heard[message.subject] = envelope.decode(message.data)

    await outside.subscribe("sys.job.>", keep)
    job_id = await submit(api)
    await run(world, job_id)
    wait = asyncio.create_task(api.get(f"/api/v1/jobs/{job_id}?wait=30s"))
    await asyncio.sleep(0.2)

    answer = await api.post(f"/api/v1/jobs/{job_id}/cancel")

    assert answer.json() == {"id": job_id, "job_id": job_id, "state": "CANCELLED"}
    async with asyncio.timeout(5):
        assert (await wait).json()["state"] == "CANCELLED"
        await outside.ping()
    assert heard[subjects.JOB_CANCEL].job_cancel.requested_by == "api-gateway"
    assert heard[subjects.JOB_RESULT].job_result.status == job_pb2.JOB_STATUS_CANCELLED
    again = await api.post(f"/api/v1/jobs/{job_id}/cancel")
    assert again.json()["reason"] == "job already terminal" and again.json()["state"] == "CANCELLED"
    assert (await api.post("/api/v1/jobs/unknown/cancel")).status_code == 404
    viewer = await world.client(VIEWER)
    assert (await viewer.post(f"/api/v1/jobs/{job_id}/cancel")).status_code == 403
