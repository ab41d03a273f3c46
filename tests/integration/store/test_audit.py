"""The audit log on a real server."""

import asyncio
from pathlib import Path

import msgspec
import pytest
import redis.asyncio as redis
from tests.integration.store.conftest import Open

from cordum.core.audit.event import AuditEvent
from cordum.core.audit.verify import ChainStatus, GapType
from cordum.core.ids import TenantId
from cordum.embedded.servers import Server
from cordum.runtime.clock import ManualClock, SystemClock, unix_micros
from cordum.store import Store, StoreOptions
from cordum.store.audit_outbox import AuditOutbox, AuditUnavailableError

TENANT = TenantId("default")
KEY = "audit:chain:{default}"


def event(name: str, tenant: TenantId = TENANT, **known: str) -> AuditEvent:
    base = {"id": name, "event_type": "safety.policy_change", "tenant": tenant, "action": "publish"}
    return msgspec.convert(base | {"created_at": unix_micros(SystemClock())} | known, AuditEvent)


async def stream_ids(raw: "redis.Redis") -> list[str]:
    return [str(entry_id) for entry_id, _ in await raw.xrange(KEY) or []]


async def written(outbox: AuditOutbox) -> None:
    """Returns once nothing waits any more."""
    async with asyncio.timeout(10):
        await outbox.run_until_empty()


async def names(store: Store, tenant: TenantId = TENANT) -> list[str]:
    found = await store.audit.page(tenant, lambda _: True, limit=500)
    return [item.id for item in found.items]


async def test_many_writers_make_one_whole_chain(store: Store, peer: Store) -> None:
    await asyncio.gather(
        *(store.audit.append(event(f"a{n}")) for n in range(60)),
        *(peer.audit.append(event(f"b{n}")) for n in range(60)),
    )
    for n in range(5):
        await store.audit.append(event(f"c{n}"))
        await peer.audit.append(event(f"d{n}"))
    report = await store.audit.verify(TENANT)
    assert (report.status, report.total_events, report.verified_events) == (ChainStatus.OK, 130, 130)
    assert (report.first_seq, report.last_seq) == (1, 130)
    assert len(set(await names(store))) == 130


async def test_many_events_cost_few_round_trips(store: Store) -> None:
    await store.audit.append(event("first"))
    before = store.round_trips
    await asyncio.gather(*(store.audit.append(event(f"e{n}")) for n in range(200)))
    assert store.round_trips - before <= 2


async def test_chains_of_tenants_stay_apart(store: Store) -> None:
    other = TenantId("other")
    await asyncio.gather(store.audit.append(event("mine")), store.audit.append(event("theirs", other)))
    assert await names(store) == ["mine"]
    assert await names(store, other) == ["theirs"]
    assert (await store.audit.verify(other)).last_seq == 1


async def test_what_was_changed_or_removed_is_found(store: Store, raw: "redis.Redis") -> None:
    for n in range(6):
        await store.audit.append(event(f"e{n}"))
    ids = await stream_ids(raw)
    await raw.xdel(KEY, ids[2])
    report = await store.audit.verify(TENANT)
    assert report.status is ChainStatus.COMPROMISED
    assert [(gap.at_seq, gap.type) for gap in report.gaps] == [(3, GapType.MISSING)]

    await raw.xdel(KEY, ids[-1])
    report = await store.audit.verify(TENANT)
    assert (report.gaps[-1].at_seq, report.gaps[-1].type) == (6, GapType.MISSING)


async def test_a_part_of_the_chain_is_checked_against_what_came_before(store: Store, raw: "redis.Redis") -> None:
    for n in range(4):
        await store.audit.append(event(f"e{n}"))
        # Entries of one millisecond could not be told apart by time.
        await asyncio.sleep(0.003)
    since = int((await stream_ids(raw))[2].partition("-")[0])
    report = await store.audit.verify(TENANT, since_ms=since)
    assert (report.status, report.total_events, report.first_seq) == (ChainStatus.OK, 2, 3)
    report = await store.audit.verify(TENANT, until_ms=since - 1)
    assert (report.status, report.total_events, report.last_seq) == (ChainStatus.OK, 2, 2)


async def test_old_entries_are_trimmed_and_that_is_no_fault(redis_server: Server, opened: Open) -> None:
    clock = ManualClock(SystemClock().now())
    store = await opened(StoreOptions(url=redis_server.url, audit_retention=3600, audit_entries_kept=1000), clock)
    await asyncio.gather(*(store.audit.append(event(f"e{n}")) for n in range(250)))
    clock.advance(7200)
    await store.audit.append(event("last"))
    report = await store.audit.verify(TENANT)
    assert report.status is ChainStatus.PARTIAL
    assert [gap.type for gap in report.gaps] == [GapType.RETENTION_TRIMMED]
    assert report.retention_boundary_seq == report.first_seq > 1
    assert report.last_seq == 251


async def test_a_search_filters_and_pages(store: Store) -> None:
    for n in range(10):
        await store.audit.append(event(f"e{n}", action="approve" if n % 2 else "publish"))
    found = await store.audit.page(TENANT, lambda item: item.action == "approve", limit=2, offset=1)
    assert [item.id for item in found.items] == ["e7", "e5"]
    assert (found.total, found.truncated) == (5, False)


async def test_entries_are_signed_where_there_is_a_key(redis_server: Server, opened: Open) -> None:
    store = await opened(StoreOptions(url=redis_server.url, audit_keys=(b"k" * 32,)))
    await store.audit.append(event("one"))
    report = await store.audit.verify(TENANT)
    assert (report.status, report.hmac_verified, report.hmac_seen) == (ChainStatus.OK, 1, True)
    stranger = await opened(StoreOptions(url=redis_server.url, audit_keys=(b"x" * 32,)))
    await stranger.audit.append(event("two"))
    assert (await store.audit.verify(TENANT)).hmac_skipped == 1


async def test_events_survive_an_outage_in_the_file_and_nothing_is_doubled(
    store: Store, redis_server: Server, tmp_path: Path
) -> None:
    path = tmp_path / "spool.jsonl"
    outbox = AuditOutbox(store.audit, SystemClock(), str(path))
    await outbox.keep(event("before"))
    await redis_server.kill()
    await asyncio.gather(*(outbox.keep(event(f"during-{n}")) for n in range(3)))
    assert outbox.waiting == 3
    assert len(path.read_bytes().splitlines()) == 3

    # The process dies, and its successor takes the file up.
    await redis_server.restart()
    heir = AuditOutbox(store.audit, SystemClock(), str(path))
    await heir.open()
    assert heir.waiting == 3
    await written(heir)
    assert path.read_bytes() == b""
    assert sorted(await names(store)) == ["before", "during-0", "during-1", "during-2"]
    assert (await store.audit.verify(TENANT)).status is ChainStatus.OK


async def test_without_a_file_who_must_be_recorded_is_refused_until_redis_is_back(
    store: Store, redis_server: Server
) -> None:
    outbox = AuditOutbox(store.audit, SystemClock())
    await outbox.demand()
    await redis_server.kill()
    with pytest.raises(AuditUnavailableError):
        await outbox.keep(event("at the outage"))
    with pytest.raises(AuditUnavailableError):
        await outbox.demand()
    await redis_server.restart()
    await written(outbox)
    await outbox.demand()
    assert await names(store) == ["at the outage"]


async def test_an_append_that_was_written_and_never_answered_is_there_once(store: Store, raw: "redis.Redis") -> None:
    await store.audit.append(event("first"))
    # The server stops answering for longer than we wait; what it was sent it still does.
    await raw.execute_command("CLIENT", "PAUSE", 100_000, "WRITE")  # type: ignore[no-untyped-call]
    made = event("second")
    outbox = AuditOutbox(store.audit, SystemClock())
    with pytest.raises(AuditUnavailableError):
        await outbox.keep(made)
    await raw.execute_command("CLIENT", "UNPAUSE")  # type: ignore[no-untyped-call]
    await written(outbox)
    assert sorted(await names(store)) == ["first", "second"]
