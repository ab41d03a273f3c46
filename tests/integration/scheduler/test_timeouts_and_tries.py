"""Limits that operators and policies set: timeouts of topics and workflows, tries, sizes; and files that change."""

import asyncio
import functools
import itertools
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from cap.pb.cordum.agent.v1 import job_pb2
from tests.integration.scheduler.world import World, echo

from cordum.bus import CoreMessage, envelope, subjects
from cordum.core.ids import JobId
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState

_numbers = itertools.count(1)
PATIENT = "30s"
TIMED_OUT = (job_pb2.JOB_STATUS_TIMEOUT, "timeout")


async def adopt(world: World, topic: str = "job.work", **about: Any) -> JobId:
    """Submits a job on the bus, as a workflow engine does; the scheduler writes its record."""
    job_id = JobId(f"limit-{next(_numbers)}-{time.time_ns()}")
    request = job_pb2.JobRequest(job_id=job_id, topic=topic, tenant_id="default", **about)
    await world.publish_submit(request)
    await world.until_exists(job_id)
    return job_id


async def finish(world: World, job_id: JobId, status: "job_pb2.JobStatus.ValueType", *, result_ptr: str = "") -> None:
    """A result of the worker that holds the job."""
    record = await world.record(job_id)
    packet = envelope.packet(record.worker_id, record.trace_id, time.time())
    packet.job_result.job_id = job_id
    packet.job_result.status = status
    packet.job_result.worker_id = record.worker_id
    packet.job_result.result_ptr = result_ptr
    packet.job_result.error_message = "not now" if status != job_pb2.JOB_STATUS_SUCCEEDED else ""
    packet.job_result.dispatch.dispatch_id = record.dispatch_id
    await world.bus.publish(subjects.JOB_RESULT, envelope.encode(packet))


def running_try(number: int) -> Callable[[JobRecord], bool]:
    return lambda now: now.state is JobState.RUNNING and now.attempts == number


class Heard:
    """What the scheduler said on the bus: how jobs ended, and which are to be stopped."""

    def __init__(self) -> None:
        self.ended: dict[str, tuple[int, str]] = {}
        self.stopped: list[str] = []

    async def result(self, message: CoreMessage) -> None:
        packet = envelope.decode(message.data)
        if packet.sender_id == subjects.SCHEDULER_ID:
            self.ended[packet.job_result.job_id] = (packet.job_result.status, packet.job_result.error_code)

    async def cancel(self, message: CoreMessage) -> None:
        self.stopped.append(envelope.decode(message.data).job_cancel.job_id)

    async def end_of(self, job_id: JobId) -> bool:
        return job_id in self.ended

    async def stop_of(self, job_id: JobId) -> bool:
        return job_id in self.stopped


@pytest_asyncio.fixture
async def heard(world: World) -> AsyncIterator[Heard]:
    """Limits of every kind are set; a kernel, a scheduler and a worker that answers nothing are there."""
    budgets = (
        ("job.single", {"max_runtime_ms": 1000}),
        ("job.slow", {"max_retries": 1}),
        ("job.careful", {"max_artifact_bytes": 100}),
    )
    rules = [
        {"id": topic, "match": {"topics": [topic]}, "decision": "allow", "constraints": {"budgets": limit}}
        for topic, limit in budgets
    ]
    world.policy["rules"] = [*rules, {"id": "rest", "match": {"topics": ["job.*"]}, "decision": "allow"}]
    world.timeouts["workflows"] = {
        "brisk": {"child_timeout_seconds": 1},
        "bounded": {"total_timeout_seconds": 2},
        "once": {"max_retries": 0},
    }
    world.write_files()
    await asyncio.gather(world.start_kernel(), world.start_scheduler(SCHEDULER_WORKER_TTL=PATIENT))
    await world.heartbeat("w-1", max_parallel=50)
    heard = Heard()
    taps = [
        await world.bus.subscribe(subjects.JOB_RESULT, heard.result),
        await world.bus.subscribe(subjects.JOB_CANCEL, heard.cancel),
    ]
    yield heard
    for tap in taps:
        await tap.unsubscribe()


@pytest.mark.seed("S86", "S87")
async def test_every_limit_ends_its_own_jobs_and_no_others(world: World, heard: Heard) -> None:
    """All at once, for each of them mostly waits."""
    free = await adopt(world)
    await asyncio.gather(
        child_timeout(world),
        total_timeout(world),
        max_runtime(world, heard),
        max_retries(world, heard, "job.slow", 2),
        max_retries(world, heard, "job.work", 1, workflow_id="once"),
        max_artifact(world, heard),
    )
    assert (await world.record(free)).state is JobState.RUNNING


async def child_timeout(world: World) -> None:
    by_field = await adopt(world, workflow_id="brisk")
    by_label = await adopt(world, labels={"workflow_id": "brisk"})
    for job_id in (by_field, by_label):
        record = await world.until(job_id, JobState.TIMEOUT)
        assert record.workflow_id == "brisk"
        assert (await world.dead_letter(job_id)).reason == "timeout: running exceeded (1 s)"


async def total_timeout(world: World) -> None:
    labels = {"run_id": "r"}
    first = await adopt(world, workflow_id="bounded", labels=labels)
    record = await world.until(first, JobState.RUNNING)
    assert record.deadline_unix - record.created_at == 2_000_000
    await world.until(first, JobState.TIMEOUT)
    assert (await world.dead_letter(first)).reason == "timeout: deadline expired"
    late = await world.until(await adopt(world, workflow_id="bounded", labels=labels), JobState.TIMEOUT)
    assert late.attempts == 0
    of_another_run = await adopt(world, workflow_id="bounded", labels={"run_id": "another"})
    await world.until(of_another_run, JobState.RUNNING)


async def max_runtime(world: World, heard: Heard) -> None:
    job_id = await adopt(world, "job.single")
    await world.until(job_id, JobState.TIMEOUT)
    assert (await world.dead_letter(job_id)).reason == "timeout: deadline expired"
    await world.eventually(functools.partial(heard.stop_of, job_id), "the worker is told to stop")
    await world.eventually(functools.partial(heard.end_of, job_id), "the end is told")
    assert heard.ended[job_id] == TIMED_OUT


async def max_retries(world: World, heard: Heard, topic: str, tries: int, **about: Any) -> None:
    job_id = await adopt(world, topic, **about)
    for attempt in range(1, tries + 1):
        await world.until(job_id, running_try(attempt))
        began = time.monotonic()
        await finish(world, job_id, job_pb2.JOB_STATUS_FAILED_RETRYABLE)
        if attempt < tries:
            await world.until(job_id, running_try(attempt + 1))
            assert time.monotonic() - began > 0.9, "it backs off"
    await world.until(job_id, JobState.FAILED)
    letter = await world.dead_letter(job_id)
    assert letter.reason.startswith("max retries exceeded: not now") and letter.attempts == tries
    await world.eventually(functools.partial(heard.end_of, job_id), "the end is told")
    assert heard.ended[job_id] == (job_pb2.JOB_STATUS_FAILED, "max_retries_exceeded")


async def max_artifact(world: World, heard: Heard) -> None:
    small, large, elsewhere = [await adopt(world, "job.careful") for _ in range(3)]
    for job_id, size in ((small, 100), (large, 101), (elsewhere, 10)):
        await world.redis_command("SET", f"res:{job_id}", "x" * size)
        await world.until(job_id, JobState.RUNNING)
    await finish(world, small, job_pb2.JOB_STATUS_SUCCEEDED, result_ptr=f"redis://res:{small}")
    assert (await world.until(small, JobState.SUCCEEDED)).result_ptr
    await world.redis_command("SET", "res:of-somebody-else", "y" * 500)
    await finish(world, large, job_pb2.JOB_STATUS_SUCCEEDED, result_ptr=f"redis://res:{large}")
    await finish(world, elsewhere, job_pb2.JOB_STATUS_SUCCEEDED, result_ptr="redis://res:of-somebody-else")
    for job_id, size in ((large, 101), (elsewhere, 500)):
        record = await world.until(job_id, JobState.FAILED)
        assert (record.error_code, record.result_ptr) == ("artifact_too_large", "")
        letter = await world.dead_letter(job_id)
        assert letter.reason == f"artifact_too_large: {size} bytes, policy allows 100"
        await world.eventually(functools.partial(heard.end_of, job_id), "the end is told")
        assert heard.ended[job_id] == (job_pb2.JOB_STATUS_FAILED, "artifact_too_large")
    assert await world.redis_command("EXISTS", f"res:{large}") == 0
    assert await world.redis_command("EXISTS", "res:of-somebody-else") == 1, "nobody takes away another's result"


@pytest.mark.seed("S86")
async def test_changed_files_are_used_and_broken_ones_change_nothing(world: World) -> None:
    _, scheduler = await asyncio.gather(
        world.start_kernel(),
        world.start_scheduler(SCHEDULER_WORKER_TTL=PATIENT, SCHEDULER_CONFIG_RELOAD_INTERVAL="200ms"),
    )
    await world.heartbeat("w-1")
    running = await world.submit("job.work")
    await world.until(running, JobState.RUNNING)

    (world.directory / "timeouts.yaml").write_text("topics: {job.work: {timeout_second: 1}}\n")

    async def rejected() -> bool:
        return bool(scheduler.events("config_file_rejected"))

    await world.eventually(rejected, "the broken file is told of")
    world.pools["topics"]["job.added"] = "other"
    world.timeouts["topics"] = {"job.work": {"timeout_seconds": 1}}
    world.write_files()

    await world.until(running, JobState.TIMEOUT)
    told = scheduler.events("config_file_rejected")[0]
    assert "timeouts.yaml" in told["error"] and "timeout_second" in told["error"]
    await world.start_agent({"job.added": echo}, pool="other")
    await world.until(await world.submit("job.added"), JobState.SUCCEEDED)

    # What operators take out of the registry, or change, is not put back by a file that is as it was.
    def without(data: dict[str, object]) -> dict[str, object]:
        return {name: value for name, value in data.items() if name != "job.added"}

    def patient(data: dict[str, object]) -> dict[str, object]:
        return {**data, "timeouts": {"reconciler": {"running_timeout_seconds": 77}}}

    await world.store.configs.update("system", "topics", without)
    await world.store.configs.update("system", "default", patient)
    loaded = len(scheduler.events("routing_loaded"))

    async def reloaded() -> bool:
        return len(scheduler.events("routing_loaded")) > loaded

    await world.eventually(reloaded, "the stored configuration is in force")
    topics, default = [await world.store.configs.get("system", name) for name in ("topics", "default")]
    assert topics is not None and "job.added" not in topics.data
    assert default is not None and default.data["timeouts"] == {"reconciler": {"running_timeout_seconds": 77}}
