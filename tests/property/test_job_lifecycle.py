"""The life of jobs under every order of events, through the real store on a real server.

The model is a few lines: a job's fields, changed when state and fence allow it. Whatever happens, from records fresh or
stale, the store must agree with it, and the indexes with the store.
"""

import asyncio
import itertools
import secrets
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis.asyncio as redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from cordum.core.ids import DispatchId, JobId, Micros, PoolName, RuleId, SnapshotId, TenantId, TraceId, WorkerId
from cordum.core.jobs import approvals, lifecycle
from cordum.core.jobs.lifecycle import Change
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import ACTIVE, MOVES, TERMINAL, JobState, may_move
from cordum.core.policy.decision import Decision, Verdict
from cordum.embedded.servers import Server
from cordum.store import Applied, NewJob, Refused, Store, StoreOptions

S = JobState
T = TypeVar("T")

_FINISHED = {S.SUCCEEDED, S.FAILED, S.CANCELLED, S.TIMEOUT}
_HELD = {S.DISPATCHED, S.RUNNING}

SPECIFIED: dict[JobState, set[JobState]] = {
    S.PENDING: {S.APPROVAL_REQUIRED, S.SCHEDULED, *_HELD, *_FINISHED, S.DENIED, S.RETRYING},
    S.APPROVAL_REQUIRED: {S.PENDING, S.SCHEDULED, *_HELD, *_FINISHED, S.DENIED},
    S.SCHEDULED: {S.SCHEDULED, *_HELD, *_FINISHED, S.DENIED, S.OUTPUT_QUARANTINED, S.RETRYING},
    S.DISPATCHED: {S.SCHEDULED, S.RUNNING, *_FINISHED, S.OUTPUT_QUARANTINED, S.RETRYING},
    S.RUNNING: {S.RUNNING, *_FINISHED, S.OUTPUT_QUARANTINED, S.RETRYING},
    S.RETRYING: {
        *(S.SCHEDULED, *_HELD, *_FINISHED, S.RETRYING),
        *(S.APPROVAL_REQUIRED, S.DENIED, S.OUTPUT_QUARANTINED),
    },
    S.SUCCEEDED: {S.OUTPUT_QUARANTINED},
}
"""The table of spec-scheduler section 4, the additions marked as new there included."""

WIDENED: dict[JobState, set[JobState]] = {
    S.SCHEDULED: {S.PENDING, S.APPROVAL_REQUIRED},
    S.DISPATCHED: {S.PENDING},
    S.RUNNING: {S.PENDING, S.SCHEDULED},
    S.RETRYING: {S.PENDING},
    S.OUTPUT_QUARANTINED: {S.SUCCEEDED, S.FAILED},
}
"""What we allow beyond it, so that a job whose dispatch or worker failed is placed again, and a person can let a
quarantined result go."""


@pytest.mark.parametrize("before", list(JobState))
def test_the_moves_are_those_of_the_specification(before: JobState) -> None:
    assert MOVES[before] == SPECIFIED.get(before, set()) | WIDENED.get(before, set())


@pytest.mark.parametrize("before", sorted(TERMINAL))
def test_what_has_ended_stays_so(before: JobState) -> None:
    by_a_word = {S.SUCCEEDED: [S.OUTPUT_QUARANTINED], S.OUTPUT_QUARANTINED: [S.SUCCEEDED, S.FAILED]}
    assert [after for after in JobState if may_move(before, after)] == by_a_word.get(before, [])


@dataclass
class Model:
    """A job as it should be, and how it once was."""

    id: JobId
    tenant: TenantId
    state: JobState = S.PENDING
    fields: dict[str, str] = field(default_factory=dict)
    stamp: int = 0
    dispatches: int = 0
    seen: list[JobRecord] = field(default_factory=list)
    """Records read on the way, stale ones last used by somebody slow."""

    def allows(self, change: Change) -> bool:
        return self.state in change.allowed_from and all(
            self.fields.get(name, "") == value for name, value in change.fence.items()
        )

    def make(self, change: Change, stamp: int) -> None:
        assert self.state not in TERMINAL or (self.state, change.to) == (S.SUCCEEDED, S.OUTPUT_QUARANTINED)
        self.state, self.stamp = change.to, stamp
        self.fields |= change.fields
        for name in change.clear:
            self.fields.pop(name, None)
        if change.to in TERMINAL:
            self.fields.pop("deadline_unix", None)


ALLOW = Verdict(decision=Decision.ALLOW, rule_id=RuleId("r"), snapshot=SnapshotId("s"))
ASK = Verdict(decision=Decision.REQUIRE_APPROVAL, reason="look", rule_id=RuleId("r"), snapshot=SnapshotId("s"))
DENY = Verdict(decision=Decision.DENY, reason="no", rule_id=RuleId("r"), snapshot=SnapshotId("s"))
WORKERS = st.sampled_from([WorkerId("w-1"), WorkerId("w-2")])
ENDS = st.sampled_from([S.FAILED, S.RETRYING, S.TIMEOUT, S.CANCELLED, S.OUTPUT_QUARANTINED])

_numbers = itertools.count(1)


class World:
    """The server, the store and the loop they live in."""

    def __init__(self, directory: Path) -> None:
        self._runner = asyncio.Runner()
        self._server = Server("redis", directory, password=secrets.token_hex(8))
        self.run(self._server.start())
        self.store = self.run(Store.connect(StoreOptions(url=self._server.url)))
        self.raw: redis.Redis = redis.from_url(self._server.url, decode_responses=True, protocol=2)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def flush(self) -> None:
        self.run(self._flush())

    async def _flush(self) -> None:
        await self.raw.flushdb()

    def close(self) -> None:
        self.run(self._close())
        self._runner.close()

    async def _close(self) -> None:
        await self.store.aclose()
        await self.raw.aclose()
        await self._server.aclose()


class Lives(RuleBasedStateMachine):
    """Jobs of two tenants, and everything that may happen to them."""

    jobs: Bundle[Model] = Bundle("jobs")

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.models: list[Model] = []
        self.touched: Model | None = None

    @initialize()
    def empty(self) -> None:
        self.world.flush()

    @rule(target=jobs, tenant=st.sampled_from([TenantId("a"), TenantId("b")]))
    def create(self, tenant: TenantId) -> Model:
        now = Micros(1_790_000_000_000_000 + next(_numbers) * 1000)
        model = Model(JobId(f"job-{now}"), tenant, stamp=now)
        record = JobRecord(
            id=model.id, state=S.PENDING, tenant=tenant, trace_id=TraceId("t"), created_at=now, updated_at=now
        )
        self.world.run(self.world.store.jobs.create(NewJob(record=record, request=b"{}")))
        self.models.append(model)
        self.touched = model
        self.look(model)
        return model

    @rule(model=jobs)
    def look(self, model: Model) -> None:
        """Somebody reads the record and keeps it."""
        record = self.world.run(self.world.store.jobs.get(model.id))
        assert record is not None
        model.seen.append(record)

    def happen(self, model: Model, data: st.DataObject, make: Callable[[JobRecord], Change]) -> None:
        """Somebody who read the record, now or long ago, makes a change; he may pass on what he read or not."""
        record = data.draw(st.sampled_from(model.seen[-3:]))
        known = data.draw(st.sampled_from([record, None]))
        change = make(record)
        assert all(before is change.to or may_move(before, change.to) for before in change.allowed_from)
        now = Micros(max(model.stamp, record.updated_at) + data.draw(st.integers(-5, 5)))
        expected, before, held = model.allows(change), model.state, dict(model.fields)
        outcome = self.world.run(self.world.store.jobs.apply(model.id, change, now=now, known=known))
        self.touched = model
        if expected:
            assert isinstance(outcome, Applied)
            assert outcome.previous is before
            assert outcome.updated_at > model.stamp
            if change.to is S.RUNNING:
                assert int(change.fields["attempts"]) == int(held.get("attempts") or 0) + 1
            model.make(change, outcome.updated_at)
        else:
            assert isinstance(outcome, Refused)
            assert outcome.state is before

    @rule(model=jobs, data=st.data(), worker=WORKERS, deadline=st.sampled_from([0, 1_900_000_000_000_000]))
    def dispatch(self, model: Model, data: st.DataObject, worker: WorkerId, deadline: int) -> None:
        dispatch_id = DispatchId(f"d-{next(_numbers)}")

        def change(record: JobRecord) -> Change:
            return lifecycle.dispatch(
                record,
                ALLOW,
                worker=worker,
                pool=PoolName("p"),
                dispatch_id=dispatch_id,
                now=record.updated_at,
                deadline=Micros(deadline),
            )

        self.happen(model, data, change)

    @rule(model=jobs, data=st.data())
    def undo_dispatch(self, model: Model, data: st.DataObject) -> None:
        self.happen(model, data, lambda record: lifecycle.undo_dispatch(record, record.dispatch_id or DispatchId("d")))

    @rule(model=jobs, data=st.data(), worker=WORKERS, pointed=st.booleans())
    def succeed(self, model: Model, data: st.DataObject, worker: WorkerId, pointed: bool) -> None:
        pointer = f"redis://res:{model.id}" if pointed else ""
        self.happen(
            model,
            data,
            lambda record: lifecycle.succeed(worker=worker, dispatch_id=record.dispatch_id, result_ptr=pointer),
        )

    @rule(model=jobs, data=st.data(), worker=WORKERS, to=ENDS)
    def end_by_worker(self, model: Model, data: st.DataObject, worker: WorkerId, to: JobState) -> None:
        def change(record: JobRecord) -> Change:
            return lifecycle.end_by_worker(
                to, worker=worker, dispatch_id=record.dispatch_id, status="S", reason="r", code="c"
            )

        self.happen(model, data, change)

    @rule(model=jobs, data=st.data(), attempts=st.integers(1, 3))
    def lose_worker(self, model: Model, data: st.DataObject, attempts: int) -> None:
        self.happen(model, data, lambda record: lifecycle.lose_worker(record, attempts))

    @rule(model=jobs, data=st.data())
    def time_out(self, model: Model, data: st.DataObject) -> None:
        if model.seen[-1].state in ACTIVE:
            self.happen(
                model,
                data,
                lambda record: lifecycle.time_out(record if record.state in ACTIVE else model.seen[-1], "timeout"),
            )

    @rule(model=jobs, data=st.data(), verdict=st.sampled_from([ASK, DENY]))
    def decide(self, model: Model, data: st.DataObject, verdict: Verdict) -> None:
        if verdict is DENY:
            self.happen(model, data, lambda _: lifecycle.deny(DENY))
        else:
            self.happen(model, data, lambda record: approvals.require_approval(record, ASK, "hash"))

    @rule(model=jobs, data=st.data(), word=st.sampled_from([approvals.approve, approvals.reject]))
    def resolve(
        self, model: Model, data: st.DataObject, word: Callable[[JobRecord, approvals.Resolution], Change]
    ) -> None:
        resolution = approvals.Resolution(by="ann", role="admin", at=Micros(1))
        self.happen(model, data, lambda record: word(record, resolution))

    @rule(model=jobs, data=st.data(), what=st.sampled_from(["wait", "fail", "cancel", "quarantine"]))
    def outside(self, model: Model, data: st.DataObject, what: str) -> None:
        changes = {
            "wait": lifecycle.wait("no_workers"),
            "fail": lifecycle.fail("x", "y"),
            "cancel": lifecycle.cancel("x"),
            "quarantine": Change(
                to=S.OUTPUT_QUARANTINED, allowed_from=frozenset({S.SUCCEEDED}), trail=(S.OUTPUT_QUARANTINED,)
            ),
        }
        self.happen(model, data, lambda _: changes[what])

    @rule(model=jobs)
    def annotate(self, model: Model) -> None:
        done = self.world.run(self.world.store.jobs.annotate(model.id, {"last_state": "x"}, allowed_from=ACTIVE))
        assert done == (model.state in ACTIVE)
        if done:
            model.fields["last_state"] = "x"
            model.stamp += 1
        self.touched = model

    @invariant()
    def the_store_agrees_with_the_model(self) -> None:
        if self.touched is not None:
            self.world.run(self._agrees(self.touched))
            self.touched = None

    async def _agrees(self, model: Model) -> None:
        raw, job_id = self.world.raw, model.id
        stored = await raw.hgetall(f"job:meta:{job_id}")
        assert (stored["state"], int(stored["updated_at"])) == (model.state, model.stamp)
        for name in ("attempts", "dispatch_id", "worker_id", "deadline_unix", "approval_status", "pending_reason"):
            assert stored.get(name, "") == model.fields.get(name, ""), name
        scores = {state: await raw.zscore(f"job:index:{state.label}", job_id) for state in JobState}
        assert {state: score for state, score in scores.items() if score is not None} == {model.state: model.stamp}
        assert await raw.zscore(f"job:index:tenant:{model.tenant}", job_id) == model.stamp
        assert await raw.sismember(f"job:tenant:active:{model.tenant}", job_id) == (model.state in ACTIVE)
        deadline = model.fields.get("deadline_unix")
        assert await raw.zscore("job:deadline", job_id) == (float(deadline) if deadline else None)
        assert await raw.get(f"job:state:{job_id}") == model.state

    def teardown(self) -> None:
        for tenant in (TenantId("a"), TenantId("b")):
            page = self.world.run(self.world.store.jobs.list_page(tenant, limit=500))
            mine = sorted((model for model in self.models if model.tenant == tenant), key=lambda model: -model.stamp)
            assert [(record.id, record.state) for record in page.items] == [(model.id, model.state) for model in mine]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("redis"))
    yield made
    made.close()


def test_jobs_live_by_the_rules_in_any_order_of_events(world: World) -> None:
    run_state_machine_as_test(
        lambda: Lives(world),  # type: ignore[arg-type]  # any factory will do
        settings=settings(
            max_examples=40,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
        ),
    )
