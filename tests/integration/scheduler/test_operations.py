"""What operators see and do: ports, health, snapshots, configuration, bad files."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import httpx
import pytest
from tests.integration.scheduler.world import Process, World, echo

from cordum.bus import subjects
from cordum.core.jobs.states import JobState
from cordum.embedded.servers import Server


async def get(url: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(url)


@pytest.mark.seed("S61", "S68")
async def test_metrics_and_health_are_where_the_setting_says(world: World, scheduler: Process) -> None:
    metrics, health = await get(f"{scheduler.url}/metrics"), await get(f"{scheduler.url}/health")

    assert metrics.status_code == 200 and "cordum_jobs_received_total" in metrics.text
    assert health.status_code == 200
    assert {"redis", "nats", "safety"} <= health.json().keys()


async def test_health_says_which_dependency_is_gone(world: World, scheduler: Process, redis_server: Server) -> None:
    await redis_server.kill()

    async def unhealthy() -> bool:
        return (await get(f"{scheduler.url}/readyz")).status_code == 503

    await world.eventually(unhealthy, "readiness 503")
    assert (await get(f"{scheduler.url}/livez")).status_code == 200
    await redis_server.restart()


@pytest.mark.seed("S79")
async def test_handlers_at_work_are_counted(world: World, scheduler: Process) -> None:
    await world.heartbeat("busy")
    await world.until(await world.submit("job.work"), JobState.RUNNING)

    for _ in range(5):
        await world.submit("job.work")

    async def counted() -> bool:
        return await scheduler.metric("cordum_scheduler_active_goroutines") >= 5

    await world.eventually(counted, "five handlers wait for a slot")


@pytest.mark.seed("S196")
async def test_the_wait_for_a_job_is_observed(world: World, scheduler: Process) -> None:
    await world.until(await world.submit("job.guard"), JobState.SUCCEEDED)

    assert await scheduler.metric("cordum_scheduler_job_lock_wait_seconds_count") >= 1


@pytest.mark.seed("S220")
async def test_the_last_heartbeat_of_a_pool_is_a_gauge_until_the_pool_is_gone(world: World, scheduler: Process) -> None:
    await world.heartbeat("w-1", pool="other")

    async def shown() -> bool:
        return await scheduler.metric("cordum_last_heartbeat_timestamp", pool="other") > 1e9

    await world.eventually(shown, "the heartbeat is shown")

    def without(data: dict[str, object]) -> dict[str, object]:
        pools = json.loads(json.dumps(data["pools"]))
        del pools["pools"]["other"], pools["topics"]["job.other"]
        return {**data, "pools": pools}

    await world.store.configs.update("system", "default", without)
    scheduler.send(signal.SIGHUP)

    async def gone() -> bool:
        return await scheduler.metric("cordum_last_heartbeat_timestamp", pool="other") == 0

    await world.eventually(gone, "the pool's gauge is gone")


@pytest.mark.seed("S199")
async def test_the_snapshot_shows_workers_come_and_go(world: World, scheduler: Process) -> None:
    agent = await world.start_agent({"job.work": echo}, worker_id="w-1", max_parallel=3)

    async def shown() -> bool:
        # Its handshake names it at once; pool and capacity come with the first heartbeat.
        return (await workers(world)).get("w-1", {}).get("pool") == "main"

    await world.eventually(shown, "the worker is in the snapshot", within=3.0)
    entry = (await workers(world))["w-1"]
    assert (entry["pool"], entry["max_parallel_jobs"], entry["ready_topics"]) == ("main", 3, ["job.work"])
    assert str(entry["last_seen"]).endswith("Z")

    await agent.close()

    async def absent() -> bool:
        return "w-1" not in await workers(world)

    await world.eventually(absent, "the worker is gone from the snapshot", within=8.0)


async def workers(world: World) -> dict[str, dict[str, object]]:
    stored = await world.store.workers.load()
    entries = json.loads(stored)["workers"] if stored else []
    return {entry["worker_id"]: entry for entry in entries}


async def test_a_restarted_scheduler_knows_its_workers_at_once(world: World, scheduler: Process) -> None:
    await world.start_agent({"job.work": echo}, worker_id="w-1", heartbeat_interval=1.5)
    await world.until(await world.submit("job.work"), JobState.SUCCEEDED)
    await world.eventually(lambda: known(world), "the worker is in the snapshot")

    await scheduler.end(signal.SIGTERM)
    await scheduler.start()

    assert scheduler.events("workers_restored")[-1]["workers"] == 1
    await world.until(await world.submit("job.work"), JobState.SUCCEEDED, within=1.4)


async def known(world: World) -> bool:
    return "w-1" in await workers(world)


async def test_files_are_copied_into_the_store_and_what_operators_changed_stays(world: World) -> None:
    await asyncio.gather(world.start_kernel(), world.start_scheduler())
    (scheduler,) = world.schedulers

    def drained(data: dict[str, object]) -> dict[str, object]:
        pools = json.loads(json.dumps(data["pools"]))
        pools["pools"]["other"]["status"] = "draining"
        return {**data, "pools": pools}

    await world.store.configs.update("system", "default", drained)
    world.pools["topics"]["job.added"] = "main"
    world.write_files()
    await scheduler.end(signal.SIGTERM)
    await scheduler.start()

    stored = await world.store.configs.get("system", "default")
    topics = await world.store.configs.get("system", "topics")
    assert stored is not None and topics is not None
    assert stored.data["pools"]["pools"]["other"]["status"] == "draining"
    assert stored.data["pools"]["topics"]["job.added"] == "main"
    assert stored.data["safety"] == {"enabled": True, "mode": "enforce"}
    assert {"job.work", "job.added", "job.guard"} <= topics.data.keys()


async def test_a_bad_stored_configuration_leaves_the_old_one_in_force(world: World, scheduler: Process) -> None:
    await world.start_agent({"job.work": echo})
    await world.store.configs.update("system", "default", lambda data: {**data, "pools": {"topics": {"a": 1}}})

    scheduler.send(signal.SIGHUP)

    async def rejected() -> bool:
        return bool(scheduler.events("config_rejected"))

    await world.eventually(rejected, "the configuration is refused")
    await world.until(await world.submit("job.work"), JobState.SUCCEEDED)


async def test_a_message_nobody_can_read_becomes_a_dead_letter(world: World, scheduler: Process) -> None:
    await world.bus.publish(subjects.JOB_SUBMIT, b"\xff\xff not a packet")

    async def put_away() -> bool:
        return bool(scheduler.events("poison_message"))

    await world.eventually(put_away, "the message is put away")
    (entry,) = scheduler.events("poison_message")
    page = await world.store.dead_letters.page("default", 10)  # type: ignore[arg-type]
    assert [letter.job_id for letter in page.items] == [f"sys.job.submit:{entry['seq']}"]
    assert page.items[0].reason_code == "poison_message"


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("pools.yaml", "topics: {}", "topics: must map at least one topic"),
        ("pools.yaml", "topics: {a: b}\npool: {}", "unknown field `pool`"),
        ("pools.yaml", "topics: {a: b}\ntopics: {c: d}", "stands twice"),
        ("pools.yaml", "topics: [", "no valid YAML"),
        ("timeouts.yaml", "reconciler: {scan_interval_seconds: -1}", "must not be negative"),
    ],
)
async def test_a_bad_file_stops_the_start_with_one_line(tmp_path: Path, name: str, content: str, told: str) -> None:
    (tmp_path / "pools.yaml").write_text("topics: {a: b}")
    (tmp_path / "timeouts.yaml").write_text("")
    (tmp_path / name).write_text(content)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cordum.services.scheduler",
        env={
            **os.environ,
            "POOL_CONFIG_PATH": str(tmp_path / "pools.yaml"),
            "TIMEOUT_CONFIG_PATH": str(tmp_path / "timeouts.yaml"),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, stderr = await process.communicate()

    assert process.returncode == 2
    (line,) = stderr.decode().splitlines()
    assert name in line and told in line
