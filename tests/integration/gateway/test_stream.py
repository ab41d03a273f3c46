"""The event stream: what a client sees, what it does not, and what becomes of one that misbehaves."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from cap.pb.cordum.agent.v1 import job_pb2
from cap.progress import progress_payload
from tests.integration.gateway.conftest import ALICE, CROSSING, KEYS, STRANGER, VIEWER, MakeWorld, World, eventually
from tests.support.websocket import ClosedError, RefusedError, WebSocket

from cordum.bus import Bus, envelope, subjects
from cordum.core.ids import DispatchId, JobId, PoolName, RuleId, SnapshotId, WorkerId, micros
from cordum.core.jobs import lifecycle
from cordum.core.policy.decision import Decision, Verdict
from cordum.runtime import metrics
from cordum.services.gateway.stream import endpoint, packets
from cordum.store import Applied

JOB: dict[str, Any] = {"prompt": "say hello", "topic": "job.default"}


def shows(key: str, **headers: str) -> dict[str, str]:
    return {"X-API-Key": key, **headers}


@asynccontextmanager
async def watching(
    world: World, key: str = ALICE, path: str = "/api/v1/stream", **more: Any
) -> AsyncIterator[WebSocket]:
    socket = await WebSocket.connect(world.url + path, headers=shows(key), **more)
    try:
        yield socket
    finally:
        await socket.aclose()


async def submit(world: World, key: str = ALICE) -> JobId:
    answer = await (await world.client(key)).post("/api/v1/jobs", json=JOB)
    assert answer.status_code == 200, answer.text
    return JobId(answer.json()["job_id"])


async def give(world: World, job_id: JobId, worker: str) -> DispatchId:
    """The job runs at a worker, as a scheduler writes it."""
    record = await world.store.jobs.get(job_id)
    assert record is not None
    now, dispatch_id = micros(time.time()), DispatchId(f"dispatch-{worker}")
    change = lifecycle.dispatch(
        record,
        Verdict(decision=Decision.ALLOW, rule_id=RuleId("r"), snapshot=SnapshotId("s")),
        worker=WorkerId(worker),
        pool=PoolName("p"),
        dispatch_id=dispatch_id,
        now=now,
        deadline=micros(0),
    )
    assert isinstance(await world.store.jobs.apply(job_id, change, now=now, known=record), Applied)
    return dispatch_id


async def progress(bus: Bus, worker: str, job_id: JobId, percent: int) -> None:
    """As the SDK's workers say it."""
    await bus.publish_core(subjects.JOB_PROGRESS, progress_payload(worker, job_id, "step", percent, "at it"))


async def marker(bus: Bus, name: str) -> None:
    """Something everybody sees: whatever came before it has come, or never will."""
    packet = envelope.packet(name, name, time.time())
    packet.heartbeat.worker_id = name
    packet.heartbeat.auth_token = "a-secret"
    packet.auth_token = "another-secret"
    await bus.publish_core(subjects.HEARTBEAT, envelope.encode(packet))


async def test_a_client_sees_a_job_from_its_submit_to_its_end(world: World) -> None:
    worker = await world.outside()
    async with watching(world) as socket:
        job_id = await submit(world)
        submitted = await socket.until("jobRequest", jobId=job_id)
        dispatch_id = await give(world, job_id, "worker-1")
        await progress(worker, "worker-1", job_id, 40)
        moved = await socket.until("jobProgress", jobId=job_id)
        answer = await (await world.client()).post(f"/api/v1/jobs/{job_id}/cancel")
        assert answer.json()["state"] == "CANCELLED"
        stopped = await socket.until("jobCancel", jobId=job_id)
        ended = await socket.until("jobResult", jobId=job_id)

    assert submitted["jobRequest"]["tenantId"] == "default" and "env" not in submitted["jobRequest"]
    assert submitted["senderId"] == subjects.GATEWAY_ID and submitted["createdAt"].endswith("Z")
    assert (moved["senderId"], moved["jobProgress"]["percent"]) == ("worker-1", 40)
    assert stopped["jobCancel"]["dispatch"]["dispatchId"] == dispatch_id
    assert stopped["jobCancel"]["dispatch"]["assignedWorkerId"] == "worker-1"
    assert ended["jobResult"]["status"] == "JOB_STATUS_CANCELLED"


async def test_a_client_sees_only_its_own_tenant(world: World) -> None:
    worker = await world.outside()
    async with watching(world) as ours, watching(world, STRANGER) as theirs:
        job_id = await submit(world)
        await give(world, job_id, "worker-1")
        await progress(worker, "worker-1", job_id, 1)
        await ours.until("jobProgress", jobId=job_id)
        await marker(worker, "everybodys")
        first = await theirs.next()
    assert first["heartbeat"]["workerId"] == "everybodys", "workers are everybody's, jobs are not"
    assert "secret" not in json.dumps(first)


async def test_who_may_cross_names_the_tenant_it_wants_to_see(world: World) -> None:
    async with watching(world, CROSSING, "/api/v1/stream?tenant_id=other") as socket:
        mine = await submit(world)
        theirs = await submit(world, STRANGER)
        seen = (await socket.until("jobRequest"))["jobRequest"]["jobId"]
    assert seen == theirs != mine
    with pytest.raises(RefusedError) as refused:
        await WebSocket.connect(f"{world.url}/api/v1/stream?tenant_id=other", headers=shows(ALICE))
    assert (refused.value.status, refused.value.json["code"]) == (403, "tenant_access_denied")


async def test_progress_of_a_worker_that_does_not_hold_the_job_is_not_the_jobs(world: World) -> None:
    worker = await world.outside()
    job_id = await submit(world)
    await give(world, job_id, "holder")
    async with watching(world) as socket:
        await progress(worker, "impostor", job_id, 90)
        stale = progress_payload("holder", job_id, "step", 80, "an older dispatch")
        packet = envelope.decode(stale)
        packet.job_progress.dispatch.dispatch_id = "older"
        await worker.publish_core(subjects.JOB_PROGRESS, envelope.encode(packet))
        await progress(worker, "holder", JobId("no-such-job"), 70)
        await progress(worker, "holder", job_id, 10)
        first = await socket.until("jobProgress")
    assert (first["senderId"], first["jobProgress"]["percent"]) == ("holder", 10)


async def test_the_key_may_come_as_a_subprotocol_and_is_not_sent_back(world: World) -> None:
    unpadded = base64.urlsafe_b64encode(ALICE.encode()).decode().rstrip("=")
    padded = base64.b64encode(ALICE.encode()).decode()
    offers = (["cordum-api-key", unpadded], [f"cordum-api-key.{unpadded}"], [f"cordum-api-key.{ALICE}"])
    for offered in offers:
        socket = await WebSocket.connect(f"{world.url}/api/v1/stream", subprotocols=offered)
        assert socket.subprotocol == ("cordum-api-key" if "cordum-api-key" in offered else None)
        await socket.aclose()
    socket = await WebSocket.connect(f"{world.url}/api/v1/stream", headers={"Authorization": f"Bearer {ALICE}"})
    await socket.aclose()
    for wrong in (["cordum-api-key", unpadded[::-1]], ["cordum-api-key"], [f"x-{padded.rstrip('=')}"]):
        with pytest.raises(RefusedError) as refused:
            await WebSocket.connect(f"{world.url}/api/v1/stream", subprotocols=wrong)
        assert (refused.value.status, refused.value.json["code"]) == (401, "unauthorized")


async def test_who_may_not_watch_is_told_why_before_anything_is_upgraded(world: World) -> None:
    async def code(path: str, **headers: str) -> tuple[int, str]:
        with pytest.raises(RefusedError) as refused:
            await WebSocket.connect(world.url + path, headers=headers)
        return refused.value.status, refused.value.json["code"]

    assert await code("/api/v1/stream") == (401, "unauthorized")
    assert await code("/api/v1/stream", **shows(VIEWER)) == (403, "access_denied")
    assert await code("/api/v1/stream", **shows(ALICE, Origin="https://evil.example")) == (403, "origin_not_allowed")
    assert await code("/api/v1/nothing", **shows(ALICE)) == (404, "not_found")
    assert await code("/api/v1/jobs/none/stream", **shows(ALICE)) == (404, "job_not_found")
    theirs = await submit(world, STRANGER)
    assert await code(f"/api/v1/jobs/{theirs}/stream", **shows(ALICE)) == (404, "job_not_found")
    plain = await (await world.client()).get("/api/v1/stream")
    assert (plain.status_code, plain.json()["code"]) == (426, "upgrade_required")


async def test_one_job_is_watched_by_whoever_may_read_jobs(world: World) -> None:
    worker = await world.outside()
    mine, other = await submit(world), await submit(world)
    for job_id in (mine, other):
        await give(world, job_id, "worker-1")
    async with watching(world, VIEWER, f"/api/v1/jobs/{mine}/stream") as socket:
        await marker(worker, "not-for-it")
        await progress(worker, "worker-1", other, 1)
        await progress(worker, "worker-1", mine, 2)
        assert (await socket.next())["jobProgress"]["jobId"] == mine


async def test_alerts_go_to_their_tenant_and_confidential_ones_to_nobody_else(world: World) -> None:
    worker = await world.outside()

    def alert(message: str, tenant: str) -> bytes:
        packet = envelope.packet("audit-publisher", message, time.time())
        packet.alert.level, packet.alert.component, packet.alert.code = "info", "audit-export", "x"
        packet.alert.message = message
        if tenant:
            packet.alert.details["tenant_id"] = tenant
        return bytes(packet.SerializeToString(deterministic=True))

    async with watching(world) as ours, watching(world, STRANGER) as theirs, watching(world, CROSSING) as crossing:
        await worker.publish_core(subjects.AUDIT_OUTPUT_POLICY, alert("of default", "default"))
        await worker.publish_core(subjects.AUDIT_OUTPUT_POLICY, alert("of nobody", ""))
        await worker.publish_core(subjects.ALERT, alert("for all", ""))
        assert [(await ours.next())["alert"]["message"] for _ in range(2)] == ["of default", "for all"]
        assert (await theirs.next())["alert"]["message"] == "for all"
        messages = [(await crossing.next())["alert"]["message"] for _ in range(3)]
    assert messages == ["of default", "of nobody", "for all"]


async def test_server_sent_events_show_the_same(world: World) -> None:
    worker = await world.outside()
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        headers = shows(ALICE, Accept="text/event-stream")
        async with client.stream("GET", f"{world.url}/api/v1/stream", headers=headers) as answer:
            assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")
            lines = answer.aiter_lines()
            assert (await anext(lines)).startswith(":")
            job_id = await submit(world)
            await marker(worker, "w")
            seen: dict[str, Any] = {}
            async for line in lines:
                name, _, text = line.partition(": ")
                if name == "event":
                    kind = text
                elif name == "data":
                    seen[kind] = json.loads(text)
                    if kind == "heartbeat":
                        break
        assert seen["job_request"]["jobRequest"]["jobId"] == job_id
        refused = await client.get(f"{world.url}/api/v1/stream", headers={"Accept": "text/event-stream"})
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")

    async def gone() -> bool:
        return world.gateway.relay.clients == 0

    await eventually(gone)


async def test_a_client_that_does_not_keep_up_is_disconnected_and_the_others_are_not(make_world: MakeWorld) -> None:
    world = await make_world(CORDUM_WS_CLIENT_BUFFER_SIZE="3")
    worker = await world.outside()
    evicted = metrics.WS_EVICTIONS._value.get()
    async with watching(world) as slow:
        for number in range(64):
            await marker(worker, f"w-{number}")
        with pytest.raises(ClosedError) as closed:
            await slow.until("nothing of the kind")
    assert closed.value.code == 1013
    assert metrics.WS_EVICTIONS._value.get() == evicted + 1
    async with watching(world) as other:
        await marker(worker, "after")
        assert (await other.until("heartbeat"))["heartbeat"]["workerId"] == "after"


async def test_a_client_that_answers_no_ping_is_disconnected(make_world: MakeWorld) -> None:
    world = await make_world(GATEWAY_WS_PING_INTERVAL="100ms", GATEWAY_WS_PONG_TIMEOUT="300ms")
    timeouts, pongs = metrics.WS_PONG_TIMEOUTS._value.get(), metrics.WS_PONGS._value.get()
    async with watching(world) as alive, watching(world) as dead:
        dead.answers_pings = False
        listening = asyncio.ensure_future(alive.next(30))
        with pytest.raises(ClosedError) as closed:
            await dead.next()
        assert not listening.done(), "who answers stays"
        listening.cancel()
    assert closed.value.code == 1011
    assert metrics.WS_PONG_TIMEOUTS._value.get() == timeouts + 1
    assert metrics.WS_PONGS._value.get() > pongs


async def test_a_revoked_key_ends_the_stream(
    make_world: MakeWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "RECHECK_SECONDS", 0.1)
    monkeypatch.setattr(endpoint, "RECHECK_PAUSE", 0.01)
    world = await make_world()
    async with watching(world) as revoked, watching(world, STRANGER) as other:
        ring = world.gateway._keys.ring
        monkeypatch.setattr(ring, "find", _without(ring.find, ALICE))
        with pytest.raises(ClosedError) as closed:
            await revoked.next()
        await marker(await world.outside(), "still")
        assert (await other.next())["heartbeat"]["workerId"] == "still"
    assert (closed.value.code, closed.value.reason) == (1008, "credential revoked")


def _without(find: Any, key: str) -> Any:
    return lambda secret, now: None if secret == key else find(secret, now)


async def test_a_stopping_gateway_says_so(make_world: MakeWorld) -> None:
    world = await make_world()
    async with watching(world) as socket:
        stopping = asyncio.ensure_future(world.life.unwind())
        with pytest.raises(ClosedError) as closed:
            await socket.next()
        await stopping
    assert closed.value.code in (1001, 1012)


async def test_nobody_listens_to_the_bus_when_nobody_watches(world: World) -> None:
    relay = world.gateway.relay
    assert not relay._taps
    async with watching(world):
        assert relay._taps and relay.clients == 1

    async def still() -> bool:
        return relay.clients == 0 and not relay._taps

    await eventually(still)


def test_a_denied_result_shows_no_pointers() -> None:
    packet = envelope.packet("w", "t", 1.0)
    packet.job_result.CopyFrom(
        job_pb2.JobResult(job_id="j", status=job_pb2.JOB_STATUS_DENIED, result_ptr="redis://res:j", execution_ms=7)
    )
    packet.job_result.artifact_ptrs.append("redis://art:1")
    shown = json.loads(packets.rendered(packet, "job_result"))["jobResult"]
    assert shown == {"jobId": "j", "status": "JOB_STATUS_DENIED", "executionMs": "7"}


def test_the_keys_of_this_file_are_those_of_the_gateways() -> None:
    assert ALICE in KEYS and STRANGER in KEYS
