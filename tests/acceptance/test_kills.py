"""kill -9 in the middle of a burst: nothing is lost, nothing ends twice, clients see clear answers only.

One stack for all of it; each test waits until the fault of the one before is over.
"""

import signal
import time

import pytest
from tests.acceptance.conftest import Say
from tests.acceptance.rig import HANG, SCAN_INTERVAL, WORKER_TTL, Rig, comes_true
from tests.acceptance.traffic import Books, Burst, Client, Marks, bombard, close_books, insist, post, settled

pytestmark = pytest.mark.asyncio(loop_scope="package")
WORKERS = ("worker-1", "worker-2")
JOBS, SECONDS = 300, 3.0


async def struck(single: Rig, victim: str, client: Client = post) -> tuple[Burst, Books, str]:
    """A burst in whose middle `victim` is killed; returns when all is over."""
    await single.everything_is_ready()
    await single.workers_online(*WORKERS)
    marks, seen = await Marks.set(single), len(single.events)
    burst = Burst()
    async with bombard(single, burst, JOBS, SECONDS, client=client):
        await burst.reached(JOBS // 2)
        await single.stack.kill(victim)
        killed = time.time()
    assert single.exits(victim, seen) == ["SIGKILL"], "one crash, and only of the victim"
    await single.everything_is_ready()
    took = await settled(single)
    books = await close_books(single, marks, burst.accepted)
    before = sum(at < killed for at in burst.accepted_at.values())
    more = (
        f"{before} of them before the kill, refused {dict(burst.refused) or 0}, "
        f"unanswered {burst.broken + burst.again}, "
        f"all ended {took:.1f} s after the burst, dispatched again {sum(n > 1 for n in books.given.values())}"
    )
    return burst, books, books.line(f"kill -9 {victim}", burst.accepted, more)


def nothing_lost(burst: Burst, books: Books) -> None:
    assert burst.unclear == [], "clients see 2xx, a clear 5xx, or nothing"
    assert len(burst.accepted) > JOBS // 2
    assert books.lost(burst.accepted) == [] and books.doubled(books.states) == []


def all_succeeded(books: Books, burst: Burst) -> None:
    others = {i: (books.states[i], books.reasons[i]) for i in burst.accepted if books.states[i] != "SUCCEEDED"}
    assert others == {}


async def test_scheduler_killed(single: Rig, say: Say) -> None:
    burst, books, line = await struck(single, "scheduler")
    runs = await single.runs(*WORKERS)
    twice = [job_id for job_id in burst.accepted if runs[job_id] > 1]
    say(f"{line}, run twice {len(twice)}")
    nothing_lost(burst, books)
    all_succeeded(books, burst)
    assert twice == [], "what was sent and not acknowledged comes again, and is not sent again"
    assert burst.refused == {} and burst.broken == 0, "who submits does not notice"


async def test_safety_kernel_killed(single: Rig, say: Say) -> None:
    burst, books, line = await struck(single, "kernel")
    say(line)
    nothing_lost(burst, books)
    all_succeeded(books, burst)
    assert burst.refused == {} and burst.broken == 0, "jobs are taken while nobody can decide"


async def test_worker_killed(single: Rig, say: Say) -> None:
    burst, books, line = await struck(single, "worker-1")
    say(line)
    nothing_lost(burst, books)
    all_succeeded(books, burst)


@pytest.mark.seed("S3")
async def test_nats_killed(single: Rig, say: Say) -> None:
    burst, books, line = await struck(single, "nats")
    say(line)
    nothing_lost(burst, books)
    all_succeeded(books, burst)


@pytest.mark.seed("S5", "S174")
async def test_redis_killed(single: Rig, say: Say) -> None:
    """With `appendfsync everysec`, what a process wrote is with the kernel: only a lost machine loses the last second.

    So after a kill -9 every accepted job must still have its record. What a worker had just to read or write when
    Redis went, its SDK reports as a failure of the job, which is then an end like any other, with a dead letter.
    """
    settings = await single.redis.config_get("append*")
    assert (settings["appendonly"], settings["appendfsync"]) == ("yes", "everysec")
    burst, books, line = await struck(single, "redis")
    without_record = [job_id for job_id in burst.accepted if job_id not in books.states]
    say(f"{line}, records lost {len(without_record)}")
    await single.renew(*WORKERS)
    nothing_lost(burst, books)
    failed = [job_id for job_id in burst.accepted if books.states[job_id] != "SUCCEEDED"]
    letters = (await single.client().get("/api/v1/dlq", params={"limit": "200"})).json()["items"]
    assert {books.states[job_id] for job_id in failed} <= {"FAILED"}
    assert set(failed) <= {letter["job_id"] for letter in letters}
    assert all("onnect" in books.reasons[job_id] for job_id in failed), [books.reasons[job_id] for job_id in failed]
    assert len(failed) < JOBS // 4


async def test_gateway_killed(single: Rig, say: Say) -> None:
    """Clients that ask again under their idempotency key get every job in, and none twice."""
    known = set(await single.jobs())
    burst, books, line = await struck(single, "gateway", insist)
    made = set(books.states) - known
    say(f"{line}, records made {len(made)}")
    nothing_lost(burst, books)
    all_succeeded(books, burst)
    assert len(burst.accepted) == JOBS and made == set(burst.accepted)


async def test_worker_killed_with_jobs_in_its_hands(single: Rig, say: Say) -> None:
    """The jobs of a worker that never comes back are tried again elsewhere; a job nobody survives fails."""
    await single.everything_is_ready()
    await single.workers_online(*WORKERS)
    marks = await Marks.set(single)
    hopeful = [await single.submit("once", topic=HANG) for _ in range(4)]

    async def all_running() -> bool:
        runs = await single.runs(*WORKERS)
        return all(runs[job_id] for job_id in hopeful)

    await comes_true(all_running, "every job is in a worker's hands")
    holders = {job_id: (await single.job(job_id))["worker_id"] for job_id in hopeful}
    assert set(holders.values()) == set(WORKERS), "the load is spread"
    began = time.monotonic()
    await single.stack.take_down("worker-1", signal.SIGKILL)
    orphans = [job_id for job_id, holder in holders.items() if holder == "worker-1"]
    for job_id in orphans:
        job = await single.job(job_id, wait=15)
        assert (job["state"], job["worker_id"], job["attempts"]) == ("SUCCEEDED", "worker-2", 2), job
    took = time.monotonic() - began
    # Silent for the TTL since its last heartbeat, then one look; what is left is the second run itself.
    assert took < WORKER_TTL + SCAN_INTERVAL + 2.0, took

    # Of the rest, taken from a worker that never comes back and with no other to take them, none is lost either.
    rest = [job_id for job_id in hopeful if job_id not in orphans]
    doomed = await single.submit("always", topic=HANG)
    await comes_true(lambda: ran(single, doomed, "worker-2", 1), "the doomed job runs")
    await single.stack.take_down("worker-2", signal.SIGKILL)
    await comes_true(lambda: in_state(single, doomed, "PENDING"), "the doomed job waits again")
    assert "worker_lost" in (await single.job(doomed)).get("failure_reason", "")
    await single.stack.bring_up("worker-1")
    await comes_true(lambda: ran(single, doomed, "worker-1", 1), "the doomed job runs a second time")
    await single.stack.kill("worker-1")
    failed = await single.job(doomed, wait=15)
    assert (failed["state"], failed["error_code"]) == ("FAILED", "worker_lost"), failed
    await single.stack.bring_up("worker-2")
    await settled(single)
    books = await close_books(single, marks)
    say(books.line("worker killed with jobs in hand", [*hopeful, doomed], f"taken over after {took:.1f} s"))
    assert {books.states[job_id] for job_id in rest} == {"SUCCEEDED"}
    assert books.doubled([*hopeful, doomed]) == []


async def ran(single: Rig, job_id: str, worker: str, times: int) -> bool:
    return (await single.runs(worker))[job_id] >= times


async def in_state(single: Rig, job_id: str, state: str) -> bool:
    return bool((await single.job(job_id))["state"] == state)
