"""What an operator sees: the guide's metrics after known traffic, and the log of every process."""

import asyncio
import json
from collections.abc import Sequence

import pytest
from tests.acceptance.conftest import Say
from tests.acceptance.rig import ECHO, Json, Rig, Samples, comes_true, delta
from tests.acceptance.traffic import Marks, close_books

pytestmark = pytest.mark.asyncio(loop_scope="package")
SCHEDULERS, GATEWAYS = ("scheduler", "scheduler-2"), ("gateway", "gateway-2")
SERVICES = {
    "gateway": "cordum-api-gateway",
    "gateway-2": "cordum-api-gateway",
    "scheduler": "cordum-scheduler",
    "scheduler-2": "cordum-scheduler",
    "kernel": "cordum-safety-kernel",
}
PAYLOAD, SECRET = "canary-in-the-payload-7f3a", "canary-in-a-password-91c2"


async def scraped(pair: Rig, parts: Sequence[str]) -> list[Samples]:
    return [await pair.metrics(part) for part in parts]


@pytest.mark.seed("S70", "S71", "S72", "S73", "S76", "S82", "S184")
async def test_metrics_say_what_happened(pair: Rig, say: Say) -> None:
    marks = await Marks.set(pair)
    parts = list(SERVICES)
    before = await scraped(pair, parts)
    ids = [await pair.submit(f"metric {number}") for number in range(5)]
    for job_id in ids:
        assert (await pair.job(job_id, wait=10))["state"] == "SUCCEEDED"
    for _ in range(2):
        answer = await pair.client().post(
            "/api/v1/jobs", json={"prompt": "x", "topic": ECHO, "risk_tags": ["destructive"]}
        )
        assert answer.status_code == 403
        ids.append(answer.json()["job_id"])
    after = await scraped(pair, parts)

    def rise(name: str, **labels: str) -> float:
        return sum(delta(then, now, name, **labels) for then, now in zip(before, after, strict=True))

    assert rise("cordum_jobs_received_total", topic=ECHO) == 5
    assert rise("cordum_jobs_dispatched_total", topic=ECHO) == 5
    assert rise("cordum_jobs_completed_total", topic=ECHO, status="succeeded") == 5
    assert rise("cordum_safety_denied_total", topic=ECHO) == 2
    assert rise("cordum_scheduler_dispatch_latency_seconds_count", topic=ECHO) == 5
    edges = {
        dict(labels)["le"]
        for samples in after
        for name, labels in samples
        if name == "cordum_scheduler_dispatch_latency_seconds_bucket"
    }
    assert {"0.5", "1.0"} <= edges
    route = "/api/v1/jobs"
    assert rise("cordum_http_requests_total", method="POST", route=route, status="200") == 5
    assert rise("cordum_http_requests_total", method="POST", route=route, status="403") == 2
    assert rise("cordum_http_request_duration_seconds_count", method="POST", route=route) == 7
    routes = {dict(labels).get("route", "") for samples in after for name, labels in samples if "_http_" in name}
    assert "/api/v1/jobs/{job_id}" in routes
    assert not any(job_id in known for job_id in ids for known in routes), "the template, never the raw path"
    # The runbook's quantile queries have something to work on (the output policy's is not part of this stack yet).
    for bucket in (
        "cordum_http_request_duration_seconds_bucket",
        "cordum_scheduler_dispatch_latency_seconds_bucket",
        "cordum_output_eval_duration_seconds_bucket",
    ):
        assert rise(bucket) > 0, bucket
    assert rise("cordum_output_eval_duration_seconds_bucket", le="0.005") > 0

    listed = await pair.client().get("/api/v1/dlq", params={"limit": "200"})
    count = len(listed.json()["items"])
    assert count >= 2

    async def gauges_agree() -> bool:
        return all(
            samples.get((name, frozenset())) == count
            for samples in await scraped(pair, GATEWAYS)
            for name in ("cordum_dlq_entries", "cordum_dlq_depth")
        )

    await comes_true(gauges_agree, f"both gauges of both gateways at {count}", 10)
    books = await close_books(pair, marks)
    say(books.line("metrics", ids, f"{count} dead letters in API and gauges"))


@pytest.mark.seed("S84", "S85")
async def test_every_line_of_every_log_is_json_without_secrets(pair: Rig, say: Say) -> None:
    marks = await Marks.set(pair)
    body: Json = {"prompt": PAYLOAD, "topic": ECHO, "context": {"password": SECRET, "text": PAYLOAD}}
    job_id = await pair.submit(**body)
    done = await pair.job(job_id, wait=10)
    assert done["state"] == "SUCCEEDED" and done["result"]["echo"] == PAYLOAD
    # Answers that invite a careless log line: wrong key, broken JSON, a denial.
    client = pair.client()
    assert (await client.get("/api/v1/jobs", headers={"X-API-Key": SECRET})).status_code == 401
    assert (await client.post("/api/v1/jobs", content=f'{{"prompt": "{PAYLOAD}')).status_code == 400
    denied = await client.post("/api/v1/jobs", json={**body, "risk_tags": ["destructive"]})
    assert denied.status_code == 403

    secrets = pair.stack.secrets
    canaries = (
        PAYLOAD,
        SECRET,
        secrets.admin_key,
        secrets.approver_key,
        secrets.nats_password,
        secrets.redis_password,
    )
    lines = 0
    for part, service in SERVICES.items():
        text = await asyncio.to_thread(pair.stack.data_dir.log_file(part).read_text)
        assert text, f"{part} says nothing"
        for line in text.splitlines():
            entry = json.loads(line)
            assert {"time", "level", "msg", "service"} <= entry.keys(), line
            assert entry["service"] == service
            lines += 1
        assert [canary for canary in canaries if canary in text] == [], f"{part} tells secrets"
    books = await close_books(pair, marks)
    ids = [job_id, denied.json()["job_id"]]
    say(books.line("logs", ids, f"{lines} lines of {len(SERVICES)} processes parsed"))
