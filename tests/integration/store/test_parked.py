"""The queues of jobs that wait for a worker."""

import asyncio

from cordum.core.ids import JobId, Micros
from cordum.store import Store
from cordum.store.parked import Queue

POOL, OTHER = "gpu", "1|acme|job.work|cpu"
NOW = Micros(1_800_000_000_000_000)
A, B, C = JobId("a"), JobId("b"), JobId("c")


async def test_jobs_come_back_when_they_are_due_longest_due_first(store: Store) -> None:
    await store.parked.park(POOL, A, Micros(NOW + 11))
    await store.parked.park(POOL, B, Micros(NOW - 5))
    await store.parked.park(POOL, C, Micros(NOW - 50))
    assert await store.parked.take_due(POOL, NOW, 10, 5.0) == [C, B]
    assert await store.parked.take_due(POOL, Micros(NOW + 11), 10, 5.0) == [A]


async def test_a_taken_job_is_nobody_elses_until_its_lease_ends(store: Store, peer: Store) -> None:
    await store.parked.park(POOL, A, NOW)
    assert await store.parked.take_due(POOL, NOW, 10, 5.0) == [A]
    assert await peer.parked.take_due(POOL, NOW, 10, 5.0) == []
    assert await peer.parked.take_waiting(POOL, NOW, 10, 5.0) == []
    later = Micros(NOW + 5_000_001)
    assert await peer.parked.take_due(POOL, later, 10, 5.0) == [A], "its taker died, so it came back"


async def test_a_free_worker_takes_jobs_before_their_time(store: Store, peer: Store) -> None:
    for due, job_id in enumerate((A, B, C)):
        await store.parked.park(POOL, job_id, Micros(NOW + 1_000_000 * (due + 1)))
    assert await store.parked.take_waiting(POOL, NOW, 1, 60.0) == [A]
    assert await peer.parked.take_waiting(POOL, NOW, 10, 60.0) == [B, C]


async def test_a_placed_job_does_not_come_back(store: Store) -> None:
    await store.parked.park(POOL, A, NOW)
    await store.parked.take_due(POOL, NOW, 10, 0.0)
    await store.parked.remove(POOL, A)
    assert await store.parked.take_due(POOL, Micros(NOW + 10_000_000), 10, 5.0) == []
    assert await store.parked.count(POOL) == 0


async def test_parking_again_sets_a_new_time(store: Store) -> None:
    await store.parked.park(POOL, A, NOW)
    await store.parked.park(POOL, A, Micros(NOW + 100))
    assert await store.parked.take_due(POOL, NOW, 10, 5.0) == []
    assert await store.parked.count(POOL) == 1


async def test_many_takers_share_without_overlap(store: Store, peer: Store) -> None:
    wanted = {JobId(f"j-{number}") for number in range(60)}
    for job_id in wanted:
        await store.parked.park(POOL, job_id, NOW)
    taken = await asyncio.gather(
        *((store, peer)[number % 2].parked.take_due(POOL, NOW, 7, 60.0) for number in range(12))
    )
    flat = [job_id for some in taken for job_id in some]
    assert len(flat) == len(set(flat)) == 60
    assert set(flat) == wanted


async def test_lanes_with_parked_jobs_are_known_and_empty_ones_forgotten(store: Store, peer: Store) -> None:
    assert await store.parked.queues(NOW) == {}
    await store.parked.park(POOL, A, NOW)
    await store.parked.park(POOL, B, Micros(NOW + 10))
    await store.parked.park(OTHER, C, NOW)
    await store.parked.remove(OTHER, C)
    assert await store.parked.queues(NOW) == {POOL: Queue(2, 1), OTHER: Queue(0, 0)}

    await peer.parked.forget([POOL, OTHER])

    assert await store.parked.queues(NOW) == {POOL: Queue(2, 1)}, "a lane that has a job is not forgotten"
