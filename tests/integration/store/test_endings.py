"""Notes of ends that are still to be told."""

import redis.asyncio as redis

from cordum.core.ids import JobId, Micros
from cordum.core.jobs.states import JobState
from cordum.store import Store

NOW = Micros(1_700_000_000_000_000)
CANCELLED, TIMEOUT = JobState.CANCELLED, JobState.TIMEOUT


async def test_ends_are_known_until_they_are_told(store: Store, peer: Store) -> None:
    one, two = JobId("one"), JobId("two")
    await store.endings.begin(one, CANCELLED, NOW)
    await store.endings.begin(two, TIMEOUT, Micros(NOW + 10))
    assert await peer.endings.untold(Micros(NOW + 9), 10) == [(one, CANCELLED)]
    assert await peer.endings.untold(Micros(NOW + 10), 10) == [(one, CANCELLED), (two, TIMEOUT)]
    await peer.endings.told(one, CANCELLED)
    assert await store.endings.untold(Micros(NOW + 10), 10) == [(two, TIMEOUT)]


async def test_notes_nobody_can_read_do_not_stand_in_the_way(store: Store, raw: "redis.Redis") -> None:
    await raw.zadd("job:untold", {"NEVER_HEARD_OF one": 1, "nonsense": 2})
    await store.endings.begin(JobId("one"), TIMEOUT, NOW)
    await store.endings.untold(NOW, 2)
    assert await store.endings.untold(NOW, 2) == [(JobId("one"), TIMEOUT)]


async def test_who_comes_too_late_with_his_end_strikes_off_his_own_alone(store: Store) -> None:
    job = JobId("one")
    await store.endings.begin(job, TIMEOUT, NOW)
    await store.endings.begin(job, CANCELLED, NOW)
    await store.endings.told(job, CANCELLED)
    assert await store.endings.untold(NOW, 10) == [(job, TIMEOUT)]
