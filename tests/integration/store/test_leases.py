"""Leases, and the small documents beside them."""

import msgspec
import pytest
import redis.asyncio as redis

from cordum.store import Instance, LeaseLostError, Store, keys


async def test_one_holds_a_lease_and_the_others_do_not(store: Store, peer: Store) -> None:
    lease = await store.leases.acquire(keys.RECONCILER_LOCK, 60)
    assert lease is not None
    assert await peer.leases.acquire(keys.RECONCILER_LOCK, 60) is None
    assert await store.leases.release(lease)
    assert await peer.leases.acquire(keys.RECONCILER_LOCK, 60) is not None


async def test_only_its_holder_renews_or_releases_a_lease(store: Store, peer: Store) -> None:
    lease = await store.leases.acquire("lock", 60)
    assert lease is not None
    forged = msgspec.structs.replace(lease, token="forged")
    with pytest.raises(LeaseLostError):
        await peer.leases.renew(forged)
    assert not await peer.leases.release(forged)
    await store.leases.renew(lease)


@pytest.mark.seed("S7", "S204")
async def test_a_lease_ends_by_itself_and_renewing_starts_it_anew(store: Store, raw: "redis.Redis") -> None:
    lease = await store.leases.acquire(keys.RECONCILER_LOCK, 60)
    assert lease is not None
    assert 59_000 < await raw.pttl(keys.RECONCILER_LOCK) <= 60_000
    await raw.pexpire(keys.RECONCILER_LOCK, 10_000)
    await store.leases.renew(lease)
    assert 59_000 < await raw.pttl(keys.RECONCILER_LOCK) <= 60_000
    await raw.delete(keys.RECONCILER_LOCK)
    with pytest.raises(LeaseLostError):
        await store.leases.renew(lease)


async def test_worker_snapshots_are_replaced(store: Store, peer: Store) -> None:
    assert await peer.workers.load() is None
    await store.workers.save(b'{"workers":[]}')
    await store.workers.save(b'{"workers":[1]}')
    assert await peer.workers.load() == b'{"workers":[1]}'


async def test_an_instance_is_known_until_it_stops(store: Store, peer: Store, raw: "redis.Redis") -> None:
    instance = Instance(id="vm-1", service="scheduler", version="0.9.7", started_at="2026-11-23T11:13:42Z")
    await store.instances.register(instance)
    assert await peer.instances.find("scheduler", "vm-1") == instance
    assert 13 <= await raw.ttl("cordum:instance:scheduler:vm-1") <= 15
    await store.instances.remove(instance)
    assert await peer.instances.find("scheduler", "vm-1") is None
