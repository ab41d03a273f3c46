"""Held results over HTTP: who sees that they are held, and who may let them go."""

import hashlib
import time
from typing import Any

import httpx
import msgspec
import pytest

from cordum.core.ids import DispatchId, JobId, Topic, WorkerId, micros
from cordum.core.jobs import lifecycle, output_moves
from cordum.core.jobs.output import OutputFinding, OutputSafety
from cordum.core.jobs.states import JobState
from cordum.core.policy.decision import Remediation
from cordum.services.gateway.jobs.remediation import chosen
from cordum.store import Applied, DeadLetter, HeldOutput

from .conftest import AGENT, BOB, STRANGER, VIEWER, World

SECRET = b'{"answer":"AKIAABCDEFGHIJKLMNOP"}'
WORKER, DISPATCH = WorkerId("w-1"), DispatchId("d-1")
SAFETY = OutputSafety(
    decision="QUARANTINE",
    reason="keys",
    rule_id="no-keys",
    policy_snapshot="v1:abc",
    findings=(
        OutputFinding(type="secret_leak", severity="critical", offset=11, length=20, matched_pattern="AKIA****"),
    ),
    checked_at=micros(1.0),
)


async def submitted(api: httpx.AsyncClient) -> JobId:
    return JobId((await api.post("/api/v1/jobs", json={"prompt": "x"})).json()["job_id"])


async def running(world: World, job_id: JobId) -> None:
    """The job as it is once a scheduler has given it to a worker."""
    record = await world.store.jobs.get(job_id)
    assert record is not None
    fields = {"worker_id": WORKER, "dispatch_id": DISPATCH}
    change = lifecycle.Change(to=JobState.RUNNING, allowed_from=frozenset({JobState.PENDING}), fields=fields)
    assert isinstance(await world.store.jobs.apply(job_id, change, now=micros(time.time())), Applied)


async def quarantined(world: World, api: httpx.AsyncClient, *, state: str = "SUCCEEDED", message: str = "") -> JobId:
    """A job whose result a scheduler has put into quarantine."""
    job_id = await submitted(api)
    await running(world, job_id)
    pointer = f"redis://res:{job_id}"
    safety = msgspec.structs.replace(SAFETY, original_ptr=pointer)
    held = HeldOutput(content=SECRET, message=message, code="boom", state=state, original_ptr=pointer)
    await world.store.outputs.hold(job_id, held)
    record = await world.store.jobs.get(job_id)
    assert record is not None
    change = output_moves.quarantine(record, worker=WORKER, dispatch_id=DISPATCH, safety=safety)
    assert isinstance(await world.store.jobs.apply(job_id, change, now=micros(time.time())), Applied)
    letter = DeadLetter(
        job_id=job_id, tenant=record.tenant, topic=record.topic, reason_code="output_quarantined", reason="keys"
    )
    await world.store.dead_letters.add(letter)
    return job_id


async def shown(api: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    answer = await api.get(f"/api/v1/jobs/{job_id}")
    assert answer.status_code == 200
    return dict(answer.json())


@pytest.mark.seed("S189")
async def test_a_quarantined_result_is_listed_with_its_findings_and_cannot_be_read(
    world: World, api: httpx.AsyncClient
) -> None:
    job_id = await quarantined(world, api)
    other = await submitted(api)

    for key in (None, VIEWER, AGENT):
        reader = api if key is None else await world.client(key)
        body = await shown(reader, job_id)
        assert (body["state"], body["result"], body["result_ptr"]) == ("OUTPUT_QUARANTINED", None, "")
        assert body["output_decision"] == "QUARANTINE" and body["error_code"] == "output_quarantined"
        assert body["output_safety"]["findings"][0]["type"] == "secret_leak"
        assert body["output_safety"]["phase"] == "sync" and body["output_safety"]["redacted_ptr"] == ""
        assert "AKIAABCDEFGHIJKLMNOP" not in str(body)
    for word in ("OUTPUT_QUARANTINED", "output_quarantined"):
        listed = (await api.get(f"/api/v1/jobs?state={word}")).json()["items"]
        assert [item["id"] for item in listed] == [job_id]
    assert "output_decision" not in await shown(api, other)


async def test_an_administrator_releases_a_result_with_a_reason(world: World, api: httpx.AsyncClient) -> None:
    job_id = await quarantined(world, api)
    url = f"/api/v1/jobs/{job_id}/release-output"
    for word in (None, {}, {"reason": " "}, {"reason": "x" * 600}):
        assert (await api.post(url, json=word)).status_code == 400
    for key in (BOB, VIEWER, AGENT):
        refused = await (await world.client(key)).post(url, json={"reason": "let me"})
        assert (refused.status_code, refused.json()["code"]) == (403, "access_denied")
        assert (await (await world.client(key)).get(f"/api/v1/jobs/{job_id}/held-output")).status_code == 403
    assert (await (await world.client(STRANGER)).post(url, json={"reason": "let me"})).status_code == 404

    looked = await api.get(f"/api/v1/jobs/{job_id}/held-output")
    released = await api.post(url, json={"reason": "a test key"})

    assert looked.json()["content"] == {"answer": "AKIAABCDEFGHIJKLMNOP"}
    assert released.status_code == 200 and released.json()["state"] == "SUCCEEDED"
    body = await shown(await world.client(VIEWER), job_id)
    assert body["state"] == "SUCCEEDED" and body["result"] == {"answer": "AKIAABCDEFGHIJKLMNOP"}
    assert body["output_safety"]["released_by"] == "alice" and body["output_safety"]["release_reason"] == "a test key"
    assert "error_code" not in body and body["failure_reason"] == ""
    assert (await api.get("/api/v1/dlq")).json()["items"] == []
    again = await api.post(url, json={"reason": "once more"})
    assert (again.status_code, again.json()["code"]) == (409, "output_not_held")
    assert not await world.store.outputs.held(job_id)
    audited = str(await audit(world))
    assert "output_view" in audited and "output_release" in audited and "a test key" in audited


async def audit(world: World) -> Any:
    found = await world.store.jobs._batcher.submit([("XRANGE", "audit:chain:{default}", "-", "+")])
    return found[0]


async def test_a_failed_job_is_released_as_it_failed(world: World, api: httpx.AsyncClient) -> None:
    job_id = await quarantined(world, api, state="FAILED", message="token was wrong")

    answer = await api.post(f"/api/v1/jobs/{job_id}/release-output", json={"reason": "harmless"})

    body = await shown(api, job_id)
    assert answer.json()["state"] == body["state"] == "FAILED"
    assert (body["failure_reason"], body["error_code"]) == ("token was wrong", "boom")


async def test_of_a_redacted_result_the_original_can_be_released(world: World, api: httpx.AsyncClient) -> None:
    job_id = await submitted(api)
    await running(world, job_id)
    pointer = f"redis://res:{job_id}"
    held = HeldOutput(content=SECRET, state="SUCCEEDED", original_ptr=pointer)
    await world.store.outputs.hold(job_id, held)
    copy = b'{"answer":"[REDACTED]"}'
    redacted = await world.store.outputs.put_redacted(pointer, copy)
    done = lifecycle.succeed(worker=WORKER, dispatch_id=DISPATCH, result_ptr=redacted)
    safety = msgspec.structs.replace(SAFETY, decision="REDACT", redacted_ptr=redacted, original_ptr=pointer)
    change = output_moves.decided(done, safety, hashlib.sha256(copy).hexdigest())
    assert isinstance(await world.store.jobs.apply(job_id, change, now=micros(time.time())), Applied)
    assert (await shown(api, job_id))["result"] == {"answer": "[REDACTED]"}

    await api.post(f"/api/v1/jobs/{job_id}/release-output", json={"reason": "needed"})

    body = await shown(api, job_id)
    assert body["result"] == {"answer": "AKIAABCDEFGHIJKLMNOP"} and body["state"] == "SUCCEEDED"
    assert body["output_safety"]["released_by"] == "alice"


async def test_a_result_changed_after_its_release_is_not_shown(world: World, api: httpx.AsyncClient) -> None:
    job_id = await submitted(api)
    await running(world, job_id)
    pointer = await world.store.jobs.put_result(job_id, b'{"fine":1}')
    done = lifecycle.succeed(worker=WORKER, dispatch_id=DISPATCH, result_ptr=pointer)
    allowed = OutputSafety(decision="ALLOW", original_ptr=pointer)
    change = output_moves.decided(done, allowed, hashlib.sha256(b'{"fine":1}').hexdigest())
    assert isinstance(await world.store.jobs.apply(job_id, change, now=micros(time.time())), Applied)
    assert (await shown(api, job_id))["result"] == {"fine": 1}

    await world.store.jobs.put_result(job_id, SECRET)

    assert (await shown(api, job_id))["result"] is None


async def test_a_confirmed_quarantine_is_final(world: World, api: httpx.AsyncClient) -> None:
    job_id = await quarantined(world, api)
    operator = await world.client(BOB)

    assert (await operator.delete(f"/api/v1/dlq/{job_id}")).status_code == 204

    refused = await api.post(f"/api/v1/jobs/{job_id}/release-output", json={"reason": "but"})
    assert (refused.status_code, refused.json()["code"]) == (409, "output_confirmed")
    body = await shown(api, job_id)
    assert body["state"] == "OUTPUT_QUARANTINED" and body["output_safety"]["confirmed_by"] == "bob"


async def test_a_quarantined_job_can_be_run_again(world: World, api: httpx.AsyncClient) -> None:
    job_id = await quarantined(world, api)

    answer = await api.post(f"/api/v1/dlq/{job_id}/retry", json={"reason": "the worker is fixed"})

    assert answer.status_code == 200
    assert (await shown(api, answer.json()["job_id"]))["state"] == "PENDING"
    assert (await shown(api, job_id))["state"] == "OUTPUT_QUARANTINED"
    assert "the worker is fixed" in str(await audit(world))


# Remediation

POLICY = """
version: v1
default_decision: deny
rules:
  - id: no
    match: {topics: [job.raw]}
    decision: deny
    reason: not raw
    remediations:
      - {id: safe, title: Safe, replacement_topic: job.safe, replacement_capability: tame, add_labels: {mode: safe},
         remove_labels: [raw]}
  - id: two
    match: {topics: [job.two]}
    decision: deny
    remediations: [{id: a, replacement_topic: job.safe}, {id: b, replacement_topic: job.raw}]
  - {id: yes, match: {topics: [job.safe, job.default]}, decision: allow}
"""


async def denied(api: httpx.AsyncClient, topic: str) -> str:
    body = {"prompt": "x", "topic": topic, "labels": {"raw": "1", "team": "blue"}, "idempotency_key": f"k-{topic}"}
    answer = await api.post("/api/v1/jobs", json=body)
    assert answer.status_code == 403
    return str(answer.json()["job_id"])


async def test_a_denied_job_is_tried_again_as_its_policy_offers(make_world: Any) -> None:
    world = await make_world(policy=POLICY)
    api = await world.client()
    job_id = await denied(api, "job.raw")

    answer = await api.post(f"/api/v1/jobs/{job_id}/remediate")

    told = answer.json()
    assert answer.status_code == 200 and told["remediation_of"] == job_id and told["trace_id"]
    body = await shown(api, told["job_id"])
    assert (body["state"], body["topic"], body["capability"]) == ("PENDING", "job.safe", "tame")
    assert body["labels"] == {
        "team": "blue", "mode": "safe", "_source": "api", "remediation_of": job_id, "remediation_id": "safe",
    }  # fmt: skip
    assert body["safety_decision"] == ""  # nobody has decided it yet: it goes the way of every job
    stored = await world.store.jobs.request(JobId(told["job_id"]))
    assert stored is not None and f'"parentJobId":"{job_id}"'.encode() in stored.replace(b" ", b"")


async def test_what_cannot_be_remediated_says_why(make_world: Any) -> None:
    world = await make_world(policy=POLICY)
    api = await world.client()
    two, fine = await denied(api, "job.two"), await submitted(api)
    url = "/api/v1/jobs/{}/remediate"

    ambiguous = await api.post(url.format(two))
    unknown = await api.post(url.format(two), json={"remediation_id": "c"})
    none = await api.post(url.format(fine))
    nobody = await api.post(url.format("no-such-job"))
    chosen_one = await api.post(url.format(two), json={"remediation_id": "a"})
    viewer = await (await world.client(VIEWER)).post(url.format(two), json={"remediation_id": "a"})

    assert (ambiguous.status_code, ambiguous.json()["code"]) == (400, "remediation_ambiguous")
    assert ambiguous.json()["available"] == ["a", "b"]
    assert (unknown.status_code, unknown.json()["code"]) == (404, "remediation_not_found")
    assert (none.status_code, none.json()["code"]) == (409, "no_remediation")
    assert (nobody.status_code, viewer.status_code, chosen_one.status_code) == (404, 403, 200)


def test_a_job_that_runs_has_no_remediation() -> None:
    from cordum.core.jobs.record import JobRecord
    from cordum.services.gateway.errors import ApiError

    record = JobRecord(
        id=JobId("j"), state=JobState.RUNNING, topic=Topic("job.x"), safety_remediations=(Remediation(id="a"),)
    )
    with pytest.raises(ApiError):
        chosen(record, "a")


# A kernel that is away


async def test_a_gateway_may_refuse_what_nobody_can_decide(make_world: Any) -> None:
    world = await make_world(GATEWAY_ACCEPT_UNDECIDED="false")
    api = await world.client()
    await world.stop_kernel()

    answer = await api.post("/api/v1/jobs", json={"prompt": "x", "idempotency_key": "again"})

    assert (answer.status_code, answer.json()["code"]) == (503, "safety_unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert (await api.get("/api/v1/jobs")).json()["items"] == []
