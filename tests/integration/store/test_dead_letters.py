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


async def test_entries_that_ran_out_leave_no_hole_in_a_page(store: Store, raw: "redis.Redis") -> None:
    for number in range(4):
        await store.dead_letters.add(letter(f"j-{number}"))
    await raw.delete("dlq:entry:j-3", "dlq:entry:j-1")
    page = await store.dead_letters.page(TENANT, 2)
    assert {entry.job_id for entry in page.items} == {"j-0", "j-2"}
    assert await store.dead_letters.count() == 2
    assert await store.dead_letters.page(TenantId("empty"), 5, Micros(1)) == type(page)((), None)
