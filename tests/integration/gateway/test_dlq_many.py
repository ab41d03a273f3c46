"""Dead letters by filter and in bulk, and those that others put on the bus."""

import asyncio
import itertools
import time

import httpx
import pytest
from cap.pb.cordum.agent.v1 import job_pb2
from google.protobuf.json_format import MessageToJson, Parse

from cordum.bus import CoreMessage, Delivery, envelope, subjects
from cordum.core.errors import CordumError
from cordum.core.ids import JobId, TenantId, Topic, micros
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.services.gateway.dlq import keeping
from cordum.services.gateway.dlq.again import retry_id
from cordum.services.gateway.dlq.consumer import LetterConsumer
from cordum.store import DeadLetter, NewJob
from cordum.store.store import Store

from .conftest import STRANGER, VIEWER, World, eventually

TENANT = TenantId("default")
_numbers = itertools.count(1)


def full_request(job_id: str) -> job_pb2.JobRequest:
    """A job with everything a job can ask for, and with what only its first way through the system put there."""
    return job_pb2.JobRequest(
        job_id=job_id,
        topic="job.default",
        priority=job_pb2.JOB_PRIORITY_CRITICAL,
        context_ptr=f"redis://ctx:{job_id}",
        adapter_id="adapter",
        env={"tenant_id": "default", "own": "1", "CORDUM_EFFECTIVE_CONFIG": "{}", "CORDUM_MAX_RETRIES": "9"},
        parent_job_id="parent",
        workflow_id="wf",
        step_index=3,
        memory_id="memory",
        context_hints=job_pb2.ContextHints(max_input_tokens=7, allow_summarization=True, tags=["a"]),
        budget=job_pb2.Budget(max_input_tokens=8, max_total_tokens=9, deadline_ms=60_000),
        tenant_id="default",
        principal_id="alice",
        labels={
            "team": "x",
            "run_id": "r-1",
            "approval_granted": "true",
            "Approval_by": "eve",
            "cordum.bus_msg_id": "m",
            "safety_bypassed": "true",
        },
        meta=job_pb2.JobMetadata(
            tenant_id="default",
            idempotency_key="k",
            capability="pay",
            risk_tags=["money"],
            requires=["gpu"],
            labels={"approval_granted": "true", "kept": "1"},
        ),
        compensation=job_pb2.Compensation(topic="job.undo", context_ptr="redis://ctx:undo"),
    )


async def dead(
    store: Store, *, reason: str = "worker_lost: gone", code: str = "worker_lost", topic: str = "job.default"
) -> str:
    """A job that has failed, with its letter, as the scheduler leaves them."""
    job_id = JobId(f"dead-{next(_numbers)}")
    now = micros(time.time())
    record = JobRecord(
        id=job_id,
        state=JobState.FAILED,
        created_at=now,
        updated_at=now,
        topic=Topic(topic),
        tenant=TENANT,
        workflow_id="wf",
        compensation="job.undo",
        memory_id="memory",
        attempts=3,
        failure_reason=reason,
        error_code=code,
        error_status="JOB_STATUS_FAILED",
        last_state="RUNNING",
    )
    request = full_request(job_id)
    request.topic = topic
    body = MessageToJson(request, indent=None).encode()
    await store.jobs.create(NewJob(record=record, request=body, context=b'{"n": 1}'))
    letter = DeadLetter(job_id=job_id, tenant=TENANT, topic=topic, reason=reason, reason_code=code, attempts=3)
    assert await store.dead_letters.add(letter)
    return job_id


async def listed(api: httpx.AsyncClient, query: str = "") -> list[str]:
    answer = await api.get(f"/api/v1/dlq?limit=500{query}")
    return [item["job_id"] for item in answer.json()["items"]]


async def test_letters_are_found_sorted_and_shown(world: World, api: httpx.AsyncClient) -> None:
    lost = [await dead(world.store) for _ in range(3)]
    late = await dead(world.store, reason="timeout: running exceeded (900 s)", code="timeout", topic="job.slow")

    assert await listed(api, "&reason=timeout: running exceeded") == [late]
    assert await listed(api, "&topic=job.slow") == [late] and await listed(api, "&code=worker_lost") == lost[::-1]
    page = (await api.get("/api/v1/dlq/page?code=worker_lost&limit=2")).json()
    assert [item["job_id"] for item in page["items"]] == lost[:0:-1]
    rest = (await api.get(f"/api/v1/dlq/page?code=worker_lost&limit=2&cursor={page['next_cursor']}")).json()
    assert ([item["job_id"] for item in rest["items"]], rest["next_cursor"]) == (lost[:1], None)

    shown = (await api.get(f"/api/v1/dlq/{late}")).json()
    assert (shown["job_id"], shown["reason_code"], shown["attempts"]) == (late, "timeout", 3)
    sorted_out = (await api.get("/api/v1/dlq/triage")).json()
    assert sorted_out["total"] == 4
    assert [(group["reason"], group["count"]) for group in sorted_out["groups"]] == [
        ("worker_lost", 3),
        ("timeout: running exceeded", 1),
    ]
    assert sorted_out["groups"][0]["topics"] == {"job.default": 3} and sorted_out["groups"][1]["advice"]
    job = (await api.get(f"/api/v1/jobs/{late}")).json()
    assert job["result"]["error"] == {"code": "timeout", "message": "timeout: running exceeded (900 s)"}
    assert (job["error_status"], job["last_state"], job["workflow_id"]) == ("JOB_STATUS_FAILED", "RUNNING", "wf")

    stranger = await world.client(STRANGER)
    assert await listed(stranger) == [] and (await stranger.get(f"/api/v1/dlq/{late}")).status_code == 404
    assert (await stranger.get("/api/v1/dlq/triage")).json() == {"total": 0, "groups": []}
    theirs = (await stranger.post("/api/v1/dlq/delete", json={"job_ids": [late]})).json()
    assert (theirs["done"], theirs["gone"]) == (0, 1) and await listed(api, "&topic=job.slow") == [late]
    for body in ({"all": True}, {"job_ids": [late]}):
        assert (await (await world.client(VIEWER)).post("/api/v1/dlq/retry", json=body)).status_code == 403


async def test_a_retry_keeps_what_was_asked_for_and_nothing_else(world: World, api: httpx.AsyncClient) -> None:
    old = await dead(world.store)

    new = (await api.post(f"/api/v1/dlq/{old}/retry")).json()["job_id"]

    stored = await world.store.jobs.request(JobId(new))
    assert stored is not None
    request, before = Parse(stored, job_pb2.JobRequest()), full_request(old)
    for name in (
        *("priority", "budget", "context_hints", "memory_id", "compensation", "workflow_id", "step_index"),
        *("parent_job_id", "adapter_id", "tenant_id", "principal_id", "topic"),
    ):
        assert getattr(request, name) == getattr(before, name), name
    assert dict(request.labels) == {
        "team": "x", "run_id": "r-1", "retry": "true", "dlq_entry": old, "retry_of_job": old,
    }  # fmt: skip
    assert dict(request.meta.labels) == {"kept": "1"}
    assert dict(request.env) == {"tenant_id": "default", "own": "1", "retry_of_job": old}
    assert (request.context_ptr, request.meta.idempotency_key) == (f"redis://ctx:{new}", "")
    assert (request.meta.capability, list(request.meta.requires)) == ("pay", ["gpu"])
    record = await world.store.jobs.get(JobId(new))
    assert record is not None and (record.workflow_id, record.compensation) == ("wf", "job.undo")
    assert (record.memory_id, record.attempts, record.state) == ("memory", 0, JobState.PENDING)
    assert await world.store.jobs.context(JobId(new)) == b'{"n": 1}'
    assert record.deadline_unix - record.created_at == 60_000_000


async def test_a_retry_that_breaks_off_loses_nothing_and_doubles_nothing(
    world: World, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await dead(world.store)

    async def die(*_: object) -> bool:
        raise CordumError("the process dies here")

    with monkeypatch.context() as patched:
        patched.setattr(world.store.dead_letters, "remove", die)
        assert (await api.post(f"/api/v1/dlq/{old}/retry")).status_code == 500
    letter = await world.store.dead_letters.get(TENANT, JobId(old))
    assert letter is not None
    made = await world.store.jobs.get(retry_id(letter))
    assert made is not None and made.state is JobState.PENDING

    answers = await asyncio.gather(*(api.post(f"/api/v1/dlq/{old}/retry") for _ in range(4)))

    ids = {answer.json()["job_id"] for answer in answers if answer.status_code == 200}
    assert ids == {made.id} and {answer.status_code for answer in answers} <= {200, 404}
    assert await listed(api) == []
    jobs = (await api.get("/api/v1/jobs?limit=50")).json()["items"]
    assert sorted(job["id"] for job in jobs) == sorted([old, made.id])


async def test_many_are_retried_and_deleted_by_what_they_have_in_common(world: World, api: httpx.AsyncClient) -> None:
    lost = [await dead(world.store) for _ in range(5)]
    late = [await dead(world.store, reason="timeout: running exceeded", code="timeout") for _ in range(3)]
    heard: list[str] = []

    async def note(message: CoreMessage) -> None:
        heard.append(envelope.decode(message.data).job_request.job_id)

    outside = await world.outside()
    await outside.subscribe(subjects.JOB_SUBMIT, note)
    await outside.ping()

    plan = (await api.post("/api/v1/dlq/retry", json={"code": "worker_lost", "dry_run": True, "limit": 2})).json()
    assert (plan["done"], plan["left"], plan["dry_run"]) == (0, 5, True)
    assert [item["job_id"] for item in plan["items"]] == lost[:2:-1] and len(await listed(api)) == 8

    first = (
        await api.post("/api/v1/dlq/retry", json={"code": "worker_lost", "limit": 2, "note": "pool is back"})
    ).json()
    assert (first["done"], first["left"], first["failed"]) == (2, 3, [])
    body = {"code": "worker_lost", "cursor": first["next_cursor"]}
    second = (await api.post("/api/v1/dlq/retry", json=body)).json()
    assert (second["done"], second["left"], second["next_cursor"]) == (3, 0, None)
    made = {item["new_job_id"] for item in first["items"] + second["items"]}

    async def all_heard() -> bool:
        return set(heard) == made

    await eventually(all_heard, 5)
    assert await listed(api) == late[::-1]

    gone = (await api.post("/api/v1/dlq/delete", json={"job_ids": [late[0], late[0], lost[0], "never"]})).json()
    assert (gone["done"], gone["gone"], gone["left"], gone["failed"]) == (1, 2, 0, [])
    again = (await api.post("/api/v1/dlq/delete", json={"job_ids": [late[0], lost[0], "never"]})).json()
    assert (again["done"], again["gone"]) == (0, 3)
    rest = (await api.post("/api/v1/dlq/delete", json={"reason": "timeout: running exceeded"})).json()
    assert rest["done"] == 2 and await listed(api) == []

    events = (await api.get("/api/v1/policy/audit?limit=100")).json()["items"]
    actions = [event["action"] for event in events if event["resource_type"] == "dlq"]
    assert actions.count("retry") == 5 and actions.count("delete") == 3
    assert actions.count("retry_bulk") == 2 and actions.count("delete_bulk") == 2


async def test_what_cannot_be_retried_is_told_and_stays(world: World, api: httpx.AsyncClient) -> None:
    await world.store.dead_letters.add(DeadLetter(job_id=JobId("gone"), tenant=TENANT, topic="job.x"))
    await world.store.dead_letters.add(DeadLetter(job_id=JobId("aimless"), tenant=TENANT))
    good = await dead(world.store)

    answer = (await api.post("/api/v1/dlq/retry", json={"all": True})).json()

    assert (answer["done"], answer["left"], [item["job_id"] for item in answer["items"]]) == (1, 0, [good])
    assert {(failure["job_id"], failure["code"]) for failure in answer["failed"]} == {
        ("gone", "dlq_not_retryable"),
        ("aimless", "dlq_no_topic"),
    }
    assert sorted(await listed(api)) == ["aimless", "gone"]


async def test_a_bulk_call_that_names_nothing_or_too_much_is_refused(world: World, api: httpx.AsyncClient) -> None:
    there = await dead(world.store)
    refused: list[dict[str, object]] = [
        {},
        {"all": True, "topic": "x"},
        {"job_ids": ["a"], "code": "x"},
        {"topc": "x", "code": "worker_lost"},
        {"job_ids": []},
        {"job_ids": ["a"] * 501},
        {"all": True, "limit": 501},
    ]
    for body in refused:
        for action in ("retry", "delete"):
            assert (await api.post(f"/api/v1/dlq/{action}", json=body)).status_code == 400, body
    assert await listed(api) == [there]


async def test_letters_from_the_bus_are_taken_once(world: World, api: httpx.AsyncClient) -> None:
    removed, running = await dead(world.store), JobId("running")
    now = micros(time.time())
    record = JobRecord(id=running, state=JobState.RUNNING, created_at=now, updated_at=now, tenant=TENANT)
    await world.store.jobs.create(NewJob(record=record, request=b"{}"))
    assert (await api.delete(f"/api/v1/dlq/{removed}")).status_code == 204
    unwritten = await dead(world.store)
    outside = await world.outside()

    async def announce(job_id: str, message: str) -> bytes:
        packet = envelope.packet("somebody", job_id, time.time())
        packet.job_result.job_id = job_id
        packet.job_result.status = job_pb2.JOB_STATUS_FAILED
        packet.job_result.worker_id = "somebody"
        packet.job_result.error_code = "broken"
        packet.job_result.error_message = message
        data = envelope.encode(packet)
        await outside.publish(subjects.JOB_DLQ, data)
        return data

    await announce(removed, "again")
    data = await announce(running, "not at all")
    await announce(unwritten, "another word")
    await announce("foreign", "from elsewhere")

    async def taken() -> bool:
        return "foreign" in await listed(api)

    await eventually(taken, 5)
    assert sorted(await listed(api)) == sorted(["foreign", unwritten])
    assert (await api.get(f"/api/v1/dlq/{unwritten}")).json()["reason"] == "worker_lost: gone"
    assert (await api.get("/api/v1/dlq/foreign")).json()["reason"] == "from elsewhere"
    # The job goes on, and after some patience the message is believed to be wrong.
    await LetterConsumer(world.store, world.bus).handle(Delivery(subjects.JOB_DLQ, data, attempt=9))
    assert (await api.get("/api/v1/dlq/running")).status_code == 404


async def test_one_gateway_tidies_up_in_a_period(world: World) -> None:
    assert not await keeping.tidy_once(world.store), "it was done at the start"
    await world.store.dead_letters.add(DeadLetter(job_id=JobId("j"), tenant=TENANT, topic="job.x"))
    assert await world.store.dead_letters.count() == 1
