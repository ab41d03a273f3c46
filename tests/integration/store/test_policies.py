"""Policy bundles in Redis: nobody's change is lost, the backup's copy follows, ten snapshots are kept."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
import redis.asyncio as redis

from cordum.embedded.servers import Server
from cordum.store import Store
from cordum.store.errors import StoreConflictError
from cordum.store.policies import Policies, PolicyState, RawBundles, next_revision
from cordum.store.snapshots import snapshot_of


@pytest_asyncio.fixture
async def client(redis_server: Server) -> AsyncIterator["redis.Redis"]:
    """The server as a backup sees it: bytes."""
    found: redis.Redis = redis.from_url(redis_server.url, protocol=2)
    yield found
    await found.aclose()


async def put(policies: Policies, bundles: dict[str, Any]) -> PolicyState:
    state = await policies.in_force()
    return await policies.replace(state, bundles, None, next_revision(state))


async def test_nothing_is_in_force_at_first(store: Store) -> None:
    state = await store.policies.in_force()
    assert (state.bundles, state.revision, await store.policies.drafts()) == ({}, 0, {})


async def test_who_read_an_older_state_does_not_overwrite_a_newer_one(store: Store) -> None:
    stale = await store.policies.in_force()
    await put(store.policies, {"a": "rules: []"})
    with pytest.raises(StoreConflictError):
        await store.policies.replace(stale, {"b": "rules: []"}, None, next_revision(stale))
    assert (await store.policies.in_force()).bundles == {"a": "rules: []"}


async def test_concurrent_drafts_through_two_connections_are_all_kept(store: Store, peer: Store) -> None:
    def adding(name: str) -> Callable[[RawBundles], RawBundles]:
        return lambda drafts: {**drafts, name: {"content": name}}

    names = [f"secops/{number}" for number in range(30)]
    stores = [store, peer] * 15
    await asyncio.gather(*(at.policies.change_drafts(adding(name)) for name, at in zip(names, stores, strict=True)))
    assert sorted(await store.policies.drafts()) == sorted(names)


@pytest.mark.seed("S119")
async def test_the_copy_for_backups_alone_brings_the_policy_back(store: Store, client: "redis.Redis") -> None:
    await put(store.policies, {"secops/a": {"content": "rules: []"}})
    published = await put(store.policies, {"secops/a": {"content": "rules: []", "author": "eve"}})
    dump = await client.dump("cordum:policies")
    assert isinstance(dump, bytes)
    await client.flushall()
    assert (await store.policies.in_force()).bundles == {}
    await client.restore("cordum:policies", 0, dump)
    restored = await store.policies.in_force()
    assert restored.bundles == published.bundles
    assert restored.revision == published.revision == 2
    assert await client.exists("cfg:system:policy")
    assert (await put(store.policies, {})).revision == 3


async def test_a_copy_that_lags_is_written_again_and_a_late_one_does_not_go_back(
    store: Store, client: "redis.Redis"
) -> None:
    first = await put(store.policies, {"a": "1"})
    await put(store.policies, {"a": "2"})
    await store.policies._copy(first)  # as if its write had been held up on the way
    assert await client.hget("cordum:policies", "revision") == b"2"
    await client.delete("cordum:policies")
    await store.policies.in_force()
    assert await client.hget("cordum:policies", "revision") == b"2"


async def test_a_copy_from_a_richer_past_does_not_stop_the_counting(store: Store, client: "redis.Redis") -> None:
    await client.hset("cordum:policies", mapping={"revision": "80", "document": '{"bundles":{"old":"x"}}'})
    await client.set("cfg:system:policy", '{"scope":"system","scope_id":"policy","data":{"bundles":{}},"revision":1}')
    assert (await store.policies.in_force()).bundles == {}
    assert (await put(store.policies, {"new": "y"})).revision == 81
    assert await client.hget("cordum:policies", "revision") == b"81"


async def test_ten_snapshots_are_kept_and_the_same_state_is_not_kept_twice(store: Store) -> None:
    policies = store.policies
    for number in range(12):
        bundles = {"a": {"content": "same"}, "b": {"content": f"{number}"}}
        kept = await policies.keep_snapshot(snapshot_of(bundles, policies.now()))
        again = await policies.keep_snapshot(snapshot_of(bundles, policies.now()))
        assert again.id == kept.id
    found = await policies.snapshots()
    assert len(found) == 10
    assert found[0].bundles == {"a": {"content": "same"}, "b": {"content": "11"}}
    assert found[-1].bundles["b"] == {"content": "2"}
    noted = await policies.keep_snapshot(snapshot_of(found[0].bundles, policies.now(), note="before the audit"))
    assert noted.id != found[0].id


async def test_each_text_is_stored_once_however_many_snapshots_have_it(store: Store, client: "redis.Redis") -> None:
    text = "x" * 1000
    for number in range(5):
        bundles = {"big": {"content": text}, "small": {"content": f"{number}"}}
        await store.policies.keep_snapshot(snapshot_of(bundles, store.policies.now()))
    raw = await client.get("cfg:system:policy_snapshots")
    assert isinstance(raw, bytes | str)
    assert len(raw) < 2 * len(text) + 3000
    assert [item.bundles["big"] for item in await store.policies.snapshots()] == [{"content": text}] * 5
