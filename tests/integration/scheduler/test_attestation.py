"""`WORKER_ATTESTATION` (S97): who counts as a worker, and what becomes of those who do not."""

import asyncio
from collections.abc import Awaitable

import pytest
from tests.integration.scheduler import attested
from tests.integration.scheduler.world import World, echo

from cordum.core.jobs.states import JobState

ENFORCE = {"WORKER_ATTESTATION": "enforce", "SCHEDULER_CONFIG_RELOAD_INTERVAL": "30s"}


@pytest.mark.seed("S97")
async def test_enforced_only_workers_with_a_good_token_are_listed_and_get_jobs(world: World) -> None:
    good = await attested.issue(world, "good", 1)
    bound = await attested.issue(world, "bound", 2, pools=["other"], topics=["job.other"])
    _, scheduler = await asyncio.gather(
        world.start_kernel(), world.start_scheduler(**ENFORCE, WORKER_READINESS_REQUIRED="true")
    )
    job = await world.submit("job.work")
    await attested.start_agent(world, "nameless", "", {"job.work": echo})
    await attested.start_agent(world, "liar", attested.token_for(99), {"job.work": echo})
    await attested.start_agent(world, "bound", bound, {"job.work": echo}, pool="main")
    await attested.beat(world, "good", token=good, sender="impostor")
    wanted = {
        ("nameless", "auth_token_missing"),
        ("liar", "credential_invalid"),
        ("bound", "pool_not_allowed"),
        ("good", "sender_id_mismatch"),
    }

    async def all_refused() -> bool:
        return wanted <= attested.refusals(scheduler)

    await world.eventually(all_refused, "every refusal is logged")
    assert (await world.record(job)).state is JobState.PENDING
    assert await attested.listed(world) == {}

    # Readiness is demanded too, and the SDK announces its topics without a token, before its first heartbeat.
    await attested.start_agent(world, "good", good, {"job.work": echo})

    assert (await world.until(job, JobState.SUCCEEDED)).worker_id == "good"
    await world.eventually(lambda: _is(attested.listed(world), {"good": "verified"}), "only the good one is listed")
    lines = scheduler.events("attestation failed")
    assert {line["msg"] for line in lines} >= {"worker heartbeat rejected: attestation failed"}
    assert all(line["level"] == "error" for line in lines)
    heartbeats = [line for line in lines if line["worker_id"] == "nameless" and "heartbeat" in line["msg"]]
    assert len(heartbeats) == 1, "once a minute, not with every heartbeat"
    assert good not in scheduler.log.read_text() and "argon2id" not in scheduler.log.read_text()
    assert await scheduler.metric("cordum_boundary_events_total", event="attestation failed") > len(lines)


async def test_topics_of_the_credential_bind_the_worker(world: World) -> None:
    token = await attested.issue(world, "bound", 3, topics=["job.single"])
    await asyncio.gather(world.start_kernel(), world.start_scheduler(**ENFORCE))
    await attested.start_agent(world, "bound", token, {"job.work": echo, "job.single": echo})
    await world.until(await world.submit("job.single"), JobState.SUCCEEDED)

    other = await world.submit("job.work")

    await world.until(other, lambda now: now.pending_reason == "no_workers")


async def test_a_revoked_worker_is_gone_at_once_and_its_jobs_run_elsewhere(world: World) -> None:
    first, second = await attested.issue(world, "first", 4), await attested.issue(world, "second", 5)
    world.timeouts["topics"] = {"job.work": {"timeout_seconds": 60, "max_retries": 3}}
    world.write_files()
    # Silence would take this long to be noticed: it is the revocation that counts.
    await asyncio.gather(world.start_kernel(), world.start_scheduler(**ENFORCE, SCHEDULER_WORKER_TTL="60s"))
    never = asyncio.Event()

    async def hang(_context: object, data: object) -> object:
        await never.wait()
        return data

    await attested.start_agent(world, "first", first, {"job.work": hang})
    job = await world.submit("job.work")
    assert (await world.until(job, JobState.RUNNING)).worker_id == "first"
    await attested.start_agent(world, "second", second, {"job.work": echo})

    await attested.revoke(world, "first")

    record = await world.until(job, JobState.SUCCEEDED)
    assert (record.worker_id, record.attempts) == ("second", 2)
    await world.eventually(lambda: _is(attested.listed(world), {"second": "verified"}), "it is listed no more")
    later = [await world.submit("job.work") for _ in range(3)]
    assert {record.worker_id for record in await world.until_all_end(later)} == {"second"}
    never.set()


async def test_a_new_token_replaces_the_old_one_at_once(world: World) -> None:
    old = await attested.issue(world, "worker", 6)
    _, scheduler = await asyncio.gather(world.start_kernel(), world.start_scheduler(**ENFORCE))
    agent = await attested.start_agent(world, "worker", old, {"job.work": echo})
    await world.until(await world.submit("job.work"), JobState.SUCCEEDED)

    new = await attested.issue(world, "worker", 7)

    async def refused() -> bool:
        return ("worker", "credential_invalid") in attested.refusals(scheduler)

    await world.eventually(refused, "the old token is refused")
    job = await world.submit("job.work")
    await world.until(job, lambda now: bool(now.pending_reason))
    await agent.close()
    await attested.start_agent(world, "worker", new, {"job.work": echo})
    await world.until(job, JobState.SUCCEEDED)


@pytest.mark.seed("S97")
async def test_warned_about_a_worker_without_a_token_goes_on_working(world: World) -> None:
    good = await attested.issue(world, "good", 8)
    _, scheduler = await asyncio.gather(world.start_kernel(), world.start_scheduler(WORKER_ATTESTATION="warn"))
    await attested.start_agent(world, "nameless", "", {"job.work": echo})
    await attested.start_agent(world, "good", good, {"job.other": echo}, pool="other")

    await world.until(await world.submit("job.work"), JobState.SUCCEEDED)
    await world.until(await world.submit("job.other"), JobState.SUCCEEDED)

    assert attested.refusals(scheduler) == {("nameless", "auth_token_missing")}
    [line] = scheduler.events("attestation failed")
    assert (line["msg"], line["level"]) == ("worker heartbeat accepted without attestation", "warn")
    # What an operator sees before enforcing it.
    standings = {"good": "verified", "nameless": "auth_token_missing"}
    await world.eventually(lambda: _is(attested.listed(world), standings), "standings are listed")


async def _is(found: Awaitable[dict[str, str]], wanted: dict[str, str]) -> bool:
    return await found == wanted
