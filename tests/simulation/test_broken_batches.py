"""A connection to Redis may break between any two commands of a batch. Wherever it does, a job is not lost, and nothing
of it stays behind, once those who look after jobs have passed by.

The simulation found these by chance; here each place is tried.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import pytest
from tests.simulation.clocks import NamedIds
from tests.simulation.link import _raw, _text
from tests.simulation.redis import SimRedis
from tests.simulation.redis_values import RedisError, ScoredSet

from cordum.core.ids import DispatchId, JobId, Micros, TenantId, Topic, WorkerId, micros
from cordum.core.jobs import lifecycle
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import TERMINAL, JobState
from cordum.core.policy.decision import Decision, Verdict
from cordum.runtime.clock import SystemClock
from cordum.runtime.lifecycle import Lifecycle
from cordum.services.scheduler.browsing import jobs_in_state
from cordum.store import NewJob, Store, StoreError, keys
from cordum.store.errors import AnswerLostError
from cordum.store.link import Command, Outcome, refusal
from cordum.store.options import StoreOptions

JOB = JobId("j")
TENANT = TenantId("default")
MOST = 90  # commands of any step


class BreakingLink:
    """Runs commands at once; after `breaks_at` more of them the connection breaks, once."""

    def __init__(self) -> None:
        self.redis = SimRedis(time.time)
        self.breaks_at: int | None = None
        self.broke = False

    async def execute(self, commands: Sequence[Command], deadline: float) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for command in commands:
            if self.breaks_at == 0:
                self.breaks_at, self.broke = None, True
                lost = AnswerLostError("the connection broke")
                return [*outcomes, *([lost] * (len(commands) - len(outcomes)))]
            if self.breaks_at is not None:
                self.breaks_at -= 1
            try:
                reply = self.redis.execute(command)
                outcomes.append(_raw(reply) if type(command) is not tuple else _text(reply))
            except RedisError as error:
                outcomes.append(refusal(str(error)))
        return outcomes

    async def aclose(self) -> None:
        """Nothing to close."""


class Site:
    """A store over such a link."""

    def __init__(self) -> None:
        self.link = BreakingLink()
        options = StoreOptions(operation_timeout=0.3)
        self.store = Store(options, SystemClock(), NamedIds("test"), self.link)

    async def create(self) -> JobRecord:
        now = micros(time.time() - 3600)
        record = JobRecord(
            id=JOB,
            state=JobState.PENDING,
            created_at=now,
            updated_at=now,
            topic=Topic("job.work"),
            tenant=TENANT,
            deadline_unix=micros(time.time() + 3600),
        )
        request = b'{"jobId":"j","tenantId":"default"}'
        await self.store.jobs.create(NewJob(record=record, request=request, context=b"{}"))
        return record

    async def dispatch(self) -> JobRecord:
        known = await self.record()
        assert known is not None
        now = micros(time.time() - 1800)
        change = lifecycle.dispatch(
            known,
            Verdict(decision=Decision.ALLOW, checked_at=now),
            worker=WorkerId("w"),
            pool=known.pool,
            dispatch_id=DispatchId("d"),
            now=now,
            deadline=known.deadline_unix,
        )
        await self.store.jobs.apply(JOB, change, now=now, known=known)
        return known

    async def succeed(self) -> None:
        known = await self.record()
        change = lifecycle.succeed(worker=WorkerId("w"), dispatch_id=DispatchId("d"), result_ptr="")
        await self.store.jobs.apply(JOB, change, now=micros(time.time() - 900), known=known)

    async def record(self) -> JobRecord | None:
        return await self.store.jobs.get(JOB)

    async def walk(self) -> set[JobState]:
        """What reconciler and replayer do from time to time; the states in which they saw the job."""
        seen: set[JobState] = set()
        for _ in range(2):
            for state in JobState:
                if state not in TERMINAL:
                    async for records in jobs_in_state(self.store, state, until=micros(time.time())):
                        seen |= {record.state for record in records}
        return seen

    def left(self) -> list[str]:
        """Every key that names the job and that others count or look through."""
        found = []
        for key, value in self.link.redis.keys.values.items():
            name = key.decode()
            if isinstance(value, set | ScoredSet) and JOB.encode() in value:
                found.append(name)
        return sorted(found)


def index(state: JobState) -> str:
    return keys.STATE_INDEX[state]


Step = Callable[[Site], Awaitable[object]]


async def broken(before: Sequence[Step], step: Step, at: int) -> tuple[Site, bool]:
    """A site on which the connection has broken behind so many commands of a step; False: the step had no more."""
    site = Site()
    for earlier in before:
        await earlier(site)
    site.link.breaks_at = at
    try:
        await step(site)
    except StoreError:
        pass
    broke, site.link.breaks_at = site.link.broke, None
    return site, broke


async def places(before: Sequence[Step], step: Step) -> list[Site]:
    sites: list[Site] = []
    for at in range(MOST):
        site, broke = await broken(before, step, at)
        if not broke:
            assert at > 5
            return sites
        sites.append(site)
    raise AssertionError("a batch has more commands than expected")


async def test_a_creation_that_breaks_off_is_found_or_leaves_nothing() -> None:
    for site in await places((), Site.create):
        seen = await site.walk()
        record = await site.record()
        if record is not None:
            assert JobState.PENDING in seen
            assert index(JobState.PENDING) in site.left()
        else:
            assert site.left() == []


async def test_a_dispatch_that_breaks_off_is_found() -> None:
    for site in await places((Site.create,), Site.dispatch):
        await site.walk()
        record = await site.record()
        assert record is not None
        indexes = {index(state) for state in JobState} & set(site.left())
        assert indexes == {index(record.state)}
        assert keys.job_tenant_active(TENANT) in site.left()


async def test_an_end_that_breaks_off_leaves_nothing_active() -> None:
    for site in await places((Site.create, Site.dispatch), Site.succeed):
        await site.walk()
        record = await site.record()
        assert record is not None
        indexes = {index(state) for state in JobState} & set(site.left())
        assert indexes == {index(record.state)}
        active = {keys.job_tenant_active(TENANT), keys.JOB_DEADLINE} & set(site.left())
        assert bool(active) is (record.state not in TERMINAL)


async def _repair(site: Site) -> None:
    await site.store.jobs.repair_indexes([JOB])


async def _lose_record(site: Site) -> None:
    site.link.redis.execute(("DEL", keys.job_meta(JOB)))


async def test_cleaning_up_that_breaks_off_is_done_again() -> None:
    for site in await places((Site.create, _lose_record), _repair):
        await site.walk()
        assert site.left() == []


async def test_a_late_repair_that_breaks_off_hides_no_job() -> None:
    """It read the record before the job ended, and writes what it read behind that."""
    for at in range(MOST):
        site = Site()
        await site.create()
        await site.dispatch()
        real, ended = site.link.execute, False

        async def end_in_between(
            commands: Sequence[Command], deadline: float, site: Site = site, at: int = at, real: object = real
        ) -> list[Outcome]:
            nonlocal ended
            if any(command[0] == "ZREM" for command in commands) and not ended:
                ended = True
                await site.succeed()
                site.link.breaks_at = at
            return await BreakingLink.execute(site.link, commands, deadline)

        site.link.execute = end_in_between  # type: ignore[method-assign]
        try:
            await _repair(site)
        except StoreError:
            pass
        broke, site.link.breaks_at = site.link.broke, None
        await site.walk()
        assert index(JobState.SUCCEEDED) in site.left()
        assert index(JobState.RUNNING) not in site.left()
        if not broke:
            assert at > 5
            return
    raise AssertionError("a repair has more commands than expected")


async def test_a_parked_job_stands_in_a_lane_that_is_listed() -> None:
    async def park(site: Site) -> None:
        await site.store.parked.park("main", JOB, Micros(2))

    for at in range(4):
        site, _ = await broken((), park, at)
        lanes = await site.store.parked.queues(micros(time.time()))
        if keys.parked("main") in site.left():
            assert lanes["main"].due == 1


async def test_a_task_that_does_not_see_its_cancellation_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cordum.runtime.lifecycle._CANCEL_AGAIN", 0.05)
    deaf = 2

    async def work() -> None:
        nonlocal deaf
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                # As asyncio.wait_for does when its result has come in the same moment.
                if deaf == 0:
                    raise
                deaf -= 1

    life = Lifecycle(grace=10.0)
    life.spawn(work(), name="deaf")
    await asyncio.sleep(0)
    life.stop("test")
    async with asyncio.timeout(5):
        await life.unwind()
    assert deaf == 0
    assert not life.failed
