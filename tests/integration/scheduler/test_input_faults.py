"""Jobs while the safety kernel is slow, away or talks nonsense: no dispatch, unless somebody has set that, loudly."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from cap.pb.cordum.agent.v1 import job_pb2, safety_pb2
from tests.integration.scheduler.faulty_kernel import SNAPSHOT, FaultyKernel, allow, never, nonsense
from tests.integration.scheduler.world import Process, World, echo

from cordum.bus import envelope, subjects
from cordum.bus.core import CoreMessage
from cordum.core.ids import JobId
from cordum.core.jobs.states import JobState

COUNTER = "cordum:scheduler:input_fail_open_total"


@pytest_asyncio.fixture
async def kernel(world: World) -> AsyncIterator[FaultyKernel]:
    made = FaultyKernel()
    await made.start(world.kernel_port)
    yield made
    await made.aclose()


async def empty(_: bytes) -> bytes:
    return b""


async def unknown_decision(_: bytes) -> bytes:
    return bytes(safety_pb2.PolicyCheckResponse(decision=7, policy_snapshot=SNAPSHOT).SerializeToString())


async def not_dispatched(world: World, scheduler: Process, job_id: JobId) -> None:
    record = await world.record(job_id)
    assert (record.worker_id, record.attempts) == ("", 0)
    assert await scheduler.metric("cordum_jobs_dispatched_total", topic="job.work") == 0


@pytest.mark.seed("S74", "S167")
@pytest.mark.parametrize("decide", [never, nonsense, empty])
async def test_without_an_answer_there_is_no_dispatch(world: World, kernel: FaultyKernel, decide: Any) -> None:
    kernel.decide = decide
    scheduler = await world.start_scheduler()
    await world.start_agent({"job.work": echo})

    job_id = await world.submit("job.work")

    record = await world.until(job_id, lambda now: now.pending_reason == "safety_unavailable")
    assert record.state is JobState.PENDING
    await not_dispatched(world, scheduler, job_id)
    assert await scheduler.metric("cordum_safety_unavailable_total", topic="job.work") >= 1
    kernel.decide = allow
    await world.until(job_id, JobState.SUCCEEDED, within=30)


async def test_a_decision_nobody_knows_denies(world: World, kernel: FaultyKernel) -> None:
    kernel.decide = unknown_decision
    scheduler = await world.start_scheduler()
    await world.start_agent({"job.work": echo})

    job_id = await world.submit("job.work")

    await world.until(job_id, JobState.DENIED)
    await not_dispatched(world, scheduler, job_id)


async def test_an_open_fail_mode_lets_jobs_run_and_tells_everybody(world: World, kernel: FaultyKernel) -> None:
    seen: list[job_pb2.JobRequest] = []

    async def look(message: CoreMessage) -> None:
        seen.append(envelope.decode(message.data).job_request)

    scheduler = await world.start_scheduler(POLICY_CHECK_FAIL_MODE="open")
    await world.start_agent({"job.work": echo})
    await kernel.aclose()
    tap = await world.bus.subscribe(subjects.ALL_WORKER_JOBS, look)

    job_id = await world.submit("job.work", labels={"team": "blue"})
    record = await world.until(job_id, JobState.SUCCEEDED)
    await tap.unsubscribe()

    assert record.safety_decision == "ALLOW" and record.safety_reason.startswith("safety_bypassed")
    assert record.labels["safety_bypassed"] == "true" and record.labels["team"] == "blue"
    (request,) = seen
    assert request.labels["safety_bypassed"] == "true" and request.labels["safety_bypass_reason"]
    assert await scheduler.metric("cordum_scheduler_input_fail_open_total", topic="job.work") == 1
    assert await world.redis_command("GET", COUNTER) == "1"
    assert scheduler.events("safety_bypassed")
    assert "safety.bypass_admit" in str(await world.redis_command("XRANGE", "audit:chain:{default}", "-", "+"))


async def test_a_gate_is_not_opened_by_a_kernel_that_is_away(world: World, kernel: FaultyKernel) -> None:
    kernel.decide = nonsense
    await world.start_scheduler(POLICY_CHECK_FAIL_MODE="open")

    job_id = await world.submit("job.cordum.approval-gate")

    record = await world.until(job_id, lambda now: now.pending_reason == "safety_unavailable")
    assert record.state is JobState.PENDING


async def test_a_tenant_can_be_open_while_the_others_are_closed(world: World, kernel: FaultyKernel) -> None:
    kernel.decide = nonsense
    scheduler = await world.start_scheduler()
    await world.start_agent({"job.work": echo})
    await world.store.configs.put("org", "bold", {"scheduler": {"input_fail_mode": "open"}}, 0)
    await world.store.configs.put("org", "typo", {"scheduler": {"input_fail_mode": "opne"}}, 0)

    bold, careful, typo = [await world.submit("job.work", tenant=tenant) for tenant in ("bold", "default", "typo")]

    await world.until(bold, JobState.SUCCEEDED, within=30)
    for job_id in (careful, typo):
        await world.until(job_id, lambda now: now.pending_reason == "safety_unavailable")
    assert scheduler.events("safety_mode_unknown")
    assert await world.redis_command("GET", COUNTER) == "1"


async def test_the_mode_of_all_can_be_changed_at_run_time(world: World, kernel: FaultyKernel) -> None:
    kernel.decide = nonsense
    scheduler = await world.start_scheduler()
    await world.start_agent({"job.work": echo})
    job_id = await world.submit("job.work")
    await world.until(job_id, lambda now: now.pending_reason == "safety_unavailable")

    await world.store.configs.update(
        "system", "default", lambda data: {**data, "scheduler": {"input_fail_mode": "open"}}
    )
    await world.bus.publish_core(subjects.CONFIG_CHANGED, b"{}")

    async def told() -> bool:
        return bool(scheduler.events("safety_modes_changed"))

    await world.eventually(told, "the scheduler has heard")
    fresh = await world.submit("job.work")
    # The consumer of submits is paused while the kernel is away: only what was fetched before is tried.
    await asyncio.gather(*(world.until(name, JobState.SUCCEEDED, within=60) for name in (job_id, fresh)))


@pytest.mark.parametrize("pointer", ["redis://cfg:system:default", "redis://ctx:somebody-else", "http://elsewhere/"])
async def test_what_the_policy_cannot_read_does_not_run(world: World, kernel: FaultyKernel, pointer: str) -> None:
    scheduler = await world.start_scheduler()
    await world.start_agent({"job.work": echo})
    request = job_pb2.JobRequest(job_id="points-away", topic="job.work", context_ptr=pointer)

    await world.publish_submit(request)

    await world.until_exists(JobId("points-away"))
    record = await world.until(JobId("points-away"), JobState.DENIED)
    assert "context cannot be read" in record.safety_reason
    await not_dispatched(world, scheduler, record.id)


async def test_the_policy_sees_the_words_and_the_job_does_not_carry_them(world: World, kernel: FaultyKernel) -> None:
    questions: list[safety_pb2.PolicyCheckRequest] = []

    async def keep(question: bytes) -> bytes:
        questions.append(safety_pb2.PolicyCheckRequest.FromString(question))
        return await allow(question)

    kernel.decide = keep
    await world.start_scheduler()
    await world.start_agent({"job.work": echo})
    words = {"prompt": "say it", "context": {"key": "AKIA\\u0041"}, "created_at": "now"}

    record = await world.until(await world.submit("job.work", context=words), JobState.SUCCEEDED)

    (question,) = [asked for asked in questions if asked.job_id == record.id]
    assert question.input_content == b'{"prompt":"say it","context":{"key":"AKIA\\\\u0041"}}'
    assert question.input_size_bytes == len(question.input_content)
    assert not [name for name in record.labels if name.startswith("_content")]
    stored = await world.store.jobs.request(record.id)
    assert stored is not None and b"_content" not in stored
