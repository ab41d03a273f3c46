"""Worker credentials over HTTP: issued, listed, rotated, revoked, and never shown twice."""

import asyncio
import json

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cordum.bus import subjects
from cordum.core.access.worker_tokens import matches
from cordum.core.ids import PoolName, TenantId, WorkerId
from cordum.core.routing.snapshot import FleetSnapshot, WorkerEntry
from cordum.core.sessions import Claims

from .conftest import STRANGER, VIEWER, World, eventually

PATH = "/api/v1/workers/credentials"


def public_key(curve: ec.EllipticCurve | None = None) -> str:
    key = ec.generate_private_key(curve or ec.SECP256R1()).public_key()
    info = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.PEM, info).decode()


async def pools(world: World, *names: str) -> None:
    data = {"pools": {"pools": {name: {} for name in names}, "topics": {"job.a": "mapped"}}}
    await world.store.configs.put("system", "default", data, 0)


@pytest.mark.seed("S101")
async def test_a_credential_is_issued_rotated_and_revoked(world: World, api: httpx.AsyncClient) -> None:
    await pools(world, "gpu")
    await world.register(job_a="active")
    outside = await world.outside()
    announced: list[bytes] = []
    told = asyncio.Event()

    async def hear(message: object) -> None:
        announced.append(b"")
        told.set()

    await outside.subscribe(subjects.CONFIG_CHANGED, hear)
    await outside.ping()
    body = {
        "worker_id": "w1",
        "allowed_pools": ["gpu", "mapped"],
        "allowed_topics": ["job.a"],
        "agent_id": "agent-7",
        "proof_keys": [{"id": "laptop", "public_key": public_key()}],
    }

    issued = await api.post(PATH, json=body)

    assert issued.status_code == 201 and issued.headers["cache-control"] == "no-store"
    first = issued.json()["token"]
    assert len(first) == 64 and int(first, 16) >= 0
    stored = await world.store.worker_credentials.get(WorkerId("w1"))
    assert stored is not None and stored.credential_hash.startswith("$argon2id$v=19$m=65536,t=3,p=1$")
    assert await asyncio.to_thread(matches, first, stored.credential_hash)
    await asyncio.wait_for(told.wait(), 5)

    rotated = await api.post(PATH, json={"worker_id": "w1"})

    assert rotated.status_code == 200
    second = rotated.json()["token"]
    replaced = await world.store.worker_credentials.get(WorkerId("w1"))
    assert replaced is not None and second != first
    assert not await asyncio.to_thread(matches, first, replaced.credential_hash)
    assert await asyncio.to_thread(matches, second, replaced.credential_hash)
    # Left out, so as before: a new token must not open anything that was closed.
    assert rotated.json()["allowed_pools"] == ["gpu", "mapped"] and rotated.json()["allowed_topics"] == ["job.a"]
    assert (await api.post(PATH, json={"worker_id": "w1", "allowed_topics": []})).json()["allowed_topics"] == []

    [listed] = (await api.get(PATH)).json()["items"]
    assert (listed["worker_id"], listed["agent_id"], listed["status"]) == ("w1", "agent-7", "active")
    assert listed["proof_keys"][0]["id"] == "laptop" and len(listed["proof_keys"][0]["fingerprint"]) == 64

    assert (await api.delete(f"{PATH}/w1")).status_code == 204
    assert (await api.delete(f"{PATH}/w1")).status_code == 204
    assert (await api.delete(f"{PATH}/unknown")).status_code == 404
    [listed] = (await api.get(PATH)).json()["items"]
    assert listed["status"] == "revoked" and listed["revoked_at"]
    assert (await api.post(PATH, json={"worker_id": "w1"})).json()["status"] == "active"


async def test_neither_token_nor_hash_is_ever_seen_again(
    world: World, api: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    token = (await api.post(PATH, json={"worker_id": "w1"})).json()["token"]
    await api.delete(f"{PATH}/w1")
    copy = await world.store.configs.get("system", "workers")
    assert copy is not None and copy.data["w1"]["revoked_at"]

    async def audited() -> list[object]:
        found: list[object] = (await api.get("/api/v1/policy/audit")).json()["items"]
        return found if len(found) >= 2 else []

    events = json.dumps(await eventually(audited))
    seen = json.dumps(copy.data) + events + (await api.get(PATH)).text + (await api.get("/api/v1/workers")).text
    seen += capsys.readouterr().out

    assert token not in seen and "argon2" not in seen and "credential_hash" not in seen
    assert '"w1"' in events and "worker_credential" in events


async def test_what_makes_no_sense_is_refused(world: World, api: httpx.AsyncClient) -> None:
    await pools(world, "gpu")
    await world.register(job_a="active")

    async def refused(status: int, code: str, **body: object) -> None:
        answer = await api.post(PATH, json={"worker_id": "w1", **body})
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text

    await refused(404, "WORKER_CRED_BINDING_INVALID", allowed_pools=["gpu", "none"])
    await refused(404, "WORKER_CRED_BINDING_INVALID", allowed_topics=["job.none"])
    await refused(400, "invalid_request", worker_id="two words")
    await refused(400, "invalid_request", worker_id=subjects.SCHEDULER_ID)
    for pem in ("nonsense", public_key(ec.SECP384R1())):
        await refused(400, "WORKER_PROOF_KEY_INVALID", proof_keys=[{"id": "k", "public_key": pem}])
    twice = [{"id": "k", "public_key": public_key()}] * 2
    await refused(400, "WORKER_PROOF_KEY_INVALID", proof_keys=twice)
    assert (await api.post(PATH, json={"worker_id": "w1", "allowed_pools": ["p"] * 101})).status_code == 400
    assert (await api.get(PATH)).json() == {"items": []}


async def test_only_the_installations_administrators_say_who_is_a_worker(world: World, api: httpx.AsyncClient) -> None:
    viewer, stranger = await world.client(VIEWER), await world.client(STRANGER)
    await api.post(PATH, json={"worker_id": "w1"})

    assert (await viewer.get(PATH)).status_code == 403
    assert (await viewer.post(PATH, json={"worker_id": "w2"})).status_code == 403
    assert (await stranger.post(PATH, json={"worker_id": "w2"})).status_code == 403
    assert (await stranger.delete(f"{PATH}/w1")).status_code == 403
    assert (await stranger.post("/api/v1/workers/w1/revoke-session")).status_code == 403
    assert (await stranger.get("/api/v1/boundary/events")).status_code == 403
    assert (await stranger.get(PATH)).json() == {"items": []}
    assert [item["worker_id"] for item in (await api.get(PATH)).json()["items"]] == ["w1"]


async def test_many_are_issued_at_once_and_none_is_lost(world: World, api: httpx.AsyncClient) -> None:
    names = [f"w{number}" for number in range(8)]
    answers = await asyncio.gather(*(api.post(PATH, json={"worker_id": name}) for name in names))

    assert {answer.status_code for answer in answers} == {201}
    assert [item["worker_id"] for item in (await api.get(PATH)).json()["items"]] == names
    copy = await world.store.configs.get("system", "workers")
    assert copy is not None and sorted(copy.data) == names


async def test_credentials_kept_in_the_document_are_taken_over_once(world: World, api: httpx.AsyncClient) -> None:
    entry = {
        "worker_id": "old",
        "tenant_id": "default",
        "credential_hash": "$argon2id$v=19$m=65536,t=3,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaA",
        "allowed_pools": None,
        "created_by": "somebody",
        "revoked_at": None,
    }
    damaged = {"worker_id": "other name", "tenant_id": "default", "credential_hash": "x"}
    await world.store.configs.put("system", "workers", {"old": entry, "damaged": damaged, "number": 5}, 0)

    assert await world.store.worker_credentials.take_over() == 1
    assert await world.store.worker_credentials.take_over() == 0

    [listed] = (await api.get(PATH)).json()["items"]
    assert (listed["worker_id"], listed["created_by"], listed["status"]) == ("old", "somebody", "active")
    copy = await world.store.configs.get("system", "workers")
    assert copy is not None and list(copy.data) == ["old"] and "credential_hash" not in copy.data["old"]


async def test_a_session_is_ended_and_shown(world: World, api: httpx.AsyncClient) -> None:
    now = int(world.gateway.parts.clock.now())
    snapshot = FleetSnapshot(attested=True, workers=(WorkerEntry(worker_id=WorkerId("w1"), pool=PoolName("p")),))
    await world.store.workers.save(msgspec.json.encode(snapshot))
    claims = Claims(sub="w1", tenant=TenantId("default"), sdk_ver="1", jti="0" * 32, iat=now, exp=now + 600)
    assert await world.store.sessions.issue(claims)

    [worker] = (await api.get("/api/v1/workers")).json()["items"]
    assert (worker["session_state"], worker["session_valid"]) == ("active", True)
    for _ in range(2):
        answer = await api.post("/api/v1/workers/w1/revoke-session")
        assert answer.json() == {"worker_id": "w1", "tenant": "default", "revoked": True}
    [worker] = (await api.get("/api/v1/workers")).json()["items"]
    assert (worker["session_state"], worker["session_valid"]) == ("no_session", False)
