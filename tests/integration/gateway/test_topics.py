"""The topic registry over HTTP, and what it lets through (guide section 5, spec-gateway section 6)."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from cordum.bus import subjects
from cordum.core.errors import CordumError
from cordum.store import Store

from .conftest import ALICE, BOB, STRANGER, VIEWER, MakeWorld, World

POOLS: dict[str, Any] = {"topics": {"job.old": ["left", "right"]}, "pools": {"left": {}, "right": {}}}


@pytest.fixture
async def routed(world: World) -> World:
    """A world whose schedulers have written their pools down."""
    await world.store.configs.put("system", "default", {"pools": POOLS, "safety": {"enabled": True}}, 0)
    return world


async def mapping(store: Store, topic: str) -> object:
    default = await store.configs.get("system", "default")
    assert default is not None and default.data["safety"] == {"enabled": True}
    return default.data["pools"]["topics"].get(topic)


async def stored(store: Store) -> dict[str, Any]:
    topics = await store.configs.get("system", "topics")
    return topics.data if topics else {}


@pytest.mark.seed("S100")
async def test_a_topic_is_registered_shown_changed_and_deleted(routed: World) -> None:
    api = await routed.client()
    for schema_id in ("in", "out"):
        assert (await api.post("/api/v1/schemas", json={"id": schema_id, "schema": {}})).status_code == 204
    body = {
        "name": "job.pay.out",
        "pool": "left",
        "input_schema_id": "in",
        "output_schema_id": "out",
        "pack_id": "payments",
        "requires": ["bank"],
        "risk_tags": ["payment"],
    }
    made = await api.post("/api/v1/topics", json=body)
    assert made.status_code == 201
    assert made.json() == {**body, "status": "active", "active_worker_count": 0}
    assert await mapping(routed.store, "job.pay.out") == "left"
    assert (await api.get("/api/v1/topics/job.pay.out")).json() == made.json()
    assert (await api.get("/api/v1/topics")).json() == {"items": [made.json()], "registry_empty": False}
    # What is left out stays; what is empty goes.
    changed = await api.post("/api/v1/topics", json={"name": "job.pay.out", "pool": "right", "pack_id": ""})
    assert changed.status_code == 200
    assert changed.json() == {**made.json(), "pool": "right", "pack_id": ""}
    assert await mapping(routed.store, "job.pay.out") == "right"
    assert (await api.delete("/api/v1/topics/job.pay.out")).status_code == 204
    assert await mapping(routed.store, "job.pay.out") is None
    assert (await api.delete("/api/v1/topics/job.pay.out")).json()["code"] == "TOPIC_NOT_FOUND"
    assert (await api.get("/api/v1/topics/job.pay.out")).status_code == 404
    assert await stored(routed.store) == {}


async def test_every_change_is_written_down_and_announced(routed: World) -> None:
    outside = await routed.outside()
    heard: list[bytes] = []

    async def hear(message: Any) -> None:
        heard.append(message.data)

    await outside.subscribe(subjects.CONFIG_CHANGED, hear)
    await outside.ping()
    api = await routed.client()
    await api.post("/api/v1/topics", json={"name": "job.a", "pool": "left"})
    await outside.ping()
    assert any(b"topics" in data for data in heard) and any(b"default" in data for data in heard)
    found = (await api.get("/api/v1/policy/audit")).json()["items"]
    assert [(item["action"], item["resource_type"], item["resource_id"]) for item in found] == [
        ("create", "topic", "job.a")
    ]


async def test_what_makes_no_sense_is_refused(routed: World) -> None:
    api = await routed.client()
    refusals = {
        "TOPIC_SCHEMA_VIOLATION": ({"name": "work.a", "pool": "left"}, {"name": "job.a b", "pool": "left"}),
        "POOL_NOT_FOUND": ({"name": "job.a", "pool": "nowhere"},),
        "CONFIG_SCHEMA_NOT_FOUND": ({"name": "job.a", "pool": "left", "input_schema_id": "none"},),
        "invalid_request": ({"name": "job.a", "pool": "left", "status": "odd"}, {"name": "job.a", "extra": 1}, {}),
    }
    for code, bodies in refusals.items():
        for body in bodies:
            answer = await api.post("/api/v1/topics", json=body)
            assert answer.json()["code"] == code, answer.text
            assert answer.status_code == (404 if code.endswith("NOT_FOUND") else 400)
    # An active topic needs workers; a disabled one does not, nor one whose jobs succeed by being allowed.
    assert (await api.post("/api/v1/topics", json={"name": "job.a"})).json()["code"] == "TOPIC_SCHEMA_VIOLATION"
    assert (await api.post("/api/v1/topics", json={"name": "job.a", "status": "disabled"})).status_code == 201
    assert (await api.post("/api/v1/topics", json={"name": "job.guard"})).status_code == 201
    assert (await (await routed.client(BOB)).post("/api/v1/topics", json={"name": "job.b"})).status_code == 403
    assert (await (await routed.client(VIEWER)).get("/api/v1/topics")).status_code == 200


async def test_a_topic_of_several_pools_keeps_them_until_another_is_named(routed: World) -> None:
    api = await routed.client()
    made = await api.post("/api/v1/topics", json={"name": "job.old", "risk_tags": ["x"]})
    assert (made.status_code, made.json()["pool"]) == (201, "left")
    assert await mapping(routed.store, "job.old") == ["left", "right"]
    await api.post("/api/v1/topics", json={"name": "job.old", "pool": "left"})
    assert await mapping(routed.store, "job.old") == ["left", "right"]
    await api.post("/api/v1/topics", json={"name": "job.old", "pool": "right"})
    assert await mapping(routed.store, "job.old") == "right"


async def test_a_tenant_registers_for_itself_alone(routed: World) -> None:
    api, theirs = await routed.client(), await routed.client(STRANGER)
    await api.post("/api/v1/topics", json={"name": "job.shared", "pool": "left"})
    made = await theirs.post("/api/v1/topics", json={"name": "job.shared", "pool": "right", "risk_tags": ["theirs"]})
    assert made.status_code == 201
    assert sorted(await stored(routed.store)) == ["job.shared", "tenant:other:job.shared"]
    assert await mapping(routed.store, "job.shared") == "left"
    ours = (await api.get("/api/v1/topics/job.shared")).json()
    assert (ours["pool"], ours["risk_tags"]) == ("left", [])
    assert (await theirs.get("/api/v1/topics/job.shared")).json()["pool"] == "right"
    assert (await theirs.delete("/api/v1/topics/job.shared")).status_code == 204
    assert (await theirs.get("/api/v1/topics/job.shared")).json()["pool"] == "left"
    assert (await theirs.delete("/api/v1/topics/job.shared")).status_code == 403


async def test_a_registration_that_dies_between_its_two_writes_is_finished_by_the_next(
    routed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Registration first, mapping second: whoever looks next does what is left, in either direction."""
    api, desk, configs = await routed.client(), routed.gateway.parts.routing, type(routed.store.configs)
    put = configs.put

    async def dying(self: Any, scope: str, scope_id: str, *args: Any, **rest: Any) -> Any:
        if scope_id == "default":
            raise Died
        return await put(self, scope, scope_id, *args, **rest)

    for request, expected in (
        (api.post("/api/v1/topics", json={"name": "job.new", "pool": "left"}), "left"),
        (api.post("/api/v1/topics", json={"name": "job.new", "pool": "right"}), "right"),
        (api.delete("/api/v1/topics/job.new"), None),
    ):
        before = await mapping(routed.store, "job.new")
        with monkeypatch.context() as broken:
            broken.setattr(configs, "put", dying)
            assert (await request).status_code == 500
        assert await mapping(routed.store, "job.new") == before
        assert "_intent" in (await stored(routed.store))["job.new"]
        assert await desk.settle_all() == 1
        assert await mapping(routed.store, "job.new") == expected
        assert await desk.settle_all() == 0
    assert await stored(routed.store) == {}


class Died(CordumError):
    """The process is gone."""


async def test_two_who_change_a_topic_at_once_leave_one_of_the_two_states(routed: World) -> None:
    api = await routed.client()
    for _ in range(5):
        await asyncio.gather(
            *(api.post("/api/v1/topics", json={"name": "job.raced", "pool": pool}) for pool in ("left", "right") * 2)
        )
        entry = (await stored(routed.store))["job.raced"]
        assert "_intent" not in entry
        assert await mapping(routed.store, "job.raced") == entry["pool"]


@pytest.mark.seed("S102")
@pytest.mark.seed("S104")
async def test_an_unregistered_topic_is_refused_and_logged_with_the_fixed_word(
    routed: World, capsys: pytest.CaptureFixture[str]
) -> None:
    api = await routed.client()
    await api.post("/api/v1/topics", json={"name": "job.known", "pool": "left"})
    refused = await api.post("/api/v1/jobs", json={"prompt": "x", "topic": "job.unknown"})
    assert refused.status_code == 400
    assert refused.json()["code"] == "unknown_topic" and refused.json()["registered_topics"] == ["job.known"]
    assert (await api.post("/api/v1/jobs", json={"prompt": "x", "topic": "job.known"})).status_code == 200
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "unknown_topic" in line]
    [line] = [line for line in lines if line["event"] == "unknown_topic"]
    assert line["topic"] == "job.unknown" and "unknown_topic" in line["msg"]


async def test_a_disabled_topic_takes_no_jobs(make_world: MakeWorld) -> None:
    world = await make_world()
    await world.register(job_off="disabled")
    api: httpx.AsyncClient = await world.client(ALICE)
    refused = await api.post("/api/v1/jobs", json={"prompt": "x", "topic": "job.off"})
    assert refused.json()["code"] == "topic_disabled"
