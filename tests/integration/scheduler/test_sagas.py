"""Workflows that fail are undone: real scheduler, kernel, NATS and Redis, the SDK's agents as workers."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from cap.pb.cordum.agent.v1 import job_pb2
from google.protobuf.json_format import Parse
from tests.integration.scheduler.shared_world import shared_world
from tests.integration.scheduler.world import Process, World, echo

from cordum.bus import envelope, subjects
from cordum.core.audit.event import AuditEvent
from cordum.core.ids import JobId, TenantId, micros
from cordum.core.jobs.saga import Saga, compensation_id
from cordum.core.jobs.states import JobState

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROGRAM = "an-engine"
"""Whoever submits on the bus itself."""


class Flow:
    """A world with one scheduler, an agent that does things and one that undoes them."""

    def __init__(self, world: World, scheduler: Process, undone: list[str]) -> None:
        self.world = world
        self.scheduler = scheduler
        self.undone = undone
        """What the undoing agent was told to undo, in this order."""

    def request(self, workflow: str, number: int | str, **changes: Any) -> job_pb2.JobRequest:
        job_id = f"{workflow}-{number}"
        request = job_pb2.JobRequest(
            job_id=job_id,
            topic="job.work",
            priority=job_pb2.JOB_PRIORITY_INTERACTIVE,
            tenant_id="default",
            principal_id="engine",
            workflow_id=workflow,
            context_ptr=f"redis://ctx:{job_id}",
        )
        request.MergeFrom(job_pb2.JobRequest(**changes))
        return request

    async def submit(self, request: job_pb2.JobRequest) -> JobId:
        """On the bus, as engines do: compensations come no other way."""
        await self.world.redis_command("SET", f"ctx:{request.job_id}", json.dumps({"undo": request.job_id}), "EX", 60)
        packet = envelope.packet(PROGRAM, f"trace-{request.job_id}", time.time())
        packet.job_request.CopyFrom(request)
        await self.world.bus.publish(subjects.JOB_SUBMIT, envelope.encode(packet), msg_id=f"jobreq:{request.job_id}")
        job_id = JobId(request.job_id)
        await self.world.until_exists(job_id)
        return job_id

    async def succeed(self, workflow: str, number: int, **changes: Any) -> JobId:
        undo = {"compensation": job_pb2.Compensation(topic="job.other")}
        before = await self.kept(workflow)
        job_id = await self.submit(self.request(workflow, number, **{**undo, **changes}))
        await self.world.until(job_id, JobState.SUCCEEDED)

        async def one_more() -> bool:
            return await self.kept(workflow) == before + 1

        await self.world.eventually(one_more, "its compensation is kept")
        return job_id

    async def kept(self, workflow: str) -> int:
        return await self.world.store.sagas.size(Saga(TenantId("default"), workflow))

    async def fail(self, workflow: str, name: str = "fatal") -> JobId:
        """A step fails for good: its worker says so, as no agent of the SDK can."""
        job_id = await self.submit(self.request(workflow, name, topic="job.single"))
        record = await self.world.until(
            job_id, lambda record: bool(record.worker_id) and record.state.is_terminal is False
        )
        status = job_pb2.JOB_STATUS_FAILED_FATAL
        await self.world.publish_result(record.worker_id, job_id, status, dispatch_id=record.dispatch_id)
        await self.world.until(job_id, JobState.FAILED)
        return job_id

    async def metric(self, name: str) -> float:
        return await self.scheduler.metric(f"cordum_saga_{name}")

    async def empty(self, workflow: str, tenant: str = "default") -> bool:
        saga = Saga(TenantId(tenant), workflow)
        return await self.world.store.sagas.size(saga) == 0 and await self.world.store.sagas.asked_at(saga) is None


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def flow(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Flow]:
    async with shared_world(tmp_path_factory.mktemp("sagas")) as world:
        world.pools["topics"]["job.single"] = "fatal"
        world.pools["pools"]["fatal"] = {}
        world.write_files()
        _, scheduler = await asyncio.gather(world.start_kernel(), world.start_scheduler())
        undone: list[str] = []

        async def undo(_context: Any, data: Any) -> Any:
            undone.append(data["undo"])
            return data

        await world.start_agent({"job.work": echo}, max_parallel=8)
        await world.start_agent({"job.other": undo}, pool="other", max_parallel=1)
        beats = asyncio.create_task(_beat(world))
        yield Flow(world, scheduler, undone)
        beats.cancel()
        await asyncio.gather(beats, return_exceptions=True)


async def _beat(world: World) -> None:
    while True:
        await world.heartbeat("fatalist", pool="fatal", max_parallel=9)
        await asyncio.sleep(0.3)


@pytest.mark.seed("S81")
async def test_a_fatal_failure_undoes_the_workflow_the_last_step_first(flow: Flow) -> None:
    before = {name: await flow.metric(name) for name in ("rollbacks_total", "recorded_total")}
    timed = await flow.metric("rollback_duration_seconds_count")
    steps = [await flow.succeed("s81", number) for number in (1, 2, 3)]
    bystander = await flow.succeed("bystander", 1)
    assert await flow.kept("s81") == 3

    await flow.fail("s81")

    saga = Saga(TenantId("default"), "s81")
    for step in steps:
        undoing = compensation_id(saga, step)
        await flow.world.until_exists(undoing)
        record = await flow.world.until(undoing, JobState.SUCCEEDED)
        assert (record.topic, record.workflow_id, record.submitted_by) == ("job.other", "s81", subjects.SAGA_ID)
        assert record.labels["saga_compensation"] == "true" and record.compensation == ""
        stored = await flow.world.store.jobs.request(record.id)
        request = Parse(stored or b"", job_pb2.JobRequest())
        assert (request.parent_job_id, request.priority) == (step, job_pb2.JOB_PRIORITY_CRITICAL)
    assert flow.undone == list(reversed(steps)) and bystander not in flow.undone

    async def timed_once() -> bool:
        return await flow.metric("rollback_duration_seconds_count") == timed + 1

    await flow.world.eventually(timed_once, "the rollback is through")
    assert await flow.metric("rollbacks_total") == before["rollbacks_total"] + 1
    assert await flow.metric("recorded_total") == before["recorded_total"] + 4
    assert await flow.empty("s81")

    async def at_rest() -> bool:
        return await flow.metric("active") == 0

    await flow.world.eventually(at_rest, "nobody is at it any more")


@pytest.mark.seed("S81")
async def test_a_compensation_that_policy_denies_is_left_out_counted_and_audited(flow: Flow) -> None:
    failed = await flow.metric("compensation_failed_total")
    good = await flow.succeed("denied", 1)
    bad = await flow.succeed("denied", 2, compensation=job_pb2.Compensation(topic="job.forbidden"))
    saga = Saga(TenantId("default"), "denied")

    await flow.fail("denied")

    await flow.world.until_exists(compensation_id(saga, good))
    assert await flow.world.store.jobs.get(compensation_id(saga, bad)) is None
    assert await flow.metric("compensation_failed_total") == failed + 1

    async def audited() -> bool:
        def wanted(event: AuditEvent) -> bool:
            return event.action == "compensation_denied" and event.job_id == bad

        return bool((await flow.world.store.audit.page(TenantId("default"), wanted, limit=5)).items)

    await flow.world.eventually(audited, "the omission is in the audit log")


async def test_what_cannot_be_read_is_a_dead_letter_and_the_rest_goes_on(flow: Flow) -> None:
    good = await flow.succeed("garbled", 1)
    saga = Saga(TenantId("default"), "garbled")
    await flow.world.store.sagas.push(saga, b"\xff no request")
    errors = await flow.metric("unmarshal_errors_total")

    await flow.fail("garbled")

    await flow.world.until_exists(compensation_id(saga, good))
    assert await flow.metric("unmarshal_errors_total") == errors + 1
    letter = await flow.world.dead_letter(compensation_id(saga, b"\xff no request".hex()))
    assert letter.reason_code == "saga_unmarshal_failed"


async def test_tenants_do_not_undo_each_other(flow: Flow) -> None:
    ours = await flow.succeed("shared-name", 1)
    theirs = flow.request("shared-name", "theirs", topic="job.single")
    theirs.tenant_id = "acme"
    job_id = await flow.submit(theirs)
    record = await flow.world.until(job_id, lambda record: record.state is JobState.RUNNING)
    await flow.world.publish_result(record.worker_id, job_id, job_pb2.JOB_STATUS_FAILED_FATAL)
    await flow.world.until(job_id, JobState.FAILED)

    assert await flow.kept("shared-name") == 1
    await flow.fail("shared-name")
    await flow.world.until_exists(compensation_id(Saga(TenantId("default"), "shared-name"), ours))


async def test_a_job_whose_compensation_names_another_tenant_is_refused(flow: Flow) -> None:
    request = flow.request("foreign", 1, compensation=job_pb2.Compensation(topic="job.other", tenant_id="acme"))
    packet = envelope.packet(PROGRAM, "trace-foreign", time.time())
    packet.job_request.CopyFrom(request)
    await flow.world.bus.publish(subjects.JOB_SUBMIT, envelope.encode(packet))
    letter = await flow.world.dead_letter(JobId(request.job_id), within=30)
    assert letter.reason_code == "poison_message" and "tenant" in letter.reason


async def test_a_rollback_whose_scheduler_died_is_gone_on_with(flow: Flow) -> None:
    step = await flow.succeed("orphaned", 1)
    saga = Saga(TenantId("default"), "orphaned")
    await flow.world.store.sagas.ask_rollback(saga, micros(time.time()))
    await flow.world.until_exists(compensation_id(saga, step))

    async def forgotten() -> bool:
        return await flow.empty("orphaned")

    await flow.world.eventually(forgotten, "the rollback is through")


async def test_a_redelivered_result_keeps_nothing_twice(flow: Flow) -> None:
    step = await flow.succeed("twice", 1)
    record = await flow.world.record(step)
    for _ in range(2):
        await flow.world.publish_result(record.worker_id, step, job_pb2.JOB_STATUS_SUCCEEDED)
    await flow.succeed("twice", 2)
    assert await flow.kept("twice") == 2
