"""Jobs that wait for people: what an approval is good for, and what time and crashes do to it."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from cap.pb.cordum.agent.v1 import alert_pb2, job_pb2
from google.protobuf.json_format import Parse
from tests.integration.scheduler.world import Process, World, echo

from cordum.bus import Bus, envelope, subjects
from cordum.bus.core import CoreMessage
from cordum.bus.messages import job_hash
from cordum.core.ids import JobId, RuleId, SnapshotId, TenantId, micros
from cordum.core.jobs import approvals
from cordum.core.jobs.approvals import Resolution
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.core.policy.decision import ONE_APPROVAL, ApprovalTerms, Decision, Verdict
from cordum.rpc.kernel_client import KernelClient
from cordum.rpc.output_client import OutputClient
from cordum.runtime.clock import ManualClock
from cordum.runtime.settings import SchedulerSettings, load
from cordum.services.scheduler.app import Scheduler
from cordum.services.scheduler.config_files import read_config_files
from cordum.store import Applied

PARKED = JobState.APPROVAL_REQUIRED


class Kept:
    """The keeper of approvals in this process, on a clock that stands still, with what it says and writes down."""

    def __init__(self, world: World, scheduler: Scheduler, clock: ManualClock) -> None:
        self.world = world
        self.clock = clock
        self.keeper = scheduler.approvals
        self.outbox = scheduler._outbox
        self.alerts: list[alert_pb2.SystemAlert] = []

    async def hear(self, message: CoreMessage) -> None:
        self.alerts.append(envelope.decode(message.data).alert)

    async def park(self, terms: ApprovalTerms = ONE_APPROVAL, **known: Any) -> JobRecord:
        """A job that waits for people since now."""
        job_id = await self.world.submit("job.careful", publish=False, **known)
        record = await self.world.record(job_id)
        verdict = Verdict(
            decision=Decision.REQUIRE_APPROVAL,
            reason="careful",
            rule_id=RuleId("ask"),
            snapshot=SnapshotId("s"),
            approval=terms,
            checked_at=micros(self.clock.now()),
        )
        stored = await self.world.store.jobs.request(job_id)
        assert stored is not None
        parked = approvals.require_approval(record, verdict, job_hash(Parse(stored, job_pb2.JobRequest())))
        await self.world.store.jobs.apply(job_id, parked, now=micros(self.clock.now()), known=record)
        return await self.world.record(job_id)

    async def after(self, seconds: float) -> None:
        """One pass of the keeper, so much later."""
        self.clock.advance(seconds)
        await self.keeper.tick()

    async def audited(self, record: JobRecord) -> list[str]:
        """What the audit log says happened to this job."""
        await self.outbox.aclose()
        found = await self.world.store.audit.page(
            record.tenant, lambda event: event.job_id == record.id, limit=100, offset=0
        )
        return [event.action for event in reversed(found.items)]


@pytest_asyncio.fixture
async def kept(world: World) -> AsyncIterator[Kept]:
    """A keeper without a kernel: whatever would have to be decided anew stays undecided."""
    files = await asyncio.to_thread(
        read_config_files, str(world.directory / "pools.yaml"), str(world.directory / "timeouts.yaml")
    )
    settings = load(
        SchedulerSettings,
        {
            "NATS_URL": world.nats.url,
            "REDIS_URL": world.redis.url,
            "SAFETY_KERNEL_ADDR": f"127.0.0.1:{world.kernel_port}",
            "POOL_CONFIG_PATH": str(world.directory / "pools.yaml"),
            "TIMEOUT_CONFIG_PATH": str(world.directory / "timeouts.yaml"),
        },
    )
    clock = ManualClock(start=time.time())
    kernel, output = KernelClient.from_settings(settings, clock), OutputClient.from_settings(settings, clock)
    scheduler = Scheduler(settings, files, bus=world.bus, store=world.store, kernel=kernel, output=output, clock=clock)
    made = Kept(world, scheduler, clock)
    # Nobody hears what they say themselves.
    ear = await Bus.connect(settings)
    await ear.subscribe(subjects.ALERT, made.hear)
    await ear.ping()
    yield made
    await ear.aclose()
    await kernel.aclose()
    await output.aclose()


# Time


async def test_nobody_decides_in_time(kept: Kept) -> None:
    record = await kept.park(ApprovalTerms(expires_after_s=3600))
    await kept.after(3599)
    assert (await kept.world.record(record.id)).state is PARKED
    await kept.after(1)
    ended = await kept.world.record(record.id)
    assert (ended.state, ended.approval_status, ended.error_code) == (JobState.TIMEOUT, "expired", "approval_expired")
    assert ended.failure_reason == "approval expired: nobody decided within 3600 s"
    letter = await kept.world.dead_letter(record.id)
    assert (letter.reason_code, letter.last_state) == ("approval_expired", "APPROVAL_REQUIRED")
    assert await kept.audited(record) == ["approval_expired"]
    resolved = await kept.world.store.approvals.resolved_page(TenantId("default"), limit=5)
    assert [found.id for found in resolved.items] == [record.id]


async def test_a_deadline_ends_the_waiting_as_well(kept: Kept) -> None:
    record = await kept.park(deadline_ms=60_000)
    kept.clock.advance(61)
    await kept.keeper.deadline_passed(record)
    ended = await kept.world.record(record.id)
    assert (ended.state, ended.approval_status) == (JobState.TIMEOUT, "expired")
    assert (ended.error_code, ended.failure_reason) == ("timeout", "timeout: deadline expired")


async def test_others_may_decide_when_nobody_did_and_are_told_once(kept: Kept) -> None:
    record = await kept.park(ApprovalTerms(roles=("operator",), escalate_after_s=600, escalate_to=("admin",)))
    await kept.after(599)
    assert not (await kept.world.record(record.id)).approval_escalated_at
    await kept.after(1)
    await kept.after(60)
    await kept.after(60)
    escalated = await kept.world.record(record.id)
    assert escalated.state is PARKED and escalated.approval_escalated_at and escalated.approval_status == "pending"

    async def told() -> bool:
        return bool(kept.alerts)

    await kept.world.eventually(told, "a notice on the bus")
    [alert] = kept.alerts
    assert alert.code == "approval_escalated" and "admin may decide" in alert.message
    assert alert.details["job_id"] == record.id and alert.details["tenant"] == "default"
    assert await kept.audited(record) == ["approval_escalated"]


async def test_who_decides_at_the_last_moment_wins(kept: Kept) -> None:
    record = await kept.park(ApprovalTerms(expires_after_s=60))
    await kept.world.approve(record.id, publish=False)
    stale = record  # as a pass that had read it before
    kept.clock.advance(61)
    await kept.keeper._look_after(stale)
    assert (await kept.world.record(record.id)).approval_status == "approved"
    assert await kept.audited(record) == []


# Crashes


async def test_an_approval_nobody_published_is_carried_out(kept: Kept) -> None:
    record = await kept.park()
    approve = approvals.approve(record, Resolution(by="ann", role="admin", at=micros(kept.clock.now())))
    await kept.world.store.jobs.apply(record.id, approve, now=micros(kept.clock.now()), known=record)
    await kept.after(9)
    assert (await kept.world.record(record.id)).approval_publish_status == "pending", "the gateway may be at it"
    await kept.after(2)
    # There is no kernel here: the job was tried, and waits until there is.
    tried = await kept.world.record(record.id)
    assert (tried.approval_publish_status, tried.pending_reason) == ("published", "safety_unavailable")
    assert await kept.audited(record) == ["repair"]
    await kept.after(20)
    assert (await kept.audited(record)) == ["repair"], "once"


async def test_a_rejection_nobody_published_is_told(kept: Kept) -> None:
    record = await kept.park()
    reject = approvals.reject(record, Resolution(by="ann", role="admin", at=micros(kept.clock.now())))
    await kept.world.store.jobs.apply(record.id, reject, now=micros(kept.clock.now()), known=record)
    await kept.after(11)
    assert (await kept.world.dead_letter(record.id)).reason_code == "approval_rejected"
    assert (await kept.world.record(record.id)).approval_publish_status == "published"


@pytest.mark.parametrize(("status", "state"), [("approved", JobState.PENDING), ("rejected", JobState.DENIED)])
async def test_a_decision_that_was_half_written_is_finished(kept: Kept, status: str, state: JobState) -> None:
    record = await kept.park()
    half = {"approval_status": status, "approval_by": "ann", "approval_job_hash": record.safety_job_hash}
    await kept.world.store.jobs.annotate(record.id, half, allowed_from=frozenset({PARKED}))
    await kept.after(1)
    mended = await kept.world.record(record.id)
    assert (mended.state, mended.approval_publish_status) == (state, "published")
    assert await kept.audited(record) == ["repair"]


# What an approval is good for, with the whole of it running


async def approved(world: World, topic: str = "job.careful", **known: Any) -> JobId:
    job_id = await world.submit(topic, **known)
    await world.until(job_id, PARKED)
    await world.approve(job_id)
    return job_id


async def test_however_often_it_is_announced_an_approved_job_runs_once(world: World, scheduler: Process) -> None:
    runs: list[str] = []

    async def work(context: Any, data: Any) -> Any:
        runs.append(context.job_id)
        return await echo(context, data)

    await world.start_agent({"job.careful": work}, max_parallel=4)
    job_id = await approved(world)
    await asyncio.gather(*(world.publish_again(job_id) for _ in range(10)))
    record = await world.until(job_id, JobState.SUCCEEDED)
    await world.publish_again(job_id)
    marker = await world.submit("job.work")
    await world.until_exists(marker)
    assert runs == [job_id] and record.approval_dispatch_id == record.dispatch_id


async def test_a_second_attempt_asks_again(world: World, scheduler: Process) -> None:
    runs: list[str] = []

    async def fail(context: Any, data: Any) -> Any:
        runs.append(context.job_id)
        raise RuntimeError("half done")

    await world.start_agent({"job.careful": fail})
    job_id = await approved(world)
    first = await world.until(job_id, lambda now: now.state not in (JobState.PENDING, PARKED, JobState.RUNNING))
    if first.state is not JobState.RETRYING:
        # An error that is not to be tried again ends the job; nothing asks anew by itself.
        assert first.state is JobState.FAILED and runs == [job_id]
        return
    again = await world.until(job_id, lambda now: now.approval_revision == 2)
    assert again.state is PARKED and "used by an earlier attempt" in again.safety_reason


async def test_a_lost_worker_takes_the_approval_with_it(world: World, scheduler: Process) -> None:
    await world.start_worker("job.careful", worker_id="mortal", seconds=60)
    job_id = await approved(world)
    await world.until(job_id, JobState.RUNNING)
    for worker in world._workers:
        worker.kill()
    again = await world.until(job_id, lambda now: now.approval_revision == 2, within=30)
    assert again.state is PARKED and again.approval_status == "pending" and not again.approval_by
    assert "used by an earlier attempt" in again.safety_reason
    assert scheduler.events("approval.revision_mismatch")


async def test_another_request_under_the_same_id_is_not_approved(world: World, scheduler: Process) -> None:
    await world.start_agent({"job.careful": echo})
    job_id = await world.submit("job.careful")
    await world.until(job_id, PARKED)
    await world.approve(job_id, publish=False)
    stored = await world.store.jobs.request(job_id)
    assert stored is not None
    tampered = Parse(stored, job_pb2.JobRequest())
    tampered.labels["amount"] = "1000000"
    await world.publish_submit(tampered, msg_id="tampered")
    again = await world.until(job_id, lambda now: now.approval_revision == 2)
    assert again.state is PARKED and "another request" in again.safety_reason


async def test_what_the_policy_in_force_denies_does_not_run_though_it_was_approved(world: World) -> None:
    await world.start_kernel()
    await world.start_scheduler()
    runs: list[str] = []

    async def work(context: Any, data: Any) -> Any:
        runs.append(context.job_id)
        return data

    await world.start_agent({"job.careful": work})
    job_id = await world.submit("job.careful", labels={"kind": "big"})
    await world.until(job_id, PARKED)
    await world.approve(job_id, publish=False)
    world.policy["rules"].insert(
        0, {"id": "no-big", "match": {"labels": {"kind": "big"}}, "decision": "deny", "reason": "not any more"}
    )
    world.write_files()
    await world.kernel.kill()
    await world.start_kernel()
    await world.publish_again(job_id)
    ended = await world.until(job_id, JobState.DENIED, within=20)
    assert (ended.safety_rule_id, ended.error_code) == ("no-big", "safety_denied") and runs == []


@pytest.mark.parametrize("topic", ["job.cordum.approval-gate", "job.guard"])
async def test_what_nobody_works_on_succeeds_by_being_approved(world: World, topic: str) -> None:
    world.policy["rules"].insert(0, {"id": "guard", "match": {"topics": ["job.guard"]}, "decision": "require_approval"})
    world.write_files()
    await asyncio.gather(world.start_kernel(), world.start_scheduler())
    job_id = await approved(world, topic)
    record = await world.until(job_id, JobState.SUCCEEDED)
    assert record.worker_id == "" and record.approval_by == "boss"


async def test_the_rule_says_who_and_how_many_and_until_when(world: World) -> None:
    world.policy["rules"].insert(
        0,
        {
            "id": "two",
            "match": {"topics": ["job.careful"]},
            "decision": "require_approval",
            "approval": {"required": 2, "roles": ["secops"], "expires_after": "1s"},
        },
    )
    world.write_files()
    _, scheduler = await asyncio.gather(world.start_kernel(), world.start_scheduler())
    job_id = await world.submit("job.careful")
    parked = await world.until(job_id, lambda now: bool(now.approval_status))
    assert parked.approval_terms == ApprovalTerms(required=2, roles=("secops",), expires_after_s=1)
    ended = await world.until(job_id, JobState.TIMEOUT)
    assert ended.approval_status == "expired"
    assert await scheduler.metric("cordum_approval_expired_total") == 1
    assert await scheduler.metric("cordum_approval_decisions_total", decision="expired") == 1


async def test_how_many_wait_is_shown(world: World, scheduler: Process) -> None:
    job_id = await world.submit("job.careful")
    await world.until(job_id, PARKED)

    async def shown() -> bool:
        return await scheduler.metric("cordum_approval_queue_depth", risk_tier="all") == 1

    await world.eventually(shown, "one waiting job")


async def test_of_two_who_escalate_one_does(kept: Kept) -> None:
    record = await kept.park()
    now = micros(kept.clock.now())
    first, second = await asyncio.gather(
        *(
            kept.world.store.jobs.apply(record.id, approvals.escalate(record, now), now=now, known=record)
            for _ in range(2)
        )
    )
    assert [isinstance(outcome, Applied) for outcome in (first, second)].count(True) == 1
