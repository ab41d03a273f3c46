"""One job at a time through a real scheduler, a real kernel and unmodified agents: every way it can go."""

from typing import Any

import pytest
from cap.pb.cordum.agent.v1 import job_pb2
from tests.integration.scheduler.world import Blobs, Process, World, echo

from cordum.bus import envelope, subjects
from cordum.bus.core import CoreMessage
from cordum.core.ids import JobId
from cordum.core.jobs import approvals, lifecycle
from cordum.core.jobs.states import JobState
from cordum.store.decision_log import DecisionQuery


async def fail(_context: Any, _data: Any) -> Any:
    raise RuntimeError("broken")


@pytest.mark.seed("S70", "S71", "S72", "S76")
async def test_an_allowed_job_runs_on_a_worker_and_succeeds(world: World, scheduler: Process) -> None:
    await world.start_agent({"job.work": echo}, worker_id="w-1")

    job_id = await world.submit("job.work", context={"prompt": "hello"})
    record = await world.until(job_id, JobState.SUCCEEDED)

    assert (record.worker_id, record.pool, record.attempts) == ("w-1", "main", 1)
    assert record.result_ptr == f"redis://res:{job_id}"
    (decision,) = await world.store.jobs.decisions(job_id, 10)
    assert (record.safety_rule_id, '"decision":"ALLOW"' in decision) == ("rest", True)
    everything = DecisionQuery(tenant=record.tenant, since=0, until=record.updated_at // 1000)
    (logged,) = (await world.store.decision_log.page(everything)).items
    assert (logged.job_id, logged.decision, logged.rule_id) == (job_id, "ALLOW", "rest")
    detail = await world.store.jobs.get_detail(job_id)
    assert detail is not None and detail.result == b'{"prompt": "hello"}'
    assert await scheduler.metric("cordum_jobs_received_total", topic="job.work") == 1
    assert await scheduler.metric("cordum_jobs_dispatched_total", topic="job.work") == 1
    assert await scheduler.metric("cordum_jobs_completed_total", topic="job.work", status="succeeded") == 1
    latency = "cordum_scheduler_dispatch_latency_seconds"
    assert await scheduler.metric(f"{latency}_count", topic="job.work") == 1
    assert await scheduler.metric(f"{latency}_bucket", topic="job.work", le="0.5") >= 0
    assert await scheduler.metric(f"{latency}_bucket", topic="job.work", le="+Inf") == 1


async def test_a_dispatch_says_who_gave_it_to_whom(world: World, scheduler: Process) -> None:
    seen: list[job_pb2.JobRequest] = []

    async def look(message: CoreMessage) -> None:
        seen.append(envelope.decode(message.data).job_request)

    tap = await world.bus.subscribe(subjects.ALL_WORKER_JOBS, look)
    await world.start_agent({"job.work": echo}, worker_id="w-1")
    record = await world.until(await world.submit(), JobState.SUCCEEDED)
    await tap.unsubscribe()

    (request,) = seen
    assert request.dispatch.dispatch_id == record.dispatch_id
    assert (request.dispatch.attempt, request.dispatch.assigned_worker_id) == (1, "w-1")


async def test_a_job_its_worker_fails_is_failed_and_a_dead_letter(world: World, scheduler: Process) -> None:
    await world.start_agent({"job.work": fail})

    job_id = await world.submit()
    record = await world.until(job_id, JobState.FAILED)
    letter = await world.dead_letter(job_id)

    assert record.error_status == "JOB_STATUS_FAILED"
    assert (letter.reason, letter.status, letter.last_state) == ("handler failed", "JOB_STATUS_FAILED", "RUNNING")
    assert await scheduler.metric("cordum_jobs_completed_total", topic="job.work", status="failed") == 1


@pytest.mark.seed("S73", "S188")
async def test_a_denied_job_is_never_dispatched_and_a_dead_letter(world: World, scheduler: Process) -> None:
    await world.start_agent({"job.forbidden": echo})

    job_id = await world.submit("job.forbidden")
    record = await world.until(job_id, JobState.DENIED)
    letter = await world.dead_letter(job_id)

    assert (record.safety_decision, record.safety_rule_id, record.attempts) == ("DENY", "no", 0)
    assert letter.reason == "safety: denied: not here"
    assert letter.reason_code == "safety_denied"
    assert await scheduler.metric("cordum_safety_denied_total", topic="job.forbidden") == 1
    assert await scheduler.metric("cordum_jobs_dispatched_total", topic="job.forbidden") == 0


async def test_a_careful_job_waits_for_a_person_and_then_runs(world: World, scheduler: Process) -> None:
    await world.start_agent({"job.careful": echo})

    job_id = await world.submit("job.careful")
    record = await world.until(job_id, JobState.APPROVAL_REQUIRED)
    assert record.safety_job_hash and record.approval_status == "pending"
    await world.approve(job_id)

    record = await world.until(job_id, JobState.SUCCEEDED)
    assert (record.safety_decision, record.safety_reason) == ("ALLOW", "approval granted")


async def test_an_approval_for_another_request_does_not_count(world: World, scheduler: Process) -> None:
    await world.start_agent({"job.careful": echo})
    job_id = await world.submit("job.careful")
    record = await world.until(job_id, JobState.APPROVAL_REQUIRED)
    other = approvals.approve(record, approvals.Resolution(by="boss", role="admin", at=record.updated_at))
    forged = lifecycle.Change(
        to=other.to, allowed_from=other.allowed_from, fields={**other.fields, "approval_job_hash": "0" * 64}
    )
    await world.store.jobs.apply(record.id, forged, now=record.updated_at)

    await world.publish_again(job_id)

    await world.until(job_id, lambda now: now.approval_revision == 2 and now.state is JobState.APPROVAL_REQUIRED)
    assert scheduler.events("approval.revision_mismatch")
    assert await scheduler.metric("cordum_jobs_dispatched_total", topic="job.careful") == 0


async def test_an_approved_gate_succeeds_without_any_worker(world: World, scheduler: Process) -> None:
    job_id = await world.submit("job.cordum.approval-gate")
    await world.until(job_id, JobState.APPROVAL_REQUIRED)

    await world.approve(job_id)

    record = await world.until(job_id, JobState.SUCCEEDED)
    assert (record.worker_id, record.attempts) == ("", 0)


async def test_an_allowed_guard_job_succeeds_by_being_allowed(world: World, scheduler: Process) -> None:
    record = await world.until(await world.submit("job.guard"), JobState.SUCCEEDED)

    assert record.safety_decision == "ALLOW"


async def test_a_throttled_job_waits_visibly(world: World, scheduler: Process) -> None:
    job_id = await world.submit("job.slow")

    record = await world.until(job_id, lambda now: now.pending_reason == "throttled")

    assert (record.state, record.safety_decision) == (JobState.PENDING, "THROTTLE")


async def test_a_topic_nobody_registered_fails(world: World, scheduler: Process) -> None:
    job_id = await world.submit("job.nowhere")

    await world.until(job_id, JobState.FAILED)

    assert (await world.dead_letter(job_id)).reason_code == "unknown_topic"
    assert scheduler.events("unknown_topic")


async def test_a_job_submitted_past_the_gateway_gets_a_record_and_runs(world: World, scheduler: Process) -> None:
    await world.start_agent({"job.work": echo})
    blobs = Blobs(world.redis.url)
    await blobs.set("ctx:from-the-bus", b'{"prompt": "direct"}')
    await blobs.close()

    await world.publish_submit(
        job_pb2.JobRequest(job_id="from-the-bus", topic="job.work", context_ptr="redis://ctx:from-the-bus")
    )

    job_id = JobId("from-the-bus")
    await world.until_exists(job_id)
    record = await world.until(job_id, JobState.SUCCEEDED)
    assert (record.tenant, record.submitted_by) == ("default", subjects.GATEWAY_ID)
