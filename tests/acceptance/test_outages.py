"""Something is away for a while: jobs wait or are refused clearly, none runs undecided, and all goes on by itself."""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx
import pytest
from tests.acceptance.conftest import Say
from tests.acceptance.rig import ECHO, QUICK, Rig, comes_true, delta
from tests.acceptance.traffic import Marks, close_books, settled

from cordum.embedded.child import Recipe
from cordum.embedded.ports import free_port
from cordum.embedded.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")
BOUND = 8.0
"""Seconds within which every request is answered, whatever is away."""

LOOSE: tuple[Mapping[str, str], ...] = (
    {"CORDUM_ENV": "development", "WORKER_ATTESTATION": "off", "WORKER_READINESS_REQUIRED": "false"},
    {"CORDUM_ENV": "staging", "SAFETY_KERNEL_TLS_REQUIRED": "false", "SCHEMA_ENFORCEMENT": "warn"},
    # Other things that fail open; only POLICY_CHECK_FAIL_MODE lets jobs pass undecided, and it has tests of its own.
    {"OUTPUT_POLICY_FAIL_MODE": "open", "VELOCITY_FAIL_MODE": "open"},
)


@asynccontextmanager
async def away(single: Rig, part: str) -> AsyncIterator[None]:
    """Kills a part, which stays down for the body, and waits until everything is whole again."""
    await single.stack.take_down(part, signal.SIGKILL)
    try:
        yield
    finally:
        await single.stack.bring_up(part)
        await single.everything_is_ready()


@pytest.mark.seed("S167", "S169", "S74", "S170")
async def test_without_a_kernel_jobs_wait_visibly_and_then_finish(single: Rig, say: Say) -> None:
    await single.everything_is_ready()
    # Schedulers that were told everything that could sound like "let it pass" take part in the work.
    schedulers = ["scheduler", *[await add_scheduler(single, number) for number in range(len(LOOSE))]]
    marks = await Marks.set(single)
    before = {part: await single.metrics(part) for part in schedulers}
    ids: list[str] = []
    async with away(single, "kernel"):
        for number in range(24):
            answer = await single.client().post("/api/v1/jobs", json={"prompt": f"{number}", "topic": ECHO})
            assert answer.status_code == 200, answer.text
            ids.append(answer.json()["job_id"])

        async def all_explained() -> bool:
            listed = await single.jobs(state="PENDING")
            return all(listed.get(job_id, {}).get("pending_reason") == "safety_unavailable" for job_id in ids)

        async def deferred() -> bool:
            after = {part: await single.metrics(part) for part in schedulers}
            rises = [delta(before[part], after[part], "cordum_safety_unavailable_total") for part in schedulers]
            return sum(rises) >= 1

        await comes_true(all_explained, "every job says why it waits")
        await comes_true(deferred, "cordum_safety_unavailable_total rises")
        assert await single.messages("CORDUM_JOBS", "worker.*.jobs", marks.jobs) == [], "nothing was dispatched"
        assert {(await single.job(job_id))["state"] for job_id in ids} == {"PENDING"}
        came_back = time.monotonic()
    ready = time.monotonic()
    await settled(single)
    done = time.monotonic()
    books = await close_books(single, marks)
    more = f"finished {done - ready:.1f} s after the kernel was ready ({done - came_back:.1f} s after its start)"
    say(books.line("kernel away", ids, more))
    assert done - ready < 7.0, more
    assert {books.states[job_id] for job_id in ids} == {"SUCCEEDED"}
    assert books.lost(ids) == [] and books.doubled(ids) == []
    after = {part: await single.metrics(part) for part in schedulers}
    assert sum(delta(before[part], after[part], "cordum_jobs_dispatched_total") for part in schedulers) == len(ids)
    for job_id in books.given:
        decisions = (await single.client().get(f"/api/v1/jobs/{job_id}/decisions")).json()
        shown = await single.job(job_id)
        assert decisions and shown["safety_decision"] == "ALLOW" and shown["safety_rule_id"] == "work", job_id
    for part in schedulers[1:]:
        await single.stack.take_down(part)


async def add_scheduler(single: Rig, number: int) -> str:
    """One more scheduler, with settings of LOOSE."""
    name, port = f"loose-{number}", free_port()
    config = single.stack.data_dir.config

    async def ready() -> bool:
        async with httpx.AsyncClient(trust_env=False, timeout=2) as client:
            try:
                return (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
            except httpx.TransportError:
                return False

    def recipe(stack: Stack) -> Recipe:
        stack.ports[f"{name}.metrics"] = port
        return Recipe(
            name=name,
            command=[sys.executable, "-P", "-m", "cordum.services.scheduler"],
            env={
                **stack.base_env,
                **QUICK,
                **LOOSE[number],
                "NATS_URL": stack.nats_url,
                "REDIS_URL": stack.redis_url,
                "SAFETY_KERNEL_ADDR": stack.kernel_address,
                "SCHEDULER_METRICS_ADDR": f"127.0.0.1:{port}",
                "POOL_CONFIG_PATH": str(config / "pools.yaml"),
                "TIMEOUT_CONFIG_PATH": str(config / "timeouts.yaml"),
                "CORDUM_INSTANCE_ID": name,
            },
            probe=ready,
            log_file=stack.data_dir.log_file(name),
            directory=stack.data_dir.path,
        )

    return await single.stack.add(recipe)


@pytest.mark.seed("S173")
async def test_without_redis_the_api_says_so_in_time_and_recovers_by_itself(single: Rig, say: Say) -> None:
    await single.everything_is_ready()
    marks = await Marks.set(single)
    known = await single.submit("before")
    assert (await single.job(known, wait=10))["state"] == "SUCCEEDED"
    services = {part: single.stack.pids[part] for part in ("gateway", "scheduler", "kernel")}
    slowest = 0.0
    async with away(single, "redis"):
        for method, path, body in (
            ("POST", "/api/v1/jobs", {"prompt": "during", "topic": ECHO}),
            ("GET", f"/api/v1/jobs/{known}", None),
            ("GET", "/api/v1/jobs", None),
            ("GET", "/api/v1/dlq", None),
        ):
            began = time.monotonic()
            answer = await single.client().request(method, path, json=body, timeout=BOUND + 5)
            slowest = max(slowest, time.monotonic() - began)
            said = answer.json()
            assert answer.status_code == 503 and said["code"] == "store_unavailable" and said["error"], answer.text
        assert slowest < BOUND

        async def not_ready() -> bool:
            probe = await single.client().get("/readyz")
            return probe.status_code == 503 and probe.json()["checks"].get("redis", "ok") != "ok"

        await comes_true(not_ready, "/readyz is 503 and names redis")
        assert (await single.client().get("/livez")).status_code == 200
    assert {part: single.stack.pids[part] for part in services} == services, "nobody was restarted"
    await single.renew("worker-1", "worker-2")
    later = await single.submit("after")
    assert (await single.job(later, wait=15))["state"] == "SUCCEEDED"
    books = await close_books(single, marks)
    say(books.line("redis away", [known, later], f"refused within {slowest:.1f} s"))
    assert books.doubled([known, later]) == []


@pytest.mark.seed("S179", "S182")
async def test_without_nats_no_submit_is_dropped(single: Rig, say: Say) -> None:
    await single.everything_is_ready()
    marks = await Marks.set(single)
    before = await single.metrics("scheduler")
    services = {part: single.stack.pids[part] for part in ("gateway", "scheduler", "kernel")}
    ids: list[str] = []
    refused = 0

    async def submit(number: int) -> float:
        nonlocal refused
        began = time.monotonic()
        body = {"prompt": f"{number}", "topic": ECHO}
        answer = await single.client().post("/api/v1/jobs", json=body, timeout=BOUND + 10)
        if answer.status_code == 200:
            ids.append(answer.json()["job_id"])
        else:
            assert answer.status_code >= 500 and answer.json()["code"], answer.text
            refused += 1
        return time.monotonic() - began

    async with away(single, "nats"):
        slowest = max(await asyncio.gather(*(submit(number) for number in range(10))))

        async def not_ready() -> bool:
            probe = await single.client().get("/readyz")
            return probe.status_code == 503 and probe.json()["checks"].get("nats", "ok") != "ok"

        await comes_true(not_ready, "/readyz is 503 and names nats")
        listed = await single.jobs()
        assert {listed[job_id]["state"] for job_id in ids} <= {"PENDING"}, "stored, not dispatched"
    await single.workers_online("worker-1", "worker-2")
    await settled(single)
    after = await single.metrics("scheduler")
    replayed = delta(before, after, "cordum_scheduler_orphan_replayed_total")
    books = await close_books(single, marks)
    say(books.line("nats away", ids, f"refused {refused}, answered within {slowest:.1f} s, replayed {replayed:.0f}"))
    assert slowest < BOUND
    assert {part: single.stack.pids[part] for part in services} == services, "nobody was restarted"
    assert len(ids) + refused == 10
    assert books.lost(ids) == [] and books.doubled(ids) == []
    assert {i: books.reasons[i] for i in ids if books.states[i] != "SUCCEEDED"} == {}
    assert replayed >= len(ids) > 0, "whose message was lost is found by the replayer, and counted"
