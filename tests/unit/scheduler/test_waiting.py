"""The waiting room: first come, first served, bounded, and no slot is lost on somebody who cannot use it."""

import asyncio

import pytest

from cordum.core.ids import PoolName
from cordum.services.scheduler.waiting import MOST_IN_ALL, MOST_IN_POOL, Waiter, WaitingRoom

MAIN = (PoolName("main"),)
SIDE = (PoolName("side"),)


async def enter(room: WaitingRoom, pools: tuple[PoolName, ...] = MAIN, seconds: float = 5.0) -> "asyncio.Task[bool]":
    task = asyncio.create_task(room.wait(Waiter(pools), seconds))
    await asyncio.sleep(0)
    return task


async def test_slots_wake_those_who_came_first() -> None:
    room = WaitingRoom()
    first, second, third = [await enter(room) for _ in range(3)]

    assert room.wake(MAIN[0], 2) == 2

    assert await first and await second
    assert not third.done()
    room.close()
    assert not await third


async def test_a_pool_without_waiters_leaves_its_slots() -> None:
    room = WaitingRoom()
    waiting = await enter(room, SIDE)

    assert room.wake(MAIN[0], 3) == 0
    assert room.wake(SIDE[0], 3) == 1
    assert await waiting


async def test_one_who_waits_for_two_pools_takes_one_slot() -> None:
    room = WaitingRoom()
    both = await enter(room, MAIN + SIDE)

    assert room.wake(MAIN[0]) == 1
    assert room.wake(SIDE[0]) == 0
    assert await both
    assert len(room) == 0 and room.waiting_for(SIDE[0]) == 0


async def test_patience_ends() -> None:
    room = WaitingRoom()

    assert not await room.wait(Waiter(MAIN), 0.01)
    assert len(room) == 0 and room.waiting_for(MAIN[0]) == 0


async def test_a_slot_somebody_cannot_use_is_offered_on() -> None:
    room = WaitingRoom()
    picky = Waiter(MAIN)
    waiting = asyncio.create_task(room.wait(picky, 5.0))
    await asyncio.sleep(0)
    behind = await enter(room)
    room.wake(MAIN[0])
    assert await waiting

    room.pass_on(picky)

    assert await behind


async def test_the_room_is_bounded_per_pool_and_in_all() -> None:
    room = WaitingRoom()
    tasks = [await enter(room) for _ in range(MOST_IN_POOL)]
    assert not room.has_room(MAIN) and room.has_room(SIDE)

    tasks += [await enter(room, SIDE) for _ in range(MOST_IN_ALL - MOST_IN_POOL)]

    assert not room.has_room(SIDE)
    room.close()
    assert not any(await asyncio.gather(*tasks))


async def test_a_cancelled_waiter_leaves_no_trace() -> None:
    room = WaitingRoom()
    task = await enter(room)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert len(room) == 0 and room.wake(MAIN[0]) == 0
