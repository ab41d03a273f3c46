"""Pools over HTTP (spec-gateway section 6)."""

from typing import Any

import httpx
import msgspec
import pytest_asyncio

from cordum.core.ids import JobId, Micros, PoolName, TenantId, Topic
from cordum.core.routing.lanes import Lane
from cordum.core.routing.snapshot import FleetSnapshot, PoolEntry
from cordum.services.gateway.routing_admin.keeping import RoutingKeeper

from .conftest import BOB, STRANGER, VIEWER, World
from .test_workers import beat

POOLS: dict[str, Any] = {
    "topics": {"job.a": "left", "job.b": ["left", "right"]},
    "pools": {"left": {"requires": ["gpu"], "description": "big ones"}, "right": {}},
}
TOPICS = {name: {"name": name, "pool": "left"} for name in ("job.a", "job.b")}


@pytest_asyncio.fixture
async def pools(world: World) -> httpx.AsyncClient:
    """An administrator's client, with two pools."""
    await world.store.configs.put("system", "default", {"pools": POOLS}, 0)
    await world.store.configs.put("system", "topics", TOPICS, 0)
    await world.gateway.parts.topics.refresh()
    return await world.client()


async def default_pools(world: World) -> Any:
    default = await world.store.configs.get("system", "default")
    assert default is not None
    return default.data["pools"]


async def test_pools_are_listed_with_their_standing(world: World, pools: httpx.AsyncClient) -> None:
    snapshot = FleetSnapshot(pools={"left": PoolEntry(workers=2, active_jobs=3, capacity=12)})
    await world.store.workers.save(msgspec.json.encode(snapshot))
    left, right = (await pools.get("/api/v1/pools")).json()["items"]
    assert left == {
        "name": "left",
        "workers": 2,
        "active_jobs": 3,
        "capacity": 12,
        "utilization": 0.25,
        "topics": ["job.a", "job.b"],
        "status": "active",
        "description": "big ones",
        "requires": ["gpu"],
    }
    assert (right["name"], right["workers"], right["utilization"]) == ("right", 0, 0.0)
    await beat(world, "w1", pool="left")
    shown = (await pools.get("/api/v1/pools/left")).json()
    assert [worker["worker_id"] for worker in shown["workers"]] == ["w1"]
    assert shown["topics"] == ["job.a", "job.b"] and shown["capacity"] == 12
    assert (await pools.get("/api/v1/pools/none")).json()["code"] == "POOL_NOT_FOUND"


async def test_a_pool_is_created_changed_and_deleted(world: World, pools: httpx.AsyncClient) -> None:
    made = await pools.put("/api/v1/pools/gpu-large", json={"requires": ["cuda"], "description": "new"})
    assert made.status_code == 201
    assert made.json() == {"name": "gpu-large", "status": "active", "requires": ["cuda"], "description": "new"}
    again = await pools.put("/api/v1/pools/gpu-large", json={})
    assert (again.status_code, again.json()["code"]) == (409, "POOL_NAME_CONFLICT")
    changed = await pools.patch("/api/v1/pools/gpu-large", json={"description": "", "status": "inactive"})
    assert changed.json() == {"name": "gpu-large", "status": "inactive", "requires": ["cuda"], "description": ""}
    assert (await default_pools(world))["pools"]["gpu-large"] == {"requires": ["cuda"], "status": "inactive"}
    back = await pools.patch("/api/v1/pools/gpu-large", json={"status": "active"})
    assert back.json()["status"] == "active"
    assert (await pools.delete("/api/v1/pools/gpu-large")).status_code == 204
    assert "gpu-large" not in (await default_pools(world))["pools"]
    assert (await pools.delete("/api/v1/pools/gpu-large")).status_code == 404
    assert (await pools.patch("/api/v1/pools/gpu-large", json={})).status_code == 404
    audited = (await pools.get("/api/v1/policy/audit")).json()["items"]
    assert [item["action"] for item in audited if item["resource_type"] == "pool"] == [
        *("delete", "update", "update", "create")
    ]


async def test_what_makes_no_pool_is_refused(world: World, pools: httpx.AsyncClient) -> None:
    for name in ("ab", "Upper", "a--b", "-ab", "ab-", "a_b", "x" * 64):
        answer = await pools.put(f"/api/v1/pools/{name}", json={})
        assert (answer.status_code, answer.json()["code"]) == (400, "POOL_INVALID_CONFIG"), name
    assert (await pools.patch("/api/v1/pools/left", json={"status": "odd"})).status_code == 400
    assert (await pools.put("/api/v1/pools/abc", json={"unknown": 1})).status_code == 400
    for key in (BOB, VIEWER, STRANGER):
        client = await world.client(key)
        assert (await client.put("/api/v1/pools/abc", json={})).status_code == 403
        assert (await client.post("/api/v1/pools/left/drain")).status_code == 403
        assert (await client.delete("/api/v1/pools/left/topics/job.a")).status_code == 403
    assert (await default_pools(world)) == POOLS


async def test_a_pool_in_use_is_only_removed_by_force_and_inactive(world: World, pools: httpx.AsyncClient) -> None:
    await beat(world, "w1", pool="left")
    lane = Lane(PoolName("left"), tenant=TenantId("default"), topic=Topic("job.a"))
    await world.store.parked.park(lane.name, JobId("j1"), Micros(2))
    refused = await pools.delete("/api/v1/pools/left")
    told = refused.json()
    assert (refused.status_code, told["code"]) == (409, "POOL_IN_USE")
    assert (told["pool"], told["pool_status"], told["queued_jobs"]) == ("left", "active", 1)
    assert told["agent_ids"] == ["w1"] and told["topics"] == ["job.a", "job.b"]
    assert (await pools.delete("/api/v1/pools/left?force=true")).status_code == 409
    await pools.patch("/api/v1/pools/left", json={"status": "inactive"})
    assert (await pools.delete("/api/v1/pools/left?force=true")).status_code == 204
    assert await default_pools(world) == {"topics": {"job.b": "right"}, "pools": {"right": {}}}
    topics = {item["name"]: item["pool"] for item in (await pools.get("/api/v1/topics")).json()["items"]}
    assert topics == {"job.a": "", "job.b": "right"}


async def test_topics_are_mapped_and_unmapped(world: World, pools: httpx.AsyncClient) -> None:
    for _ in range(2):
        assert (await pools.put("/api/v1/pools/right/topics/job.a")).status_code == 204
    assert (await default_pools(world))["topics"]["job.a"] == ["left", "right"]
    assert (await pools.delete("/api/v1/pools/left/topics/job.a")).status_code == 204
    assert (await default_pools(world))["topics"]["job.a"] == "right"
    assert (await pools.get("/api/v1/topics/job.a")).json()["pool"] == "right"
    assert (await pools.delete("/api/v1/pools/left/topics/job.a")).status_code == 404
    assert (await pools.put("/api/v1/pools/left/topics/job.none")).json()["code"] == "TOPIC_NOT_FOUND"
    assert (await pools.put("/api/v1/pools/none/topics/job.a")).json()["code"] == "POOL_NOT_FOUND"
    await pools.delete("/api/v1/pools/right/topics/job.a")
    assert "job.a" not in (await default_pools(world))["topics"]
    assert (await pools.get("/api/v1/topics/job.a")).json()["pool"] == ""


async def test_a_pool_drains_until_it_is_idle_or_its_time_is_up(world: World, pools: httpx.AsyncClient) -> None:
    told = (await pools.post("/api/v1/pools/left/drain", json={"timeout_seconds": 60})).json()
    assert (told["name"], told["status"], told["drain_timeout_seconds"]) == ("left", "draining", 60)
    assert told["drain_started_at"].endswith("Z")
    assert (await pools.post("/api/v1/pools/left/drain", json={"timeout_seconds": 3601})).status_code == 400
    assert (await pools.post("/api/v1/pools/none/drain")).status_code == 404
    keeper = RoutingKeeper(world.gateway.parts.routing, world.gateway.parts.fleet, world.gateway.parts.clock)

    async def status_after(snapshot: FleetSnapshot) -> str:
        await world.store.workers.save(msgspec.json.encode(snapshot))
        world.gateway.parts.fleet._read_at = float("-inf")
        await keeper.look()
        return str((await pools.get("/api/v1/pools/left")).json()["status"])

    busy = {"left": PoolEntry(workers=1, active_jobs=1, capacity=1)}
    assert await status_after(FleetSnapshot(captured_at="2099-01-01T00:00:00Z", pools=busy)) == "draining"
    assert await status_after(FleetSnapshot(captured_at=told["drain_started_at"])) == "draining"
    assert await status_after(FleetSnapshot(captured_at="2099-01-01T00:00:00Z")) == "inactive"
    assert (await default_pools(world))["pools"]["left"]["status"] == "inactive"
    await pools.patch("/api/v1/pools/left", json={"status": "active"})
    assert (await default_pools(world))["pools"]["left"] == POOLS["pools"]["left"]
