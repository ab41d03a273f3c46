"""How many jobs run at once: exact over replicas, and nothing that was left behind blocks for long."""

import asyncio

from cordum.core.ids import JobId, Micros, TenantId
from cordum.store import Store, keys
from cordum.store.concurrency import INSTALLATION, LEASE, Limit, tenant_scope

NOW = Micros(1_900_000_000_000_000)
"""Far enough in the future that Redis itself does not expire the keys."""
ACME = tenant_scope(TenantId("acme"))
ONE, TWO = Limit(ACME, 1), Limit(ACME, 2)
ALL = Limit(INSTALLATION, 3)
A, B, C = JobId("a"), JobId("b"), JobId("c")


def later(seconds: float) -> Micros:
    return Micros(NOW + int(seconds * 1_000_000))


async def test_a_limit_lets_in_so_many_and_no_more(store: Store) -> None:
    assert await store.concurrency.enter([TWO], A, NOW) is None
    assert await store.concurrency.enter([TWO], B, NOW) is None
    assert await store.concurrency.enter([TWO], C, NOW) == TWO

    await store.concurrency.leave([ACME], [A])

    assert await store.concurrency.enter([TWO], C, NOW) is None
    assert await store.concurrency.count(ACME, NOW) == 2


async def test_a_job_never_counts_against_itself(store: Store, peer: Store) -> None:
    assert await store.concurrency.enter([ONE], A, NOW) is None
    assert await peer.concurrency.enter([ONE], A, later(1)) is None
    assert await store.concurrency.enter([ONE], B, later(1)) == ONE


async def test_under_two_limits_a_job_has_both_places_or_none(store: Store) -> None:
    assert await store.concurrency.enter([ONE, ALL], A, NOW) is None
    assert await store.concurrency.enter([ONE, ALL], B, NOW) == ONE
    assert await store.concurrency.count(INSTALLATION, NOW) == 1

    for other in ("x", "y"):
        assert await store.concurrency.enter([ALL], JobId(other), NOW) is None
    assert await store.concurrency.enter([Limit("tenant:umbrella", 9), ALL], B, NOW) == ALL
    assert await store.concurrency.count("tenant:umbrella", NOW) == 0


async def test_what_nobody_renews_runs_out(store: Store, peer: Store) -> None:
    await store.concurrency.enter([ONE], A, NOW)
    assert await peer.concurrency.enter([ONE], B, later(LEASE - 1)) == ONE

    assert await peer.concurrency.enter([ONE], B, later(LEASE)) is None, "its scheduler died"


async def test_what_is_renewed_stays(store: Store, peer: Store) -> None:
    await store.concurrency.enter([TWO], A, NOW)
    await store.concurrency.enter([TWO], B, NOW)
    await store.concurrency.renew({ACME: [A]}, later(20))
    await peer.concurrency.renew_kept({ACME: [B, C]}, later(20))
    assert await store.concurrency.count(ACME, later(LEASE + 1)) == 2, "of C we only heard, and it had left"

    await store.concurrency.leave([ACME], [A, B])
    await peer.concurrency.renew_kept({ACME: [A, B]}, later(21))
    assert await store.concurrency.count(ACME, later(21)) == 0
    await store.concurrency.renew({ACME: [A], INSTALLATION: []}, later(21))
    assert await store.concurrency.count(ACME, later(21)) == 1


async def test_nothing_is_left_in_redis_for_ever(store: Store) -> None:
    await store.concurrency.enter([ONE], A, NOW)
    ttl = (await store._batcher.submit([("PEXPIRETIME", keys.running(ACME))]))[0]

    assert ttl == (NOW + LEASE * 1e6) // 1000 + 60_000


async def test_many_who_try_at_once_share_the_places(store: Store, peer: Store) -> None:
    limit = Limit(ACME, 5)
    answers = await asyncio.gather(
        *((store, peer)[n % 2].concurrency.enter([limit], JobId(f"j-{n}"), NOW) for n in range(60))
    )

    assert answers.count(None) == 5 and answers.count(limit) == 55
