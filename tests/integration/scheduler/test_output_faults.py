"""Results while the output policy is slow, silent, talks nonsense, or the scheduler dies: held, never let through."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from cap.pb.cordum.agent.v1 import job_pb2
from tests.integration.scheduler.faulty_kernel import SNAPSHOT, FaultyKernel, never, nonsense, release
from tests.integration.scheduler.world import Process, World

from cordum.bus import envelope, subjects
from cordum.core.ids import JobId, TenantId
from cordum.core.jobs.states import JobState
from cordum.rpc.gen.cordum.v1 import output_pb2
from cordum.rpc.output_client import OutputClient
from cordum.runtime.clock import SystemClock
from cordum.runtime.settings import SchedulerSettings
from cordum.services.scheduler.held_results import HeldResults
from cordum.services.scheduler.output_ruling import Rulings
from cordum.services.scheduler.output_scope import ScopeWatch
from cordum.services.scheduler.safety_modes import SafetyModes
from cordum.store.audit_outbox import AuditOutbox

SECRET = "AKIAABCDEFGHIJKLMNOP"
CHECKED = {"OUTPUT_POLICY_ENABLED": "true", "CORDUM_OUTPUT_CONTENT_TIMEOUT_MS": "300", "NATS_JS_ACK_WAIT": "2s"}


async def leak(_context: Any, _data: Any) -> Any:
    return {"answer": f"the key is {SECRET}"}


async def stumble(_context: Any, _data: Any) -> Any:
    raise RuntimeError("broken")


async def redact(question: output_pb2.OutputCheckRequest) -> bytes:
    at = question.output_content.find(SECRET.encode())
    return output_pb2.OutputCheckResponse(
        decision=output_pb2.OUTPUT_DECISION_REDACT,
        reason=f"found {SECRET}",
        rule_id="keys",
        policy_snapshot=SNAPSHOT,
        findings=[output_pb2.OutputFinding(type="secret_leak", offset=at, length=len(SECRET), matched_pattern=SECRET)],
        redacted_content=question.output_content.replace(SECRET.encode(), b"[REDACTED]"),
    ).SerializeToString()


async def quarantine(_: output_pb2.OutputCheckRequest) -> bytes:
    return output_pb2.OutputCheckResponse(
        decision=output_pb2.OUTPUT_DECISION_QUARANTINE, reason="keys", rule_id="keys", policy_snapshot=SNAPSHOT
    ).SerializeToString()


@pytest_asyncio.fixture
async def kernel(world: World) -> AsyncIterator[FaultyKernel]:
    made = FaultyKernel()
    await made.start(world.kernel_port)
    yield made
    await made.aclose()


async def nothing_leads_to_it(world: World, job_id: JobId) -> None:
    """Neither the record nor any index of it says where the result is, and the record does not hold it."""
    record = await world.record(job_id)
    assert record.result_ptr == ""
    assert await world.redis_command("GET", f"job:result_ptr:{job_id}") is None
    detail = await world.store.jobs.get_detail(job_id)
    assert detail is not None and detail.result is None
    assert SECRET not in str(await world.redis_command("HGETALL", f"job:meta:{job_id}"))


async def asked_about(world: World, kernel: FaultyKernel, times: int = 1) -> None:
    async def enough() -> bool:
        return len(kernel.asked) >= times

    await world.eventually(enough, f"the output policy is asked {times} times")


@pytest.mark.parametrize("answer", [never, nonsense])
async def test_a_result_nobody_can_check_is_held_and_then_released(
    world: World, kernel: FaultyKernel, answer: Any
) -> None:
    kernel.everything, kernel.check = True, answer
    scheduler = await world.start_scheduler(**CHECKED)
    await world.start_agent({"job.work": leak})

    job_id = await world.submit("job.work")
    held = await world.until(job_id, lambda now: now.pending_reason == "output_check_unavailable")

    assert held.state is JobState.RUNNING and held.output_held
    await nothing_leads_to_it(world, job_id)
    kernel.check = release
    record = await world.until(job_id, JobState.SUCCEEDED, within=30)
    assert (record.result_ptr, record.output_decision) == (f"redis://res:{job_id}", "ALLOW")
    assert (record.output_held, record.pending_reason, record.attempts) == (0, "", 1)
    assert await scheduler.metric("cordum_output_policy_checked_total", topic="job.work") == 1
    assert await scheduler.metric("cordum_output_policy_skipped_total", topic="job.work") == 0


async def test_an_answer_that_names_no_policy_allows_nothing(world: World, kernel: FaultyKernel) -> None:
    """Decision 0 is ALLOW on the wire: an empty answer must not be one."""

    async def empty(_: object) -> bytes:
        return b""

    kernel.everything, kernel.check = True, empty
    await world.start_scheduler(**CHECKED)
    await world.start_agent({"job.work": leak})

    job_id = await world.submit("job.work")

    await world.until(job_id, lambda now: now.pending_reason == "output_check_unavailable")
    await nothing_leads_to_it(world, job_id)


async def test_a_held_result_survives_the_loss_of_its_worker(world: World, kernel: FaultyKernel) -> None:
    kernel.everything, kernel.check = True, nonsense
    scheduler = await world.start_scheduler(**CHECKED)
    agent = await world.start_agent({"job.work": leak}, worker_id="w-1")
    job_id = await world.submit("job.work")
    await world.until(job_id, lambda now: now.pending_reason == "output_check_unavailable")

    await agent.close()

    async def missed() -> bool:
        return bool(scheduler.events("worker_lost"))

    await world.eventually(missed, "the worker is missed")
    kernel.check = release
    record = await world.until(job_id, JobState.SUCCEEDED, within=30)
    assert (record.attempts, record.worker_id) == (1, "w-1")


@pytest.mark.parametrize("verdict", ["redact", "quarantine"])
async def test_a_scheduler_killed_while_it_asks_loses_and_releases_nothing(
    world: World, kernel: FaultyKernel, verdict: str
) -> None:
    kernel.everything, kernel.check = True, never
    first = await world.start_scheduler(**CHECKED | {"CORDUM_OUTPUT_CONTENT_TIMEOUT_MS": "60000"})
    await world.start_agent({"job.work": leak})
    job_id = await world.submit("job.work")
    await asked_about(world, kernel)

    await first.kill()
    await nothing_leads_to_it(world, job_id)
    kernel.check = redact if verdict == "redact" else quarantine
    asked = len(kernel.asked)
    await world.start_scheduler(**CHECKED)

    expected = JobState.SUCCEEDED if verdict == "redact" else JobState.OUTPUT_QUARANTINED
    record = await world.until(job_id, expected, within=30)
    assert len(kernel.asked) > asked and SECRET.encode() in kernel.asked[-1].output_content
    detail = await world.store.jobs.get_detail(job_id)
    assert detail is not None and (detail.result is None or SECRET.encode() not in detail.result)
    held = await world.store.outputs.held(job_id)
    assert held is not None and SECRET.encode() in held.content
    assert await world.terminal_events(job_id) == [record.state.value]


async def test_a_decision_committed_before_a_crash_is_finished_after_it(world: World, kernel: FaultyKernel) -> None:
    """Killed between the commit and taking the original away: whoever gets the result again takes it away."""
    kernel.everything, kernel.check = True, quarantine
    await world.start_scheduler(**CHECKED)
    await world.start_agent({"job.work": leak}, worker_id="w-1")
    job_id = await world.submit("job.work")
    await world.until(job_id, JobState.OUTPUT_QUARANTINED)
    await world.dead_letter(job_id)
    # As it was before the crash: the original is back, and there is no letter.
    await world.redis_command("SET", f"res:{job_id}", SECRET)
    await world.store.dead_letters.remove(TenantId("default"), job_id)
    result = job_pb2.JobResult(
        job_id=job_id,
        worker_id="w-1",
        status=job_pb2.JOB_STATUS_SUCCEEDED,
        result_ptr=f"redis://res:{job_id}",
    )
    clock, settings = SystemClock(), SchedulerSettings()
    outbox = AuditOutbox(world.store.audit, clock)
    client = OutputClient(grpc.aio.insecure_channel("127.0.0.1:1"), clock, meta_timeout=1.0, content_timeout=1.0)
    held = HeldResults(
        store=world.store,
        rulings=Rulings(world.store, client, clock, 1024),
        scope=ScopeWatch(client, clock),
        modes=SafetyModes(world.store, settings, clock),
        outbox=outbox,
        clock=clock,
    )

    await held.finish(result, await world.record(job_id))

    assert not await world.redis_command("EXISTS", f"res:{job_id}")
    await client.aclose()


async def test_an_open_fail_mode_releases_loudly(world: World, kernel: FaultyKernel) -> None:
    kernel.everything, kernel.check = True, nonsense
    scheduler = await world.start_scheduler(**CHECKED, OUTPUT_POLICY_FAIL_MODE="open")
    await world.start_agent({"job.work": leak})

    job_id = await world.submit("job.work")
    record = await world.until(job_id, JobState.SUCCEEDED)

    assert record.output_safety is not None and record.output_safety.phase == "unchecked"
    assert record.output_safety.reason.startswith("released unchecked")
    assert await scheduler.metric("cordum_output_policy_skipped_total", topic="job.work") == 1
    assert scheduler.events("output_released_unchecked")
    assert "output_bypass" in str(await world.redis_command("XRANGE", "audit:chain:{default}", "-", "+"))


async def test_fail_mode_and_switch_can_be_changed_at_run_time(world: World, kernel: FaultyKernel) -> None:
    kernel.everything, kernel.check = True, nonsense
    scheduler = await world.start_scheduler(**CHECKED)
    await world.start_agent({"job.work": leak})
    job_id = await world.submit("job.work")
    await world.until(job_id, lambda now: now.pending_reason == "output_check_unavailable")

    await set_modes(world, scheduler, {"output_fail_mode": "open"})
    assert (await world.until(job_id, JobState.SUCCEEDED, within=30)).output_decision == "ALLOW"

    await set_modes(world, scheduler, {"output_policy_enabled": False})
    asked = len(kernel.asked)
    record = await world.until(await world.submit("job.work"), JobState.SUCCEEDED)
    assert (record.output_decision, len(kernel.asked)) == ("", asked)

    kernel.check = quarantine
    await set_modes(world, scheduler, {"output_policy_enabled": True})
    await world.until(await world.submit("job.work"), JobState.OUTPUT_QUARANTINED)


async def set_modes(world: World, scheduler: Process, modes: dict[str, Any]) -> None:
    """Writes the section of the configuration and waits until the scheduler says that it has it."""
    before = len(scheduler.events("safety_modes_changed"))
    await world.store.configs.update("system", "default", lambda data: {**data, "scheduler": modes})
    await world.bus.publish_core(subjects.CONFIG_CHANGED, b"{}")

    async def told() -> bool:
        return len(scheduler.events("safety_modes_changed")) > before

    await world.eventually(told, f"the scheduler has {modes}")


async def test_what_no_rule_concerns_is_not_asked_about(world: World, kernel: FaultyKernel) -> None:
    kernel.topics, kernel.check = ("job.oth*",), quarantine
    await world.start_scheduler(**CHECKED)
    await world.start_agent({"job.work": leak})
    await world.start_agent({"job.other": leak}, pool="other")

    async def known() -> bool:
        return kernel.scopes_asked > 2

    await world.eventually(known, "the scheduler knows the scope")
    asked = len(kernel.asked)
    plain = await world.until(await world.submit("job.work"), JobState.SUCCEEDED)
    assert (plain.output_decision, len(kernel.asked)) == ("", asked)
    await world.until(await world.submit("job.other"), JobState.OUTPUT_QUARANTINED)


async def test_after_a_change_of_policy_everything_is_asked_about(world: World, kernel: FaultyKernel) -> None:
    kernel.topics, kernel.check = (), quarantine
    await world.start_scheduler(**CHECKED)
    await world.start_agent({"job.work": leak})

    async def known() -> bool:
        return kernel.scopes_asked > 2

    await world.eventually(known, "the scheduler knows the scope")
    await world.until(await world.submit("job.work"), JobState.SUCCEEDED)
    # Rules that concern the topic now; the scheduler has not asked again, it has only heard of a change.
    await world.bus.publish_core(subjects.CONFIG_CHANGED, b"{}")
    await world.bus.ping()

    await world.until(await world.submit("job.work"), JobState.OUTPUT_QUARANTINED)


async def test_a_pointer_to_nothing_and_a_foreign_pointer_are_quarantined(world: World, kernel: FaultyKernel) -> None:
    kernel.everything = True
    await world.start_scheduler(**CHECKED)
    heartbeats = asyncio.create_task(world.keep_alive("w-fake", 0))
    await world.redis_command("SET", "cfg:secret", SECRET)
    try:
        for pointer in ("redis://res:missing", "redis://cfg:secret", "redis://ctx:other", "http://elsewhere/"):
            job_id = await world.submit("job.work")
            record = await world.until(job_id, JobState.RUNNING)
            await answer_with(world, job_id, record.dispatch_id, pointer)
            record = await world.until(job_id, JobState.OUTPUT_QUARANTINED)
            assert record.failure_reason == "output_quarantined: pointer_unreadable", pointer
            await nothing_leads_to_it(world, job_id)
    finally:
        heartbeats.cancel()
    assert not kernel.asked


async def test_of_a_long_result_the_policy_learns_how_long_it_is(world: World, kernel: FaultyKernel) -> None:
    kernel.everything = True
    await world.start_scheduler(**CHECKED, CORDUM_OUTPUT_MAX_BYTES="1024")
    heartbeats = asyncio.create_task(world.keep_alive("w-fake", 0))
    try:
        job_id = await world.submit("job.work")
        record = await world.until(job_id, JobState.RUNNING)
        await world.redis_command("SET", f"res:{job_id}", "x" * 5000 + SECRET)
        await answer_with(world, job_id, record.dispatch_id, f"redis://res:{job_id}")
        await asked_about(world, kernel)
    finally:
        heartbeats.cancel()
    (question,) = kernel.asked
    assert (len(question.output_content), question.output_size_bytes) == (1024, 5020)
    assert question.content_state == output_pb2.CONTENT_STATE_TRUNCATED


async def answer_with(world: World, job_id: JobId, dispatch_id: str, pointer: str) -> None:
    packet = envelope.packet("w-fake", f"trace-{job_id}", 1.0)
    packet.created_at.GetCurrentTime()
    packet.job_result.job_id, packet.job_result.worker_id = job_id, "w-fake"
    packet.job_result.status, packet.job_result.result_ptr = job_pb2.JOB_STATUS_SUCCEEDED, pointer
    packet.job_result.dispatch.dispatch_id = dispatch_id
    await world.bus.publish(subjects.JOB_RESULT, envelope.encode(packet))


@pytest.mark.seed("S75", "S189")
async def test_redaction_swaps_the_pointer_and_moves_the_original(world: World, kernel: FaultyKernel) -> None:
    kernel.everything, kernel.check = True, redact
    scheduler = await world.start_scheduler(**CHECKED)
    await world.start_agent({"job.work": leak})

    job_id = await world.submit("job.work")
    record = await world.until(job_id, JobState.SUCCEEDED)

    assert (
        record.result_ptr.startswith(f"redis://res:{job_id}:redacted:")
        and len(record.result_ptr) == len(f"redis://res:{job_id}:redacted:") + 16
    )
    detail = await world.store.jobs.get_detail(job_id)
    assert detail is not None and detail.result is not None
    assert json.loads(detail.result) == {"answer": "the key is [REDACTED]"}
    assert await world.redis_command("TTL", record.result_ptr.removeprefix("redis://")) > 0
    held = await world.store.outputs.held(job_id)
    assert held is not None and SECRET.encode() in held.content

    async def gone() -> bool:
        return not await world.redis_command("EXISTS", f"res:{job_id}")

    await world.eventually(gone, "the original is taken away")
    safety = record.output_safety
    assert safety is not None and (safety.decision, safety.rule_id) == ("REDACT", "keys")
    # The kernel of this test does not mask what it reports; the record does.
    assert SECRET not in str(await world.redis_command("HGETALL", f"job:meta:{job_id}"))
    assert SECRET not in str(await world.redis_command("GET", f"job:{job_id}:output_decision"))
    assert safety.reason == "found [REDACTED]"
    assert await scheduler.metric("cordum_output_redactions_total", topic="job.work") == 1
    latency = "cordum_output_check_latency_seconds_count"
    assert await scheduler.metric(latency, topic="job.work", phase="sync_redact") == 1


async def test_a_redaction_that_leaves_the_secret_in_is_a_quarantine(world: World, kernel: FaultyKernel) -> None:
    async def half(question: output_pb2.OutputCheckRequest) -> bytes:
        answer = output_pb2.OutputCheckResponse.FromString(await redact(question))
        answer.redacted_content = question.output_content
        return answer.SerializeToString()

    kernel.everything, kernel.check = True, half
    await world.start_scheduler(**CHECKED)
    await world.start_agent({"job.work": leak})

    record = await world.until(await world.submit("job.work"), JobState.OUTPUT_QUARANTINED)

    assert record.failure_reason.startswith("output_quarantined: redaction_failed")


async def test_the_words_of_a_failed_job_are_withheld(world: World, kernel: FaultyKernel) -> None:
    async def withhold(question: output_pb2.OutputCheckRequest) -> bytes:
        assert question.error_message
        return output_pb2.OutputCheckResponse(
            decision=output_pb2.OUTPUT_DECISION_REDACT, policy_snapshot=SNAPSHOT, redacted_error_message="a [REDACTED]"
        ).SerializeToString()

    kernel.everything, kernel.check = True, withhold
    await world.start_scheduler(**CHECKED)
    await world.start_agent({"job.work": stumble})

    job_id = await world.submit("job.work")
    record = await world.until(job_id, JobState.FAILED)

    assert record.failure_reason == "a [REDACTED]"
    assert (await world.dead_letter(job_id)).reason == "a [REDACTED]"
