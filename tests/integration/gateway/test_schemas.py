"""The schema registry, and payloads that do not match, at submit (guide section 5)."""

import json
from typing import Any

import grpc
import httpx
import pytest
import pytest_asyncio
from cordum_sdk._generated.models.list_schemas_response_200 import ListSchemasResponse200
from tests.support.jetstream import jetstream

from cordum.bus import subjects
from cordum.rpc.gen.cordum.v1 import api_pb2, api_pb2_grpc
from cordum.store import StoreUnavailableError

from .conftest import AGENT, BOB, STRANGER, VIEWER, MakeWorld, World, eventually

PAYMENT: dict[str, Any] = {
    "type": "object",
    "required": ["amount"],
    "properties": {"amount": {"type": "integer", "minimum": 1}, "to": {"type": "string", "pattern": "^[A-Z]{2}"}},
}
GOOD: dict[str, Any] = {"prompt": "pay", "topic": "job.pay", "context": {"amount": 5}}
BAD: dict[str, Any] = {"prompt": "pay", "topic": "job.pay", "context": {"amount": "s3cret", "to": "x"}}


async def with_topic(world: World, schema: object = PAYMENT, *, schema_id: str = "payments/Pay") -> httpx.AsyncClient:
    """A topic whose jobs are held to a schema."""
    api = await world.client()
    registered = await api.post("/api/v1/schemas", json={"id": schema_id, "schema": schema})
    assert registered.status_code == 204, registered.text
    data = {"job.pay": {"name": "job.pay", "input_schema_id": schema_id}, "job.free": {"name": "job.free"}}
    await world.store.configs.put("system", "topics", data, 0)
    await world.gateway.parts.topics.refresh()
    return api


@pytest_asyncio.fixture
async def strict(make_world: MakeWorld) -> World:
    return await make_world(SCHEMA_ENFORCEMENT="enforce")


async def submits(world: World) -> int:
    """Messages the stream of submits holds."""
    async with jetstream(world.gateway.parts.settings.nats_url) as js:
        return (await js.stream_info(subjects.STREAM_SYS)).state.messages


def events(text: str, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("event") == event]


@pytest.mark.seed("S94")
@pytest.mark.seed("S104")
async def test_warn_is_the_default_and_lets_a_bad_payload_in_with_a_word(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    api = await with_topic(world)
    capsys.readouterr()
    assert (await api.post("/api/v1/jobs", json=BAD)).status_code == 200
    [line] = events(capsys.readouterr().out, "schema_validation_failed")
    assert (line["topic"], line["schema_id"], line["msg"]) == ("job.pay", "payments/Pay", "schema_validation_failed")
    assert "s3cret" not in json.dumps(line)
    assert (await api.post("/api/v1/jobs", json=GOOD)).status_code == 200
    assert (await api.post("/api/v1/jobs", json={**BAD, "topic": "job.free"})).status_code == 200
    assert events(capsys.readouterr().out, "schema_validation_failed") == []


@pytest.mark.seed("S95")
async def test_enforce_refuses_a_bad_payload_over_http_and_grpc_and_publishes_nothing(strict: World) -> None:
    api = await with_topic(strict)
    before = await submits(strict)
    refused = await api.post("/api/v1/jobs", json={**BAD, "idempotency_key": "once"})
    assert (refused.status_code, refused.json()["code"]) == (400, "schema_validation_failed")
    assert refused.json()["violations"] == [
        {"path": "$.amount", "message": 'value is not of type "integer"'},
        {"path": "$.to", "message": 'value does not match "^[A-Z]{2}"'},
    ]
    assert (refused.json()["topic"], refused.json()["schema_id"]) == ("job.pay", "payments/Pay")
    async with grpc.aio.insecure_channel(strict.grpc_address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await api_pb2_grpc.CordumApiStub(channel).SubmitJob(
                api_pb2.SubmitJobRequest(prompt="pay", topic="job.pay"), metadata=[("x-api-key", AGENT)], timeout=10
            )
    trailers: Any = caught.value.trailing_metadata()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert dict(trailers)["error-code"] == "schema_validation_failed"
    assert await submits(strict) == before
    assert (await api.get("/api/v1/jobs")).json()["items"] == []
    # The key is free: the mended job is a first submit.
    mended = await api.post("/api/v1/jobs", json={**GOOD, "idempotency_key": "once"})
    assert (mended.status_code, mended.json()["status"]) == (200, "accepted")
    assert await submits(strict) == before + 1


async def test_a_job_without_a_context_is_held_to_the_schema_as_it_is_stored(strict: World) -> None:
    api = await with_topic(strict, {"required": ["prompt"], "properties": {"prompt": {"maxLength": 5}}})
    assert (await api.post("/api/v1/jobs", json={"prompt": "short", "topic": "job.pay"})).status_code == 200
    long = await api.post("/api/v1/jobs", json={"prompt": "too long", "topic": "job.pay"})
    assert [violation["path"] for violation in long.json()["violations"]] == ["$.prompt"]
    other = await api.post("/api/v1/jobs", json={"prompt": "short", "topic": "job.pay", "context": [1]})
    assert other.status_code == 200  # a list has no members that could be missing


async def test_a_topic_whose_schema_is_missing_or_broken_is_closed_under_enforce_and_open_under_warn(
    make_world: MakeWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    for rigour, status in (("enforce", 409), ("warn", 200), ("off", 200)):
        world = await make_world(SCHEMA_ENFORCEMENT=rigour)
        await world.store.schemas.put("broken", b'{"type": "objekt"}', "")
        for schema_id, code in (("gone", "schema_not_found"), ("broken", "schema_invalid")):
            entry = {"name": "job.pay", "input_schema_id": schema_id}
            known = await world.store.configs.get("system", "topics")
            await world.store.configs.put("system", "topics", {"job.pay": entry}, known.revision if known else 0)
            await world.gateway.parts.topics.refresh()
            capsys.readouterr()
            answer = await (await world.client()).post("/api/v1/jobs", json=GOOD)
            assert answer.status_code == status, answer.text
            assert len(events(capsys.readouterr().out, code)) == (0 if rigour == "off" else 1)
            assert status == 200 or answer.json()["code"] == code


async def test_a_changed_schema_counts_at_once_also_at_other_gateways(make_world: MakeWorld) -> None:
    first = await make_world(SCHEMA_ENFORCEMENT="enforce")
    second = await make_world(SCHEMA_ENFORCEMENT="enforce")
    api = await with_topic(first)
    there = await second.client()
    await second.gateway.parts.topics.refresh()
    assert (await there.post("/api/v1/jobs", json=BAD)).status_code == 400
    await api.post("/api/v1/schemas", json={"id": "payments/Pay", "schema": {}})
    assert (await api.post("/api/v1/jobs", json=BAD)).status_code == 200

    async def taken() -> bool:
        return (await there.post("/api/v1/jobs", json=BAD)).status_code == 200

    await eventually(taken)


async def test_a_topic_without_a_schema_pays_nothing(strict: World) -> None:
    api = await with_topic(strict)
    await api.post("/api/v1/jobs", json={**GOOD, "topic": "job.free"})
    before = strict.store.round_trips
    await api.post("/api/v1/jobs", json={**BAD, "topic": "job.free"})
    plain = strict.store.round_trips - before
    await api.post("/api/v1/jobs", json=GOOD)
    before = strict.store.round_trips
    await api.post("/api/v1/jobs", json=GOOD)
    assert strict.store.round_trips - before <= plain  # the schema itself is kept, too


async def test_schemas_are_registered_listed_shown_and_deleted(world: World) -> None:
    api = await with_topic(world)
    assert (await api.get("/api/v1/schemas")).json() == {"schemas": ["payments/Pay"]}
    shown = await api.get("/api/v1/schemas/payments%2FPay")
    assert shown.json() == {"id": "payments/Pay", "schema": PAYMENT, "topics": ["job.pay"]}
    sdk = await world.client(**{"User-Agent": "cordum-sdk-python/0.1.0"})
    listed = ListSchemasResponse200.from_dict((await sdk.get("/api/v1/schemas")).json())
    assert [record.id for record in listed.schemas] == ["payments/Pay"]
    for path in ("/api/v1/schemas/none", "/api/v1/schemas/pay"):
        assert (await api.get(path)).json()["code"] == "CONFIG_SCHEMA_NOT_FOUND"
        assert (await api.delete(path)).status_code == 404
    used = await api.delete("/api/v1/schemas/payments/Pay")
    assert (used.status_code, used.json()["code"], used.json()["topics"]) == (409, "schema_in_use", ["job.pay"])
    assert (await api.delete("/api/v1/schemas/payments/Pay?force=true")).status_code == 204
    assert (await api.get("/api/v1/schemas")).json() == {"schemas": []}


async def test_who_may_register_schemas(world: World) -> None:
    body = {"id": "a", "schema": True}
    for key, status in ((BOB, 204), (VIEWER, 403), (AGENT, 403), (STRANGER, 403)):
        assert (await (await world.client(key)).post("/api/v1/schemas", json=body)).status_code == status
    assert (await (await world.client(VIEWER)).get("/api/v1/schemas/a")).json()["schema"] is True


async def test_what_is_no_schema_is_refused_with_its_place(world: World) -> None:
    api = await world.client()
    bad: list[tuple[object, str]] = [
        (5, "$"),
        ({"type": "objekt"}, "$.type"),
        ({"properties": {"a": {"pattern": "(?=a)"}}}, "$.properties.a.pattern"),
        ({"$ref": "https://example.com/elsewhere.json"}, "$"),
        ({"$ref": "file:///etc/passwd"}, "$"),
        ({"$schema": "https://example.com/own-language"}, "$.$schema"),
    ]
    for schema, path in bad:
        answer = await api.post("/api/v1/schemas", json={"id": "a", "schema": schema})
        assert (answer.status_code, answer.json()["code"]) == (400, "CONFIG_SCHEMA_VIOLATION"), schema
        assert [violation["path"] for violation in answer.json()["violations"]] == [path]
    for name in ("", "a b", "../x", "url", "a" * 300):
        assert (await api.post("/api/v1/schemas", json={"id": name, "schema": {}})).status_code == 400
    assert (await api.get("/api/v1/schemas")).json() == {"schemas": []}


async def test_schemas_refer_to_each_other_by_their_id_alone(strict: World) -> None:
    api = await strict.client()
    address = "https://schemas.example.com/"
    money = {"$id": f"{address}money", "type": "object", "required": ["currency"]}
    pay = {"$id": f"{address}pay", "properties": {"amount": {"$ref": "money"}}}
    assert (await api.post("/api/v1/schemas", json={"id": "pay", "schema": pay})).status_code == 400
    assert (await api.post("/api/v1/schemas", json={"id": "money", "schema": money})).status_code == 204
    assert (await api.post("/api/v1/schemas", json={"id": "other", "schema": money})).json()["code"] == (
        "schema_url_taken"
    )
    api = await with_topic(strict, pay, schema_id="pay")
    refused = await api.post("/api/v1/jobs", json={**GOOD, "context": {"amount": {}}})
    assert [violation["path"] for violation in refused.json()["violations"]] == ["$.amount"]
    # What it refers to changes, and so does what it says.
    await api.post("/api/v1/schemas", json={"id": "money", "schema": {"$id": f"{address}money"}})
    assert (await api.post("/api/v1/jobs", json={**GOOD, "context": {"amount": {}}})).status_code == 200
    await api.delete("/api/v1/schemas/money")
    assert (await api.post("/api/v1/jobs", json=GOOD)).json()["code"] == "schema_invalid"


async def test_a_registry_that_cannot_be_read_lets_nothing_through_under_enforce(
    strict: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = await with_topic(strict)

    async def away(self: Any, schema_id: str) -> bytes | None:
        raise StoreUnavailableError

    monkeypatch.setattr(type(strict.store.schemas), "get", away)
    answer = await api.post("/api/v1/jobs", json=GOOD)
    assert (answer.status_code, answer.json()["code"]) == (503, "schema_registry_unavailable")
    assert answer.headers["retry-after"] == "2"
