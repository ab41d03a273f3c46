"""Sliding windows of requests."""

import asyncio

import pytest
import redis.asyncio as redis

from cordum.core.ids import Micros
from cordum.store import Store, keys
from cordum.store.velocity import Window

THREE_IN_TEN = Window("rule", "alice", window_s=10, max_requests=3)


def at(seconds: float) -> Micros:
    return Micros(1_000_000_000_000_000 + int(seconds * 1_000_000))


async def test_the_one_too_many_is_told_so_and_takes_no_place(store: Store) -> None:
    looks = [(await store.velocity.count([THREE_IN_TEN], f"job-{n}", at(n)))[0] for n in range(5)]
    assert [look.exceeded for look in looks] == [False, False, False, True, True]
    assert [look.count for look in looks] == [1, 2, 3, 3, 3]


async def test_the_window_slides(store: Store) -> None:
    for n in range(4):
        await store.velocity.count([THREE_IN_TEN], f"job-{n}", at(n))
    assert (await store.velocity.count([THREE_IN_TEN], "later", at(9.9)))[0].exceeded
    assert not (await store.velocity.count([THREE_IN_TEN], "later", at(10.1)))[0].exceeded


async def test_refused_attempts_never_keep_a_window_full(store: Store) -> None:
    for n in range(3):
        await store.velocity.count([THREE_IN_TEN], f"job-{n}", at(0))
    for n in range(50):
        await store.velocity.count([THREE_IN_TEN], f"refused-{n}", at(n / 6))
    assert not (await store.velocity.count([THREE_IN_TEN], "patient", at(10.1)))[0].exceeded


async def test_asking_again_about_one_job_counts_once(store: Store) -> None:
    for n in range(3):
        await store.velocity.count([THREE_IN_TEN], f"job-{n}", at(n))
    again = (await store.velocity.count([THREE_IN_TEN], "job-2", at(5)))[0]
    assert (again.exceeded, again.count) == (False, 3)


async def test_peeking_takes_no_place(store: Store) -> None:
    for _ in range(9):
        assert (await store.velocity.peek([THREE_IN_TEN], "job", at(1)))[0].count == 0


async def test_many_at_once_share_the_places_exactly(store: Store, peer: Store) -> None:
    looks = await asyncio.gather(
        *((store, peer)[n % 2].velocity.count([THREE_IN_TEN], f"job-{n}", at(0)) for n in range(40))
    )
    assert sum(not look[0].exceeded for look in looks) == 3


async def test_all_windows_of_a_request_are_one_round_trip(store: Store) -> None:
    await store.velocity.peek([THREE_IN_TEN], "job", at(0))  # the server knows the script from here on
    before = store.round_trips
    windows = [Window(f"rule-{n}", "alice", 10, 1) for n in range(5)]
    assert [look.exceeded for look in await store.velocity.count(windows, "job", at(0))] == [False] * 5
    assert store.round_trips == before + 1
    assert await store.velocity.count([], "job", at(0)) == []
    assert store.round_trips == before + 1


async def test_a_window_is_forgotten_some_time_after_its_last_request(store: Store, raw: "redis.Redis") -> None:
    await store.velocity.count([THREE_IN_TEN], "job", at(0))
    assert 60 < await raw.ttl("cordum:velocity:rule:alice") <= 70


@pytest.mark.parametrize(
    ("one", "other"), [("a:b", "a b"), ("a_b", "a b"), ("", "_"), ("x" * 100, "x" * 101), ("a\nb", "a b")]
)
def test_different_keys_never_share_a_window(one: str, other: str) -> None:
    assert keys.velocity("rule", one) != keys.velocity("rule", other)
    assert keys.velocity(one, "key") != keys.velocity(other, "key")
    assert keys.velocity("rule", one).count(":") == 3
