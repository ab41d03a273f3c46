"""Moves of jobs: one winner, a true index, and no trace of those who lost."""

import asyncio

import redis.asyncio as redis
from tests.integration.store.conftest import make_job

from cordum.core.ids import DispatchId, JobId, Micros, PoolName, TenantId, WorkerId
from cordum.core.jobs import lifecycle
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import ACTIVE, JobState
from cordum.core.policy.decision import Decision, Verdict
from cordum.store import Applied, Refused, Store

ALLOW = Verdict(decision=Decision.ALLOW)
WORKER = WorkerId("w-1")


def dispatch(record: JobRecord, dispatch_id: str = "d-1", deadline: int = 0) -> lifecycle.Change:
    return lifecycle.dispatch(
        record,
        ALLOW,
        worker=WORKER,
        pool=PoolName("pool"),
        dispatch_id=DispatchId(dispatch_id),
        now=record.updated_at,
        deadline=Micros(deadline),
    )


async def created(store: Store) -> JobRecord:
    job = make_job()
    await store.jobs.create(job)
    return job.record


async def read(store: Store, job_id: JobId) -> JobRecord:
    record = await store.jobs.get(job_id)
    assert record is not None
    return record


async def indexes_of(raw: "redis.Redis", record: JobRecord) -> dict[str, float]:
    """Every state index the job is in, with its score."""
    found = {state: await raw.zscore(f"job:index:{state.label}", record.id) for state in JobState}
    return {state.value: score for state, score in found.items() if score is not None}


async def assert_indexed(raw: "redis.Redis", store: Store, job_id: JobId) -> None:
    """The indexes say exactly what the record says."""
    record = await read(store, job_id)
    assert await indexes_of(raw, record) == {record.state.value: record.updated_at}
    assert await raw.zscore(f"job:index:tenant:{record.tenant}", job_id) == record.updated_at
    assert await raw.zscore("job:recent", job_id) == record.updated_at
    assert await raw.get(f"job:state:{job_id}") == record.state.value
    assert await raw.sismember(f"job:tenant:active:{record.tenant}", job_id) == (record.state in ACTIVE)
    deadline = await raw.zscore("job:deadline", job_id)
    assert deadline == (record.deadline_unix or None)
    pointer = await raw.get(f"job:result_ptr:{job_id}")
    assert pointer == (record.result_ptr or None)


async def test_a_foreseen_move_takes_one_round_trip(store: Store, raw: "redis.Redis") -> None:
    record = await created(store)
    await store.jobs.apply(record.id, dispatch(record), now=record.updated_at, known=record)
    record = await created(store)
    before = store.round_trips
    outcome = await store.jobs.apply(record.id, dispatch(record), now=record.updated_at, known=record)
    assert store.round_trips == before + 1
    assert isinstance(outcome, Applied)
    assert (outcome.previous, outcome.tenant, outcome.trace_id) == (JobState.PENDING, record.tenant, record.trace_id)
    assert outcome.updated_at == record.updated_at + 1
    await assert_indexed(raw, store, record.id)


async def test_a_whole_life_leaves_true_indexes_and_its_history(store: Store, raw: "redis.Redis") -> None:
    record = await created(store)
    deadline = 1_900_000_000_000_000
    await store.jobs.apply(record.id, dispatch(record, deadline=deadline), now=record.updated_at, known=record)
    await assert_indexed(raw, store, record.id)
    running = await read(store, record.id)
    assert (running.state, running.attempts, running.deadline_unix) == (JobState.RUNNING, 1, deadline)
    await raw.set(f"res:{record.id}", "{}")
    done = lifecycle.succeed(worker=WORKER, dispatch_id=DispatchId("d-1"), result_ptr=f"redis://res:{record.id}")
    await store.jobs.apply(record.id, done, now=Micros(running.updated_at + 5), known=running)
    await assert_indexed(raw, store, record.id)
    ended = await store.jobs.get_detail(record.id)
    assert ended is not None
    assert (ended.record.state, ended.result, ended.record.deadline_unix) == (JobState.SUCCEEDED, b"{}", 0)
    assert await raw.ttl(f"res:{record.id}") > 0, "a result is given an end when it is accepted"
    history = [entry.split('"')[-2] for entry in await store.jobs.events(record.id)]
    assert history == ["PENDING", "SCHEDULED", "DISPATCHED", "RUNNING", "SUCCEEDED"]


async def test_a_move_without_the_record_at_hand_ends_the_same(store: Store, raw: "redis.Redis") -> None:
    record = await created(store)
    outcome = await store.jobs.apply(record.id, lifecycle.cancel("enough"), now=record.updated_at)
    assert isinstance(outcome, Applied)
    await assert_indexed(raw, store, record.id)


async def test_a_refused_move_changes_nothing_and_is_mended_at_once(
    store: Store, peer: Store, raw: "redis.Redis"
) -> None:
    record = await created(store)
    await peer.jobs.apply(record.id, dispatch(record, "theirs"), now=record.updated_at, known=record)
    truth = await read(peer, record.id)
    outcome = await store.jobs.apply(record.id, dispatch(record, "ours"), now=record.updated_at, known=record)
    assert outcome == Refused(state=JobState.RUNNING, why="state")
    assert await read(store, record.id) == truth
    await assert_indexed(raw, store, record.id)
    assert len(await store.jobs.events(record.id)) == 4


async def test_a_fence_that_no_longer_holds_is_named(store: Store, raw: "redis.Redis") -> None:
    record = await created(store)
    await store.jobs.apply(record.id, dispatch(record), now=record.updated_at, known=record)
    running = await read(store, record.id)
    late = lifecycle.succeed(worker=WORKER, dispatch_id=DispatchId("d-0"), result_ptr=f"redis://res:{record.id}")
    assert await store.jobs.apply(record.id, late, now=record.updated_at, known=running) == Refused(
        state=JobState.RUNNING, why="dispatch_id"
    )
    await assert_indexed(raw, store, record.id)


async def test_a_stale_record_at_hand_still_leads_to_true_indexes(
    store: Store, peer: Store, raw: "redis.Redis"
) -> None:
    record = await created(store)
    await peer.jobs.apply(record.id, dispatch(record, deadline=1_900_000_000_000_000), now=record.updated_at)
    outcome = await store.jobs.apply(record.id, lifecycle.cancel("no"), now=record.updated_at, known=record)
    assert isinstance(outcome, Applied)
    assert outcome.previous is JobState.RUNNING
    await assert_indexed(raw, store, record.id)


async def test_of_fifty_who_try_the_same_move_one_wins(store: Store, peer: Store, raw: "redis.Redis") -> None:
    record = await created(store)
    outcomes = await asyncio.gather(
        *(
            (store, peer)[number % 2].jobs.apply(
                record.id, dispatch(record, f"d-{number}"), now=record.updated_at, known=record
            )
            for number in range(50)
        )
    )
    winners = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, Applied)]
    assert len(winners) == 1
    final = await read(store, record.id)
    assert (final.dispatch_id, final.attempts) == (f"d-{winners[0]}", 1)
    await assert_indexed(raw, store, record.id)
    assert len(await store.jobs.events(record.id)) == 4


async def test_the_end_of_a_job_is_final(store: Store) -> None:
    record = await created(store)
    await store.jobs.apply(record.id, lifecycle.cancel("enough"), now=record.updated_at, known=record)
    for change in (dispatch(record), lifecycle.fail("x", "y"), lifecycle.cancel("again"), lifecycle.wait("no_workers")):
        refused = await store.jobs.apply(record.id, change, now=record.updated_at)
        assert refused == Refused(state=JobState.CANCELLED, why="state")


async def test_a_move_of_no_job_is_refused_and_leaves_nothing(store: Store, raw: "redis.Redis") -> None:
    ghost = make_job().record
    for known in (None, ghost):
        refused = await store.jobs.apply(ghost.id, lifecycle.cancel("x"), now=Micros(1), known=known)
        assert refused == Refused(state=None, why="missing")
    assert await raw.keys("*") == []


async def test_time_moves_on_with_every_change(store: Store) -> None:
    record = await created(store)
    stamps = [record.updated_at]
    for _ in range(3):
        outcome = await store.jobs.apply(record.id, lifecycle.wait("no_workers"), now=Micros(1))
        assert isinstance(outcome, Applied)
        stamps.append(outcome.updated_at)
    assert stamps == sorted(set(stamps))


async def test_a_waiting_job_shows_why(store: Store, raw: "redis.Redis") -> None:
    record = await created(store)
    now = Micros(record.updated_at + 1000)
    await store.jobs.apply(record.id, lifecycle.wait("no_workers", 3), now=now, known=record)
    waiting = await read(store, record.id)
    assert (waiting.state, waiting.pending_reason, waiting.attempts) == (JobState.PENDING, "no_workers", 3)
    assert len(await store.jobs.events(record.id)) == 1
    await assert_indexed(raw, store, record.id)


async def test_fields_are_added_only_in_the_right_state(store: Store, raw: "redis.Redis") -> None:
    record = await created(store)
    running = frozenset({JobState.RUNNING})
    assert not await store.jobs.annotate(record.id, {"last_state": "X"}, allowed_from=running)
    assert await store.jobs.annotate(record.id, {"last_state": "X"}, allowed_from=ACTIVE)
    annotated = await read(store, record.id)
    assert (annotated.last_state, annotated.updated_at) == ("X", record.updated_at + 1)
    await assert_indexed(raw, store, record.id)
    assert not await store.jobs.annotate(JobId("nobody"), {"last_state": "X"}, allowed_from=ACTIVE)


async def test_events_are_capped(store: Store, raw: "redis.Redis") -> None:
    record = await created(store)
    await raw.rpush(f"job:events:{record.id}", *("x" for _ in range(400)))
    await store.jobs.apply(record.id, lifecycle.cancel("x"), now=record.updated_at)
    events = await store.jobs.events(record.id)
    assert len(events) == 200
    assert "CANCELLED" in events[-1]


async def test_lost_index_entries_are_written_again(store: Store, raw: "redis.Redis") -> None:
    record = await created(store)
    await store.jobs.apply(record.id, dispatch(record, deadline=1_900_000_000_000_000), now=record.updated_at)
    await raw.zrem("job:index:running", record.id)
    await raw.zrem("job:deadline", record.id)
    await raw.zrem("job:index:tenant:default", record.id)
    await raw.zadd("job:index:failed", {record.id: 5})
    await raw.srem("job:tenant:active:default", record.id)
    await store.jobs.repair_indexes([record.id])
    await assert_indexed(raw, store, record.id)


async def test_index_entries_without_a_record_are_removed(store: Store, raw: "redis.Redis") -> None:
    record = await created(store)
    await raw.delete(f"job:meta:{record.id}")
    await raw.zadd("job:deadline", {record.id: 1})
    await store.jobs.repair_indexes([record.id], TenantId("default"))
    for key in ("job:index:pending", "job:deadline", "job:recent", "job:index:tenant:default"):
        assert await raw.zscore(key, record.id) is None
    assert not await raw.sismember("job:tenant:active:default", record.id)


async def test_what_is_due_is_found_oldest_first(store: Store) -> None:
    records = [make_job(at=1000 + number, deadline=9000 - number) for number in range(5)]
    for job in records:
        await store.jobs.create(job)
    ids = [job.record.id for job in records]
    assert await store.jobs.ids_in_state(JobState.PENDING, Micros(1002), 10) == ids[:3]
    assert await store.jobs.ids_in_state(JobState.PENDING, Micros(9999), 2) == ids[:2]
    assert await store.jobs.due_deadlines(Micros(8997), 10) == [ids[4], ids[3]]


async def test_ended_jobs_leave_the_indexes_with_their_records(store: Store, raw: "redis.Redis") -> None:
    await raw.zadd("job:index:failed", {"old": 1, "young": 8 * 86_400_000_000})
    await store.jobs.trim_indexes(Micros(8 * 86_400_000_000))
    assert await raw.zrange("job:index:failed", 0, -1) == ["young"]
