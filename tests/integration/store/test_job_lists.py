"""Pages of jobs: complete, in order, within the tenant, and cheap when nothing changed."""

import pytest
import redis.asyncio as redis
from tests.integration.store.conftest import make_job

from cordum.core.ids import JobId, Micros, TenantId, TraceId
from cordum.core.jobs import lifecycle
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.store import Page, Store

TENANT = TenantId("default")
START = 1_790_000_000_000_000
"""Microseconds; long before the clock of the test, so that leftovers count as such."""


async def fill(store: Store, count: int, **about: object) -> list[JobId]:
    """Jobs a microsecond apart; answers their ids newest first."""
    jobs = [make_job(at=START + number, **about) for number in range(count)]  # type: ignore[arg-type]
    for job in jobs:
        await store.jobs.create(job)
    return [job.record.id for job in reversed(jobs)]


def ids(page: Page[JobRecord]) -> list[JobId]:
    return [record.id for record in page.items]


def joined(pages: list[list[JobId]]) -> list[JobId]:
    return [job_id for page in pages for job_id in page]


async def all_pages(store: Store, limit: int, **query: object) -> list[list[JobId]]:
    pages: list[list[JobId]] = []
    cursor: Micros | None = None
    for _ in range(100):
        page = await store.jobs.list_page(TENANT, limit=limit, cursor=cursor, **query)  # type: ignore[arg-type]
        pages.append(ids(page))
        cursor = page.next_cursor
        if cursor is None:
            return pages
    raise AssertionError("the pages never end")


async def test_pages_follow_each_other_without_gap_or_double(store: Store) -> None:
    wanted = await fill(store, 25)
    pages = await all_pages(store, 10)
    assert [len(page) for page in pages] == [10, 10, 5]
    assert joined(pages) == wanted


async def test_the_cursor_is_the_last_time_less_one_and_ends_with_the_list(store: Store) -> None:
    await fill(store, 10)
    page = await store.jobs.list_page(TENANT, limit=4)
    assert page.next_cursor == page.items[-1].updated_at - 1
    assert (await store.jobs.list_page(TENANT, limit=10)).next_cursor is None
    assert await store.jobs.list_page(TenantId("empty")) == Page((), None)


async def test_a_full_page_is_found_behind_many_that_do_not_match(store: Store) -> None:
    wanted = await fill(store, 5, topic="job.rare")
    for job in [make_job(at=START + 1000 + number) for number in range(450)]:
        await store.jobs.create(job)
    assert await all_pages(store, 3, topic="job.rare") == [wanted[:3], wanted[3:]]


async def test_jobs_of_one_microsecond_stay_together(store: Store) -> None:
    for number in range(9):
        await store.jobs.create(make_job(at=START + number // 3))
    pages = await all_pages(store, 2)
    assert [len(page) for page in pages] == [3, 3, 3]
    assert len(set(joined(pages))) == 9


@pytest.mark.parametrize("limit", [1, 3, 50])
async def test_states_are_listed_across_their_indexes_in_order(store: Store, limit: int) -> None:
    wanted: list[JobId] = []
    for number in range(12):
        state = (JobState.PENDING, JobState.DENIED, JobState.FAILED)[number % 3]
        job = make_job(at=START + number, state=state)
        await store.jobs.create(job)
        if state is not JobState.FAILED:
            wanted.insert(0, job.record.id)
    found = await all_pages(store, limit, states=frozenset({JobState.PENDING, JobState.DENIED}))
    assert joined(found) == wanted


async def test_nobody_sees_another_tenants_jobs(store: Store) -> None:
    mine = await fill(store, 3)
    theirs = await fill(store, 300, tenant="other", trace_id="shared")
    for query in ({}, {"states": frozenset({JobState.PENDING})}, {"topic": "job.default"}):
        assert ids(await store.jobs.list_page(TENANT, **query)) == mine
    assert ids(await store.jobs.list_page(TENANT, trace_id=TraceId("shared"))) == []
    assert ids(await store.jobs.list_page(TenantId("other"), trace_id=TraceId("shared"), limit=500)) == theirs


async def test_filters_narrow_the_list(store: Store) -> None:
    a = await fill(store, 2, team="a", trace_id="t-1")
    await fill(store, 2, team="b", trace_id="t-2")
    assert sorted(ids(await store.jobs.list_page(TENANT, team="a"))) == sorted(a)
    assert ids(await store.jobs.list_page(TENANT, trace_id=TraceId("t-1"))) == a
    assert ids(await store.jobs.list_page(TENANT, trace_id=TraceId("t-1"), team="b")) == []
    within = await store.jobs.list_page(TENANT, updated_after=Micros(START + 1), updated_before=Micros(START + 1))
    assert {record.updated_at for record in within.items} == {START + 1}
    assert len(within.items) == 2


async def test_an_unchanged_list_is_the_same_object_and_costs_one_round_trip(store: Store, peer: Store) -> None:
    await fill(store, 5)
    first = await store.jobs.list_page(TENANT)
    before = store.round_trips
    assert await store.jobs.list_page(TENANT) is first
    assert store.round_trips == before + 1
    changed = first.items[2]
    await peer.jobs.apply(changed.id, lifecycle.cancel("x"), now=changed.updated_at)
    second = await store.jobs.list_page(TENANT)
    by_id = {record.id: record for record in second.items}
    assert by_id[changed.id].state is JobState.CANCELLED
    assert all(by_id[record.id] is record for record in first.items if record.id != changed.id)


async def test_annotated_fields_show_in_the_list(store: Store, peer: Store) -> None:
    (job_id,) = await fill(store, 1)
    await store.jobs.list_page(TENANT)
    await peer.jobs.annotate(job_id, {"team": "blue"}, allowed_from=frozenset(JobState))
    assert (await store.jobs.list_page(TENANT)).items[0].team == "blue"


async def test_entries_whose_record_has_run_out_are_passed_over_and_removed(store: Store, raw: "redis.Redis") -> None:
    wanted = await fill(store, 5)
    await raw.delete(*(f"job:meta:{job_id}" for job_id in wanted[:3]))
    assert ids(await store.jobs.list_page(TENANT, limit=2)) == wanted[3:]
    assert await raw.zcard("job:index:tenant:default") == 2


async def test_an_index_that_lags_behind_never_shows_the_wrong_state(store: Store, raw: "redis.Redis") -> None:
    pending = await fill(store, 2)
    await raw.hset(f"job:meta:{pending[0]}", mapping={"state": "RUNNING", "updated_at": START + 99})
    assert ids(await store.jobs.list_page(TENANT, states=frozenset({JobState.PENDING}))) == pending[1:]


async def test_one_unreadable_record_does_not_spoil_the_list(store: Store, raw: "redis.Redis") -> None:
    wanted = await fill(store, 3)
    await raw.hset(f"job:meta:{wanted[1]}", "labels", "{not json")
    assert ids(await store.jobs.list_page(TENANT)) == [wanted[0], wanted[2]]


async def test_a_search_that_finds_nothing_gives_up_with_a_place_to_go_on(store: Store, raw: "redis.Redis") -> None:
    await fill(store, 1, topic="job.rare")
    pipeline = raw.pipeline(transaction=False)
    for number in range(4500):
        name = f"bulk-{number}"
        stamp = START + 10_000 + number
        pipeline.hset(
            f"job:meta:{name}",
            mapping={"state": "FAILED", "tenant": "default", "topic": "job.x", "updated_at": stamp},
        )
        pipeline.zadd("job:index:tenant:default", {name: stamp})
    await pipeline.execute()
    first = await store.jobs.list_page(TENANT, topic="job.rare")
    assert first.items == ()
    assert first.next_cursor is not None
    second = await store.jobs.list_page(TENANT, topic="job.rare", cursor=first.next_cursor)
    assert [record.topic for record in second.items] == ["job.rare"]
    assert second.next_cursor is None
