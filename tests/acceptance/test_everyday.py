"""Two gateways, two schedulers, two workers, and nothing breaks."""

import asyncio
import time

import pytest
from tests.acceptance.conftest import Say
from tests.acceptance.rig import ECHO, HANG, Rig, delta
from tests.acceptance.traffic import Burst, Marks, close_books, post, settled

pytestmark = pytest.mark.asyncio(loop_scope="package")
SCHEDULERS, GATEWAYS = ("scheduler", "scheduler-2"), ("gateway", "gateway-2")
WORKERS = ("worker-1", "worker-2")
JOBS = 1000


async def test_three_verdicts(pair: Rig, say: Say) -> None:
    marks = await Marks.set(pair)
    allowed = await pair.submit("Ada")
    done = await pair.job(allowed, wait=10)
    assert (done["state"], done["safety_decision"], done["safety_rule_id"]) == ("SUCCEEDED", "ALLOW", "work")
    assert done["result"]["echo"] == "Ada"

    refused = await pair.client().post(
        "/api/v1/jobs", json={"prompt": "all", "topic": ECHO, "risk_tags": ["destructive"]}
    )
    said = refused.json()
    assert refused.status_code == 403 and said["code"] == "policy_denied" and "this is never done" in said["error"]
    denied = said["job_id"]
    assert (await pair.job(denied))["state"] == "DENIED"

    asked = await pair.submit("invoice", risk_tags=["payment"])
    waiting = await pair.job(asked)
    assert (waiting["state"], waiting["safety_decision"]) == ("APPROVAL_REQUIRED", "REQUIRE_APPROVAL")
    path = f"/api/v1/approvals/{asked}/approve"
    own = await pair.client().post(path, json={"reason": "mine"})
    assert (own.status_code, own.json()["code"]) == (403, "self_approval_denied")
    assert (await pair.job(asked))["state"] == "APPROVAL_REQUIRED"
    granted = await pair.approver.post(path, json={"reason": "the invoice is right"})
    assert granted.status_code == 200, granted.text
    paid = await pair.job(asked, wait=10)
    assert paid["state"] == "SUCCEEDED" and "approver" in paid["approval_by"], paid

    ids = [allowed, denied, asked]
    books = await close_books(pair, marks)
    say(books.line("three verdicts", ids))
    assert not books.lost(ids) and not books.doubled(ids)
    assert books.given == {allowed: 1, asked: 1}, "what is denied or waits for a person reaches no worker"


@pytest.mark.seed("S13", "S205")
async def test_a_thousand_jobs_through_two_schedulers_end_once_each(pair: Rig, say: Say) -> None:
    marks = await Marks.set(pair)
    before = [await pair.metrics(part) for part in SCHEDULERS]
    burst = Burst()
    began = time.monotonic()
    await post(pair, burst, JOBS, 0.0, lambda number: GATEWAYS[number % 2])
    assert len(burst.accepted) == JOBS, (burst.refused, burst.unclear, burst.broken)
    await settled(pair)
    took = time.monotonic() - began

    books = await close_books(pair, marks)
    after = [await pair.metrics(part) for part in SCHEDULERS]
    ids = burst.accepted
    times = list(zip(before, after, strict=True))
    shares = [delta(then, now, "cordum_jobs_received_total", topic=ECHO) for then, now in times]
    say(books.line("two schedulers", ids, f"shares {shares}, {took:.1f} s"))
    assert {books.states[job_id] for job_id in ids} == {"SUCCEEDED"}
    runs = await pair.runs(*WORKERS)
    for what, counted in (("ended", books.ends), ("told", books.told), ("given", books.given), ("run", runs)):
        assert [job_id for job_id in ids if counted[job_id] != 1] == [], f"every job is {what} once"
    # One submit reaches one scheduler, and what each counts adds up to what happened.
    for metric, labels in (
        ("cordum_jobs_received_total", {"topic": ECHO}),
        ("cordum_jobs_dispatched_total", {"topic": ECHO}),
        ("cordum_jobs_completed_total", {"topic": ECHO, "status": "succeeded"}),
    ):
        rises = [delta(then, now, metric, **labels) for then, now in times]
        assert sum(rises) == JOBS, (metric, rises)
    assert all(share > 0 for share in shares), f"one scheduler did everything: {shares}"


async def test_what_one_gateway_takes_the_other_shows_and_wakes_for(pair: Rig, say: Say) -> None:
    marks = await Marks.set(pair)
    held = [await pair.submit("always", topic=HANG, part="gateway") for _ in range(3)]
    assert {(await pair.job(job_id, part="gateway-2"))["topic"] for job_id in held} == {HANG}
    delays = []
    for job_id in held:
        waiting = asyncio.create_task(pair.job(job_id, wait=20, part="gateway-2"))
        # Its connection is open and its request read once B has answered a later one.
        await pair.job(job_id, part="gateway-2")
        began = time.monotonic()
        answer = await pair.client("gateway").post(f"/api/v1/jobs/{job_id}/cancel")
        assert answer.status_code == 200, answer.text
        assert (await waiting)["state"] == "CANCELLED"
        delays.append(time.monotonic() - began)
    assert max(delays) < 5, f"woken, not timed out: {delays}"
    books = await close_books(pair, marks)
    say(
        books.line(
            "two gateways", held, f"told at B {', '.join(f'{d * 1000:.0f}' for d in delays)} ms after A's cancel"
        )
    )
    assert not books.lost(held) and not books.doubled(held)
