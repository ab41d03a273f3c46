"""Dead letters: kept once, per tenant, newest first, never too many."""

import asyncio
from datetime import datetime

import msgspec
import pytest
import redis.asyncio as redis
from tests.integration.store.conftest import Open

from cordum.core.ids import JobId, Micros, TenantId
from cordum.embedded.servers import Server
from cordum.runtime.clock import ManualClock
from cordum.store import DeadLetter, Store, StoreOptions

TENANT = TenantId("default")


def letter(job_id: str, tenant: str = "default", **about: object) -> DeadLetter:
    return DeadLetter(
        job_id=JobId(job_id),
        tenant=TenantId(tenant),
        topic="job.default",
        reason="timeout: running exceeded",
        **about,  # type: ignore[arg-type]
    )


async def test_an_entry_carries_the_names_of_every_client(store: Store, raw: "redis.Redis") -> None:
    assert await store.dead_letters.add(letter("j", attempts=3, last_state="RUNNING", status="JOB_STATUS_TIMEOUT"))
    entry = msgspec.json.decode(await raw.get("dlq:entry:j") or "")
    assert entry["job_id"] == entry["id"] == "j"
    assert entry["reason"] == entry["error"] == "timeout: running exceeded"
    assert entry["last_state"] == entry["original_state"] == "RUNNING"
    assert entry["attempts"] == entry["retry_count"] == 3
    assert entry["created_at"] == entry["failed_at"]
    assert datetime.fromisoformat(entry["created_at"]).timestamp() == pytest.approx(
        await raw.zscore("dlq:index", "j"), abs=1
    )
    assert 2_591_990 <= await raw.ttl("dlq:entry:j") <= 2_592_000


@pytest.mark.seed("S185")
async def test_a_tenant_sees_its_own_newest_entries(redis_server: Server, opened: Open) -> None:
    clock = ManualClock()
    store = await opened(StoreOptions(url=redis_server.url), clock)
    for number in range(15):
        await store.dead_letters.add(letter(f"j-{number}"))
        clock.advance(0.001)
    await store.dead_letters.add(letter("foreign", "other"))
    page = await store.dead_letters.page(TENANT, 10)
    assert [entry.job_id for entry in page.items] == [f"j-{number}" for number in range(14, 4, -1)]
    rest = await store.dead_letters.page(TENANT, 10, page.next_cursor)
    assert [entry.job_id for entry in rest.items] == [f"j-{number}" for number in range(4, -1, -1)]
    assert rest.next_cursor is None
    assert await store.dead_letters.get(TENANT, JobId("foreign")) is None
    assert not await store.dead_letters.remove(TENANT, JobId("foreign"))
    assert await store.dead_letters.count() == 16


async def test_the_first_report_of_a_job_stands(store: Store) -> None:
    assert await store.dead_letters.add(letter("j", last_state="RUNNING"))
    assert not await store.dead_letters.add(letter("j", last_state="FAILED"))
    entry = await store.dead_letters.get(TENANT, JobId("j"))
    assert entry is not None
    assert entry.last_state == "RUNNING"
    assert await store.dead_letters.count() == 1


@pytest.mark.seed("S192")
async def test_of_many_who_remove_an_entry_one_does(store: Store, peer: Store) -> None:
    await store.dead_letters.add(letter("j"))
    removed = await asyncio.gather(
        *((store, peer)[number % 2].dead_letters.remove(TENANT, JobId("j")) for number in range(10))
    )
    assert removed.count(True) == 1
    assert await store.dead_letters.get(TENANT, JobId("j")) is None
    assert await store.dead_letters.count() == 0


async def test_beyond_the_most_the_oldest_give_way(redis_server: Server, opened: Open) -> None:
    clock = ManualClock()
    store = await opened(StoreOptions(url=redis_server.url, dead_letters_kept=3), clock)
    for number in range(6):
        await store.dead_letters.add(letter(f"j-{number}"))
        clock.advance(1)
    assert await store.dead_letters.count() == 3
    page = await store.dead_letters.page(TENANT, 10)
    assert [entry.job_id for entry in page.items] == ["j-5", "j-4", "j-3"]
    assert await store.dead_letters.get(TENANT, JobId("j-0")) is None


async def test_entries_that_ran_out_leave_no_hole_in_a_page(
    redis_server: Server, opened: Open, raw: "redis.Redis"
) -> None:
    clock = ManualClock()
    store = await opened(StoreOptions(url=redis_server.url), clock)
    for number in range(4):
        await store.dead_letters.add(letter(f"j-{number}"))
        clock.advance(1)
    clock.advance(61)
    await raw.delete("dlq:entry:j-3", "dlq:entry:j-1")
    page = await store.dead_letters.page(TENANT, 2)
    assert [entry.job_id for entry in page.items] == ["j-2", "j-0"] and page.next_cursor is None
    assert await store.dead_letters.count() == 2
    assert await store.dead_letters.page(TenantId("empty"), 5, Micros(1)) == type(page)((), None)


async def fill(store: Store, clock: ManualClock) -> None:
    """60 letters: every third a running timeout, on two topics in turn; and those of somebody else."""
    reasons = (
        ("timeout: running exceeded (9 s)", "timeout"),
        ("worker_lost: worker w went silent", "worker_lost"),
        ("timeout: dispatched exceeded (9 s)", "timeout"),
    )
    for number in range(60):
        reason, code = reasons[number % 3]
        topic = f"job.{number % 2}"
        for tenant, name in (("default", f"j-{number:02}"), ("other", f"other-{number:02}")):
            entry = DeadLetter(
                job_id=JobId(name), tenant=TenantId(tenant), topic=topic, reason=reason, reason_code=code
            )
            assert await store.dead_letters.add(entry)
        clock.advance(0.001)


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({}, range(60)),
        ({"topic": "job.1"}, range(1, 60, 2)),
        ({"code": "worker_lost"}, range(1, 60, 3)),
        ({"code": "timeout"}, [n for n in range(60) if n % 3 != 1]),
        ({"reason": "timeout: running exceeded"}, range(0, 60, 3)),
        ({"reason": "timeout: dispatched exceeded"}, range(2, 60, 3)),
        ({"reason": "timeout"}, [n for n in range(60) if n % 3 != 1]),
        ({"reason": "worker_lost"}, range(1, 60, 3)),
        ({"reason": "timeout: running exceeded", "topic": "job.0"}, range(0, 60, 6)),
        ({"code": "timeout", "topic": "job.1", "reason": "timeout: dispatched"}, range(5, 60, 6)),
        ({"reason": "safety: denied"}, []),
        ({"topic": "job"}, []),
    ],
)
async def test_pages_are_full_and_complete_under_every_filter(
    redis_server: Server, opened: Open, filters: dict[str, str], wanted: "list[int] | range"
) -> None:
    clock = ManualClock()
    store = await opened(StoreOptions(url=redis_server.url), clock)
    await fill(store, clock)

    pages, cursor = [], None
    while True:
        page = await store.dead_letters.page(TENANT, 7, cursor, **filters)
        pages.append([entry.job_id for entry in page.items])
        cursor = page.next_cursor
        if cursor is None:
            break

    assert [job_id for page in pages for job_id in page] == [f"j-{number:02}" for number in sorted(wanted)[::-1]]
    assert all(len(page) == 7 for page in pages[:-1])


async def test_letters_of_one_moment_are_on_one_page(redis_server: Server, opened: Open) -> None:
    clock = ManualClock()
    store = await opened(StoreOptions(url=redis_server.url), clock)
    for number in range(30):
        await store.dead_letters.add(letter(f"j-{number:02}"))
    clock.advance(1)
    await store.dead_letters.add(letter("later"))

    first = await store.dead_letters.page(TENANT, 1)
    assert [entry.job_id for entry in first.items] == ["later"]
    second = await store.dead_letters.page(TENANT, 2, first.next_cursor)
    assert len(second.items) == 30 and second.next_cursor is None


async def test_what_is_removed_or_dropped_is_in_no_index(
    redis_server: Server, opened: Open, raw: "redis.Redis"
) -> None:
    clock = ManualClock()
    store = await opened(StoreOptions(url=redis_server.url, dead_letters_kept=3), clock)
    for number in range(6):
        await store.dead_letters.add(letter(f"j-{number}", reason_code="timeout"))
        clock.advance(1)
    assert await store.dead_letters.remove(TENANT, JobId("j-5"))

    indexes = ["dlq:index", *await raw.smembers("dlq:indexes")]
    assert len(indexes) == 5
    for index in indexes:
        assert set(await raw.zrange(index, 0, -1)) == {"j-3", "j-4"}, index
    assert [await store.dead_letters.knows(JobId(f"j-{number}")) for number in (3, 5, 0, 9)] == [
        True,
        True,
        False,
        False,
    ]


async def test_entries_grow_old(redis_server: Server, opened: Open, raw: "redis.Redis") -> None:
    clock = ManualClock()
    store = await opened(StoreOptions(url=redis_server.url, dead_letter_ttl=3600), clock)
    await store.dead_letters.add(letter("old"))
    clock.advance(1800)
    await store.dead_letters.add(letter("young"))
    clock.advance(1801)

    assert await store.dead_letters.count() == 1
    await raw.delete("dlq:entry:old")  # its time runs on the server's clock, which stands nearly still here
    assert await store.dead_letters.tidy() >= 4
    assert await raw.zrange("dlq:index", 0, -1) == ["young"]


async def test_tidying_makes_the_indexes_follow_the_entries(
    redis_server: Server, opened: Open, raw: "redis.Redis"
) -> None:
    clock = ManualClock()
    store = await opened(StoreOptions(url=redis_server.url), clock)
    for number in range(3):
        await store.dead_letters.add(letter(f"j-{number}", reason_code="timeout"))
        clock.advance(1)
    clock.advance(61)
    await raw.delete("dlq:entry:j-0", "dlq:by:topic:default:job.default", "dlq:by:code:default:timeout")
    await raw.zrem("dlq:index:default", "j-1")
    await raw.zadd("dlq:by:topic:gone:job.x", {"ghost": 1})
    await raw.sadd("dlq:indexes", "dlq:by:topic:gone:job.x")

    assert await store.dead_letters.tidy() == 4  # j-0 in three indexes, and the ghost

    page = await store.dead_letters.page(TENANT, 10)
    assert [entry.job_id for entry in page.items] == ["j-2", "j-1"]
    for topic, code, reason in (("job.default", "", ""), ("", "timeout", ""), ("", "", "timeout: running exceeded")):
        found = await store.dead_letters.page(TENANT, 10, topic=topic, code=code, reason=reason)
        assert found.items == page.items
    assert await store.dead_letters.tidy() == 0
    assert not await raw.sismember("dlq:indexes", "dlq:by:topic:gone:job.x")


async def test_the_input_of_a_dead_job_is_kept_as_long_as_its_record(store: Store, raw: "redis.Redis") -> None:
    await raw.set("ctx:j", "{}", ex=60)
    await store.dead_letters.add(letter("j"))
    assert await raw.ttl("ctx:j") > 600_000
