"""Stacks of compensations, and which rollbacks are not through."""

import pytest
import redis.asyncio as redis

from cordum.core.ids import Micros, TenantId
from cordum.core.jobs.saga import Saga
from cordum.store import Store, keys
from cordum.store.sagas import Pushed, Rollback

BOOKING = Saga(TenantId("default"), "booking")
THEIRS = Saga(TenantId("acme"), "booking")
NOW = Micros(1_800_000_000_000_000)
BINARY = b"\x00\xff\n{}"


async def test_what_came_last_is_on_top_and_stays_there_until_it_is_taken_off(store: Store) -> None:
    for entry in (b"one", b"two", BINARY):
        assert await store.sagas.push(BOOKING, entry) is Pushed.NEW
    assert await store.sagas.peek(BOOKING) == await store.sagas.peek(BOOKING) == BINARY
    await store.sagas.pop(BOOKING, BINARY)
    assert (await store.sagas.peek(BOOKING), await store.sagas.size(BOOKING)) == (b"two", 2)
    await store.sagas.pop(BOOKING, b"two")
    await store.sagas.pop(BOOKING, b"one")
    assert (await store.sagas.peek(BOOKING), await store.sagas.size(BOOKING)) == (None, 0)


async def test_an_entry_is_kept_once_however_often_it_comes(store: Store, peer: Store) -> None:
    assert await store.sagas.push(BOOKING, b"one") is Pushed.NEW
    assert await peer.sagas.push(BOOKING, b"two") is Pushed.NEW
    assert await peer.sagas.push(BOOKING, b"one") is Pushed.KNOWN
    assert (await store.sagas.size(BOOKING), await store.sagas.peek(BOOKING)) == (2, b"two")


async def test_taking_off_never_hits_what_came_on_top_meanwhile(store: Store, peer: Store) -> None:
    await store.sagas.push(BOOKING, b"one")
    await peer.sagas.push(BOOKING, b"two")
    await store.sagas.pop(BOOKING, b"one")
    await store.sagas.pop(BOOKING, b"one")
    assert (await store.sagas.size(BOOKING), await store.sagas.peek(BOOKING)) == (1, b"two")


async def test_the_keys_are_those_of_the_specification_and_end_by_themselves(store: Store, raw: "redis.Redis") -> None:
    await raw.set("ctx:job-1", "{}", ex=5)
    await store.sagas.push(BOOKING, b"one", "redis://ctx:job-1")
    await store.sagas.push(THEIRS, b"one", "redis://cfg:system:default")
    assert await raw.llen("saga:booking:stack") == 1
    assert 0 < await raw.ttl("saga:booking:stack") <= 7 * 24 * 3600
    assert await raw.ttl("ctx:job-1") > 5, "what the compensation will read lives as long as it does"
    assert keys.saga_lock(BOOKING) == "saga:booking:lock"
    await store.sagas.pop(BOOKING, b"one")
    assert await raw.exists("saga:booking:stack") == 0
    assert await raw.llen("saga:acme:booking:stack") == 1, "tenants have their own"


def test_no_name_of_a_workflow_reaches_another_saga() -> None:
    sagas = [
        Saga(TenantId(tenant), workflow)
        for tenant in ("default", "acme", "a")
        for workflow in ("w", "acme:w", "a:w", "w:stack", "", "w w", "w:w", "x" * 500, "x" * 501)
    ]
    assert len({keys.saga_stack(saga) for saga in sagas} | {keys.saga_lock(saga) for saga in sagas}) == 2 * len(sagas)


async def test_a_full_saga_takes_no_more(store: Store, raw: "redis.Redis", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cordum.store.sagas.MOST_ENTRIES", 2)
    assert [await store.sagas.push(BOOKING, entry) for entry in (b"one", b"two", b"three", b"two")] == [
        Pushed.NEW,
        Pushed.NEW,
        Pushed.FULL,
        Pushed.KNOWN,
    ]


async def test_a_rollback_is_known_until_it_is_through(store: Store, peer: Store, raw: "redis.Redis") -> None:
    assert await store.sagas.ask_rollback(BOOKING, NOW)
    assert not await store.sagas.ask_rollback(BOOKING, Micros(NOW + 1))
    assert await store.sagas.ask_rollback(THEIRS, Micros(NOW + 5))
    found = await peer.sagas.asked_rollbacks(10)
    assert [rollback.saga for rollback in found] == [BOOKING, THEIRS]
    assert found[0].asked_at == await peer.sagas.asked_at(BOOKING)
    assert await peer.sagas.rolled_back(found[0])
    assert await peer.sagas.asked_at(BOOKING) is None
    assert await peer.sagas.rolled_back(found[0]), "twice is no harm"
    await raw.zadd("saga:rollbacks", {"nonsense": 1})
    assert [rollback.saga for rollback in await peer.sagas.asked_rollbacks(10)] == [THEIRS]
    assert await raw.zcard("saga:rollbacks") == 1


async def test_a_rollback_asked_for_again_is_not_forgotten(store: Store) -> None:
    await store.sagas.ask_rollback(BOOKING, NOW)
    asked_at = await store.sagas.asked_at(BOOKING)
    assert asked_at is not None
    await store.sagas.ask_rollback(BOOKING, Micros(NOW + 1))
    assert not await store.sagas.rolled_back(Rollback(BOOKING, asked_at))
    assert await store.sagas.asked_at(BOOKING) not in (None, asked_at)
