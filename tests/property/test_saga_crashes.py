"""Sagas under every order of successes, failures, redeliveries and deaths, through the real store on a real server.

A scheduler here dies at a given step: from then on nothing it does reaches store or bus, neither the rest of its work
nor what it would tidy up. The step it dies at may have been done or not. Whoever comes after it finds what is left.
"""

import asyncio
import itertools
import secrets
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest
from cap.pb.cordum.agent.v1 import job_pb2, safety_pb2
from google.protobuf.json_format import MessageToJson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cordum.bus import Bus, PublishError, envelope
from cordum.core.ids import JobId, Micros, TenantId, Topic
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.saga import Saga, compensation_id
from cordum.core.jobs.states import JobState
from cordum.embedded.servers import Server
from cordum.rpc.kernel_client import KernelClient
from cordum.runtime import metrics
from cordum.runtime.clock import SystemClock
from cordum.services.scheduler.announcing import Announcer
from cordum.services.scheduler.sagas import Sagas
from cordum.store import NewJob, Store, StoreOptions, keys
from cordum.store.audit_outbox import AuditOutbox

T = TypeVar("T")
TENANT = TenantId("default")
NEVER = 10_000
_numbers = itertools.count(1)


class Life:
    """How many steps a scheduler has left, and whether it does the last one."""

    def __init__(self, steps: int, last_is_done: bool) -> None:
        self._left = steps
        self._last_is_done = last_is_done

    async def step(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        self._left -= 1
        if self._left >= 0:
            return await work()
        if self._left == -1 and self._last_is_done:
            await work()
        raise asyncio.CancelledError


class Mortal:
    """Something whose every call is a step in a life; what the calls lead to is as mortal."""

    def __init__(self, inner: object, life: Life) -> None:
        self._inner = inner
        self._life = life

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if asyncio.iscoroutinefunction(found):
            return lambda *args, **kwargs: self._life.step(lambda: found(*args, **kwargs))
        return found if isinstance(found, bool | int | str) else Mortal(found, self._life)


class Stream:
    """The stream of submits, which takes each message id once."""

    connected = True

    def __init__(self) -> None:
        self.submits: dict[str, job_pb2.JobRequest] = {}
        self.away = False

    async def publish(self, _subject: str, data: bytes, *, msg_id: str = "") -> None:
        if self.away:
            raise PublishError("not acknowledged")
        packet = envelope.decode(data)
        first = self.submits.setdefault(msg_id, packet.job_request)
        assert first == packet.job_request, "under one name there is one request, always the same"


class Yes:
    """A safety kernel without objections."""

    async def simulate(self, _question: object) -> safety_pb2.PolicyCheckResponse:
        return safety_pb2.PolicyCheckResponse(decision=safety_pb2.DECISION_TYPE_ALLOW, policy_snapshot="s")


class World:
    """The server, the store and the loop they live in."""

    def __init__(self, directory: Path) -> None:
        self._runner = asyncio.Runner()
        self._server = Server("redis", directory, password=secrets.token_hex(8))
        self.run(self._server.start())
        self.store = self.run(Store.connect(StoreOptions(url=self._server.url)))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def close(self) -> None:
        self.run(self.store.aclose())
        self.run(self._server.aclose())
        self._runner.close()

    def scheduler(self, stream: Stream, life: Life) -> Sagas:
        """A scheduler that lives so long; its word goes to the stream."""
        clock = SystemClock()
        store = cast("Store", Mortal(self.store, life))
        bus = cast("Bus", Mortal(stream, life))
        return Sagas(
            bus=bus,
            store=store,
            kernel=cast("KernelClient", Yes()),
            announcer=Announcer(bus, store, clock),
            outbox=AuditOutbox(self.store.audit, clock),
            clock=clock,
        )


@dataclass
class Step:
    """One thing that happens: job number `job` succeeds or (None) the workflow fails, in a scheduler that dies."""

    job: int | None
    lives: int
    last_is_done: bool
    redelivered: int


STEPS = st.lists(
    st.builds(
        Step,
        job=st.one_of(st.integers(0, 5), st.none()),
        lives=st.one_of(st.just(NEVER), st.integers(0, 12)),
        last_is_done=st.booleans(),
        redelivered=st.integers(0, 2),
    ),
    min_size=1,
    max_size=10,
)


class Case:
    """One workflow and what happened to it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.saga = Saga(TENANT, f"flow-{next(_numbers)}")
        self.stream = Stream()
        self.kept: list[tuple[JobId, int]] = []
        """Jobs whose compensation is kept, with how many were submitted at that time."""

    def record(self, number: int | str) -> JobRecord:
        return JobRecord(
            id=JobId(f"{self.saga.workflow}-{number}"),
            state=JobState.RUNNING,
            created_at=Micros(1),
            updated_at=Micros(1),
            tenant=TENANT,
            topic=Topic("job.do"),
            workflow_id=self.saga.workflow,
            compensation="job.undo",
        )

    async def happen(self, step: Step) -> None:
        """It happens, is redelivered until somebody has lived through it, and then some more."""
        lives = [step.lives, *([NEVER] if step.lives != NEVER else []), *([NEVER] * step.redelivered)]
        for left in lives:
            sagas = self.world.scheduler(self.stream, Life(left, step.last_is_done))
            try:
                if step.job is None:
                    await sagas.failed_fatally(self.record("fatal"))
                else:
                    await self._succeed(sagas, self.record(step.job))
            except asyncio.CancelledError:
                pass
            await sagas.settled()
            await self._locks_run_out()

    async def _succeed(self, sagas: Sagas, record: JobRecord) -> None:
        request = job_pb2.JobRequest(
            job_id=record.id, topic=record.topic, tenant_id=TENANT, workflow_id=self.saga.workflow
        )
        request.compensation.topic = record.compensation
        await self.world.store.jobs.create(NewJob(record=record, request=MessageToJson(request).encode()))
        before = await self.world.store.sagas.size(self.saga)
        try:
            await sagas.succeeded(record)
        finally:
            if await self.world.store.sagas.size(self.saga) > before and record.id not in dict(self.kept):
                self.kept.append((record.id, len(self.stream.submits)))

    async def _locks_run_out(self) -> None:
        lock = await self.world.store.leases.acquire(keys.saga_lock(self.saga), 60.0)
        if lock is None:
            await self.world.store.jobs._batcher.submit([("DEL", keys.saga_lock(self.saga))])
        else:
            await self.world.store.leases.release(lock)

    async def pass_over(self) -> None:
        """Another scheduler looks for rollbacks nobody is at."""
        sagas = self.world.scheduler(self.stream, Life(NEVER, True))
        await sagas.tick()
        await sagas.settled()

    def compensated(self) -> list[JobId]:
        return [JobId(request.parent_job_id) for request in self.stream.submits.values()]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("redis"))
    yield made
    made.close()


def test_each_kept_compensation_runs_once_and_the_last_comes_first(world: World) -> None:
    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    @given(steps=STEPS, dying=st.integers(0, 20))
    def under(steps: list[Step], dying: int) -> None:
        world.run(_play(Case(world), steps, dying))

    under()


async def _play(case: Case, steps: list[Step], dying: int) -> None:
    for step in steps:
        await case.happen(step)
        if step.job is None:
            # Its result was handled to the end by somebody; its rollback may be anywhere.
            await case.pass_over()
            assert await case.world.store.sagas.size(case.saga) == 0
            assert await case.world.store.sagas.asked_at(case.saga) is None
    await case.happen(Step(job=None, lives=dying, last_is_done=bool(dying % 2), redelivered=1))
    await case.pass_over()
    done = case.compensated()
    kept = [job_id for job_id, _ in case.kept]
    assert sorted(done) == sorted(kept), "each one that was kept, and each once"
    assert set(case.stream.submits) == {f"jobreq:{compensation_id(case.saga, job_id)}" for job_id in kept}
    for (earlier, _), (later, at) in itertools.combinations(case.kept, 2):
        if earlier not in done[:at]:
            assert done.index(later) < done.index(earlier), "what was done last is undone first"


@pytest.mark.seed("S81")
def test_a_publish_that_fails_is_counted_and_loses_nothing(world: World) -> None:
    world.run(_publish_fails(Case(world)))


async def _publish_fails(case: Case) -> None:
    for number in range(2):
        await case.happen(Step(number, NEVER, last_is_done=True, redelivered=0))
    failed, rollbacks = metrics.SAGA_FAILED._value.get(), metrics.SAGA_ROLLBACKS._value.get()
    case.stream.away = True
    await case.happen(Step(None, NEVER, last_is_done=True, redelivered=0))
    assert await case.world.store.sagas.size(case.saga) == 2
    assert metrics.SAGA_FAILED._value.get() == failed + 1
    assert metrics.SAGA_ROLLBACKS._value.get() == rollbacks + 1
    case.stream.away = False
    await case.pass_over()
    assert case.compensated() == [case.record(1).id, case.record(0).id]
    assert metrics.SAGA_ROLLBACKS._value.get() == rollbacks + 1, "it is the same rollback"
