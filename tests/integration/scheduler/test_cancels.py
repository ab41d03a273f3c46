"""Cancels reach whoever works on the job: workers that listen and workers that do not, and after an outage, too."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from cap.pb.cordum.agent.v1 import job_pb2
from tests.integration.scheduler.shared_world import shared_world
from tests.integration.scheduler.world import Process, World

from cordum.bus import Bus, CoreMessage, envelope, subjects
from cordum.core.ids import JobId, micros
from cordum.core.jobs import lifecycle
from cordum.core.jobs.states import JobState
from cordum.runtime.settings import NatsSettings
from cordum.store import Applied

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Scene:
    """A world with one scheduler and two agents with one slot each: a deaf one and one that stops when told to."""

    def __init__(self, world: World, scheduler: Process) -> None:
        self.world = world
        self.scheduler = scheduler
        self.go_on = asyncio.Event()
        self.stopped: list[str] = []
        self.finished: list[str] = []
        self.begun: list[str] = []
        self.heard: list[Any] = []
        """Cancels and results as anybody hears them who listens."""
        self._working: dict[str, asyncio.Task[Any]] = {}

    async def deaf(self, context: Any, data: Any) -> Any:
        """An agent of the SDK as it is: it knows of no cancels."""
        self.begun.append(context.job.job_id)
        await self.go_on.wait()
        self.finished.append(context.job.job_id)
        return data

    async def obedient(self, context: Any, data: Any) -> Any:
        """An agent whose author listens to cancels."""
        job_id = context.job.job_id
        self._working[job_id] = work = asyncio.ensure_future(self.go_on.wait())
        self.begun.append(job_id)
        try:
            await work
        except asyncio.CancelledError:
            self.stopped.append(job_id)
            # The SDK can only say that it failed, and that would count, came it before the scheduler heard the cancel.
            await self.world.until(job_id, JobState.CANCELLED)
            raise RuntimeError("stopped") from None
        return data

    async def hear(self, message: CoreMessage) -> None:
        packet = envelope.decode(message.data)
        self.heard.append(packet)
        if packet.WhichOneof("payload") == "job_cancel" and (work := self._working.get(packet.job_cancel.job_id)):
            work.cancel()

    async def until_heard(self, payload: str, job_id: JobId) -> Any:
        async def there() -> bool:
            return bool(self.found(payload, job_id))

        await self.world.eventually(there, f"{payload} of {job_id}")
        return self.found(payload, job_id)[0]

    def found(self, payload: str, job_id: JobId) -> list[Any]:
        """What the control plane said."""
        return [packet for packet in self.said(payload, job_id) if packet.sender_id in subjects.RESERVED_IDS]

    def said(self, payload: str, job_id: JobId) -> list[Any]:
        """What anybody said."""
        named = [packet for packet in self.heard if packet.WhichOneof("payload") == payload]
        return [packet for packet in named if getattr(packet, payload).job_id == job_id]

    async def cancel(self, job_id: JobId, sender: str = subjects.GATEWAY_CONTROL_ID, tenant: str = "") -> None:
        packet = envelope.packet(sender, job_id, time.time())
        packet.job_cancel.job_id = job_id
        packet.job_cancel.requested_by = sender
        packet.job_cancel.reason = "no longer wanted"
        if tenant:
            packet.job_cancel.identity.tenant_id = tenant
        await self.world.bus.publish(subjects.JOB_CANCEL, envelope.encode(packet))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with shared_world(tmp_path_factory.mktemp("cancels")) as world:
        world.pools["topics"]["job.lonely"] = "empty"
        world.pools["pools"]["empty"] = {}
        world.write_files()
        _, scheduler = await asyncio.gather(world.start_kernel(), world.start_scheduler())
        made = Scene(world, scheduler)
        await world.start_agent({"job.work": made.deaf}, worker_id="deaf")
        await world.start_agent({"job.other": made.obedient}, worker_id="obedient", pool="other")
        other = await nats_listener(world, made)
        yield made
        made.go_on.set()
        await other.aclose()


async def nats_listener(world: World, scene: Scene) -> Bus:
    """Another connection: nobody hears what he says himself."""
    bus = await Bus.connect(NatsSettings.model_validate({"nats_url": world.nats.url}))
    for subject in (subjects.JOB_CANCEL, subjects.JOB_RESULT):
        await bus.subscribe(subject, scene.hear)
    return bus


async def running(scene: Scene, topic: str = "job.work") -> JobId:
    job_id = await scene.world.submit(topic)

    async def begun() -> bool:
        return job_id in scene.begun

    await scene.world.eventually(begun, "a worker has it")
    return job_id


async def test_a_worker_that_listens_stops_and_its_slot_is_free_at_once(scene: Scene) -> None:
    job_id = await running(scene, "job.other")
    behind = await scene.world.submit("job.other")

    await scene.cancel(job_id)

    await scene.world.until(job_id, JobState.CANCELLED)
    await scene.world.until(behind, JobState.RUNNING)
    assert job_id in scene.stopped
    told = await scene.until_heard("job_result", job_id)
    assert told.job_result.status == job_pb2.JOB_STATUS_CANCELLED, "engines learn it from the bus"
    await scene.cancel(behind)
    await scene.world.until(behind, JobState.CANCELLED)
    assert await scene.world.terminal_events(job_id) == ["CANCELLED"], "what the worker said then changed nothing"


async def test_a_deaf_worker_works_on_and_what_it_says_then_is_ignored(scene: Scene) -> None:
    job_id = await running(scene)

    await scene.cancel(job_id)
    await scene.world.until(job_id, JobState.CANCELLED)
    scene.go_on.set()

    async def done() -> bool:
        results = scene.said("job_result", job_id)
        return any(packet.sender_id == "deaf" for packet in results)

    await scene.world.eventually(done, "the worker's own result")
    follower = await scene.world.submit("job.work")
    await scene.world.until(follower, JobState.SUCCEEDED)
    record = await scene.world.record(job_id)
    assert (record.state, record.result_ptr) == (JobState.CANCELLED, "")
    assert await scene.world.terminal_events(job_id) == ["CANCELLED"]
    scene.go_on.clear()


async def test_another_tenants_word_does_not_count(scene: Scene) -> None:
    job_id = await running(scene)
    await scene.cancel(job_id, sender="a-worker", tenant="acme")
    await scene.cancel(job_id, sender="a-worker")
    marker = await running(scene, "job.other")
    await scene.cancel(marker, sender="a-worker", tenant="default")
    await scene.world.until(marker, JobState.CANCELLED)
    refused = scene.scheduler.events("job_cancel_refused")
    assert [entry["job_id"] for entry in refused] == [job_id, job_id]
    assert (await scene.world.record(job_id)).state is JobState.RUNNING
    await scene.cancel(job_id)
    await scene.world.until(job_id, JobState.CANCELLED)
    scene.go_on.set()
    scene.go_on = asyncio.Event()


async def test_a_parked_job_leaves_its_lane(scene: Scene) -> None:
    job_id = await scene.world.submit("job.lonely")
    await scene.world.until(job_id, lambda record: bool(record.pending_reason))

    async def lanes() -> list[str]:
        names = await scene.world.redis_command("SMEMBERS", "job:parked")
        scores = [await scene.world.redis_command("ZSCORE", f"job:parked:{name}", job_id) for name in names]
        return [name for name, score in zip(names, scores, strict=True) if score is not None]

    async def parked() -> bool:
        return bool(await lanes())

    async def gone() -> bool:
        return not await lanes()

    await scene.world.eventually(parked, "the job is parked")
    await scene.cancel(job_id)
    await scene.world.until(job_id, JobState.CANCELLED)
    await scene.world.eventually(gone, "the job has left its lane")


async def test_a_cancel_nobody_was_told_of_is_told_when_that_can_be_done(scene: Scene) -> None:
    """The gateway wrote it down and died, or NATS was away: the record says so, the worker does not know."""
    world = scene.world
    job_id = await running(scene, "job.other")
    record = await world.record(job_id)
    await world.store.endings.begin(job_id, JobState.CANCELLED, micros(time.time() - 11))
    outcome = await world.store.jobs.apply(job_id, lifecycle.cancel("by alice"), now=micros(time.time()), known=record)
    assert isinstance(outcome, Applied)

    cancel = await scene.until_heard("job_cancel", job_id)
    result = await scene.until_heard("job_result", job_id)

    assert cancel.job_cancel.dispatch.dispatch_id == record.dispatch_id
    assert cancel.job_cancel.dispatch.assigned_worker_id == "obedient"
    assert result.job_result.status == job_pb2.JOB_STATUS_CANCELLED

    async def stopped() -> bool:
        return job_id in scene.stopped

    async def struck_off() -> bool:
        return not await world.store.endings.untold(micros(time.time()), 10)

    await world.eventually(stopped, "the worker stops")
    await world.eventually(struck_off, "it is told once")
    follower = await running(scene, "job.other")
    await scene.cancel(follower)
    await world.until(follower, JobState.CANCELLED)


async def test_an_end_by_the_clock_is_told_by_whoever_survives(scene: Scene) -> None:
    """A scheduler wrote TIMEOUT and died: nobody heard it, and it is no dead letter yet."""
    world = scene.world
    job_id = await running(scene)
    record = await world.record(job_id)
    await world.store.endings.begin(job_id, JobState.TIMEOUT, micros(time.time() - 11))
    change = lifecycle.time_out(record, "timeout: running exceeded (1 s)")
    assert isinstance(await world.store.jobs.apply(job_id, change, now=micros(time.time()), known=record), Applied)

    cancel = await scene.until_heard("job_cancel", job_id)
    result = await scene.until_heard("job_result", job_id)

    assert cancel.job_cancel.dispatch.dispatch_id == record.dispatch_id
    assert result.job_result.status == job_pb2.JOB_STATUS_TIMEOUT

    async def buried() -> bool:
        letter = await world.store.dead_letters.get(record.tenant, job_id)
        return letter is not None and letter.reason == "timeout: running exceeded (1 s)"

    await world.eventually(buried, "it is a dead letter")
    scene.go_on.set()
    follower = await running(scene)
    await world.until(follower, JobState.SUCCEEDED)
    scene.go_on.clear()


async def test_a_cancel_that_was_never_made_is_not_told(scene: Scene) -> None:
    world = scene.world
    job_id = await running(scene, "job.other")
    await world.store.endings.begin(job_id, JobState.CANCELLED, micros(time.time() - 11))

    async def struck_off() -> bool:
        return not await world.store.endings.untold(micros(time.time()), 10)

    await world.eventually(struck_off, "it is struck off")
    assert (await world.record(job_id)).state is JobState.RUNNING
    assert scene.found("job_cancel", job_id) == []
    await scene.cancel(job_id)
    await world.until(job_id, JobState.CANCELLED)


async def test_the_scheduler_hears_of_a_cancel_that_came_while_it_was_away(scene: Scene) -> None:
    """The last test: it kills the scheduler."""
    job_id = await running(scene)
    await scene.scheduler.kill()
    await scene.cancel(job_id)
    await scene.world.start_scheduler()
    await scene.world.until(job_id, JobState.CANCELLED, within=30)
