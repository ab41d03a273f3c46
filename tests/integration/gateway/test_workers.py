"""Workers and topics over HTTP, and the status page."""

import time

import httpx
import pytest

from cordum.bus import envelope, subjects

from .conftest import STRANGER, VIEWER, World, eventually


async def beat(world: World, worker_id: str, **fields: object) -> None:
    packet = envelope.packet(worker_id, worker_id, time.time())
    packet.heartbeat.worker_id = worker_id
    for name, value in fields.items():
        setattr(packet.heartbeat, name, value)
    outside = await world.outside()
    await outside.publish_core(subjects.HEARTBEAT, envelope.encode(packet))
    await outside.ping()


@pytest.mark.seed("S199")
async def test_a_worker_is_shown_and_goes_offline_when_it_falls_silent(
    world: World, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await beat(world, "w1", pool="gpu", active_jobs=2, max_parallel_jobs=4, region="eu")

    async def listed() -> list[dict[str, object]]:
        items: list[dict[str, object]] = (await api.get("/api/v1/workers")).json()["items"]
        return items

    [worker] = await eventually(listed)
    assert (worker["worker_id"], worker["pool"], worker["active_jobs"], worker["online"]) == ("w1", "gpu", 2, True)
    assert worker["last_heartbeat"] and worker["capabilities"] == [] and worker["labels"] == {}
    assert (await api.get("/api/v1/workers/w1")).json()["region"] == "eu"
    assert (await api.get("/api/v1/workers/w2")).status_code == 404
    later = time.time() + 31
    monkeypatch.setattr(type(world.gateway.parts.clock), "now", staticmethod(lambda: later))
    [silent] = await listed()
    assert silent["online"] is False and int(str(silent["heartbeat_age_seconds"])) >= 30


async def test_an_impostor_is_not_listed(world: World, api: httpx.AsyncClient) -> None:
    packet = envelope.packet("mallory", "t", time.time())
    packet.heartbeat.worker_id = "w1"
    outside = await world.outside()
    await outside.publish_core(subjects.HEARTBEAT, packet.SerializeToString())
    await beat(world, "honest")

    async def listed() -> bool:
        return [item["worker_id"] for item in (await api.get("/api/v1/workers")).json()["items"]] == ["honest"]

    await eventually(listed)


async def test_topics_are_listed_for_the_tenant(world: World, api: httpx.AsyncClient) -> None:
    assert (await api.get("/api/v1/topics")).json() == {"items": [], "registry_empty": True}
    await world.store.configs.put(
        "system",
        "topics",
        {
            "job.all": {"name": "job.all", "pool": "p"},
            "tenant:other:job.theirs": {"name": "job.theirs", "tenant_id": "other", "status": "deprecated"},
            "job.broken": {"name": 5},
        },
        0,
    )
    await world.gateway.parts.topics.refresh()
    ours = (await api.get("/api/v1/topics")).json()["items"]
    theirs = (await (await world.client(STRANGER)).get("/api/v1/topics")).json()["items"]
    assert [(item["name"], item["status"]) for item in ours] == [("job.all", "active"), ("job.broken", "disabled")]
    assert [item["name"] for item in theirs] == ["job.all", "job.broken", "job.theirs"]


async def test_the_status_page_shows_each_what_they_may_see(world: World, api: httpx.AsyncClient) -> None:
    await api.post("/api/v1/jobs", json={"prompt": "x"})
    admin = await api.get("/api/v1/status")
    viewer = await (await world.client(VIEWER)).get("/api/v1/status")
    assert (await api.get("/api/v1/status")).headers["x-cache"] == "HIT"
    assert (admin.headers["x-cache"], viewer.headers["x-cache"]) == ("MISS", "MISS")
    told = admin.json()
    assert told["nats"]["connected"] is True and told["redis"]["ok"] is True and told["workers"]["count"] == 0
    assert told["build"]["version"] and told["pipeline"]["pending"] == 1 and told["instance_id"]
    assert viewer.json()["pipeline"] == {"active": 1} and "instance_id" not in viewer.json()
