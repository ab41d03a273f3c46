"""The waiting room: slots go by turns, it is bounded and nobody's alone, and no slot is lost on who cannot use it."""

import asyncio

import pytest

from cordum.core.ids import PoolName, TenantId, Topic
from cordum.core.routing.turns import Rank
from cordum.services.scheduler.waiting import MOST_IN_ALL, MOST_IN_POOL, Group, Waiter, WaitingRoom

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
    assert not room.make_room(Waiter(MAIN)) and room.make_room(Waiter(SIDE))

    tasks += [await enter(room, SIDE) for _ in range(MOST_IN_ALL - MOST_IN_POOL)]

    assert not room.make_room(Waiter(MAIN))
    room.close()
    assert not any(await asyncio.gather(*tasks))


async def test_a_cancelled_waiter_leaves_no_trace() -> None:
    room = WaitingRoom()
    task = await enter(room)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert len(room) == 0 and room.wake(MAIN[0]) == 0


def waiter(
    tenant: str = "", topic: str = "", *, rank: Rank = Rank.INTERACTIVE, since: float = 0.0, pool: PoolName = MAIN[0]
) -> Waiter:
    return Waiter((pool,), Group(rank, TenantId(tenant), Topic(topic)), since)


class Seats:
    """Waiters who write their names down when they get a slot, or are sent away."""

    def __init__(self, room: WaitingRoom) -> None:
        self.room = room
        self.served: list[str] = []
        self.sent_away: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def sit(self, name: str, one: Waiter) -> None:
        assert self.room.make_room(one), f"no room for {name}"
        self._tasks.append(asyncio.create_task(self._wait(name, one)))
        await asyncio.sleep(0)

    async def _wait(self, name: str, one: Waiter) -> None:
        (self.served if await self.room.wait(one, 5.0) else self.sent_away).append(name)

    async def leave(self) -> None:
        self.room.close()
        await asyncio.gather(*self._tasks)


async def test_tenants_and_topics_have_their_turns() -> None:
    room = WaitingRoom()
    seats = Seats(room)
    for number in range(3):
        await seats.sit(f"acme/hot/{number}", waiter("acme", "hot"))
    await seats.sit("acme/cold", waiter("acme", "cold"))
    await seats.sit("umbrella", waiter("umbrella", "hot"))

    for _ in range(5):
        room.wake(MAIN[0])
        await asyncio.sleep(0)

    assert seats.served == ["acme/hot/0", "umbrella", "acme/cold", "acme/hot/1", "acme/hot/2"]


async def test_the_critical_go_first_and_of_equals_the_oldest() -> None:
    room = WaitingRoom()
    seats = Seats(room)
    await seats.sit("young", waiter("acme", since=2.0))
    await seats.sit("old", waiter("acme", since=1.0))
    await seats.sit("critical", waiter("acme", rank=Rank.CRITICAL, since=3.0))

    for _ in range(3):
        room.wake(MAIN[0])
        await asyncio.sleep(0)

    assert seats.served == ["critical", "old", "young"]


async def test_a_slot_that_was_given_is_promised_until_it_is_taken() -> None:
    room = WaitingRoom()
    first = await enter(room)
    assert not room.promised(MAIN)

    room.wake(MAIN[0])

    assert room.promised(MAIN) and not room.promised(SIDE)
    assert await first
    assert not room.promised(MAIN)


async def test_a_full_room_takes_in_whoever_has_less_of_it() -> None:
    room = WaitingRoom()
    seats = Seats(room)
    for number in range(MOST_IN_POOL):
        await seats.sit(str(number), waiter("acme", "hot", since=float(number)))
    assert not room.make_room(waiter("acme", "hot", since=1e9)), "its own flood takes nobody's place"
    assert not room.make_room(waiter("acme", "hot", rank=Rank.BATCH))

    await seats.sit("other tenant", waiter("umbrella", "hot", since=1e9))
    await seats.sit("other topic", waiter("acme", "cold", since=1e9))
    await seats.sit("older", waiter("acme", "hot", since=-1.0))
    await seats.sit("critical", waiter("acme", "hot", rank=Rank.CRITICAL, since=1e9))

    newest = [str(MOST_IN_POOL - number) for number in range(1, 5)]
    assert seats.sent_away == newest and len(room) == MOST_IN_POOL
    room.wake(MAIN[0], 4)
    await asyncio.sleep(0)
    assert seats.served == ["critical", "older", "other tenant", "other topic"]
    await seats.leave()


async def test_no_pool_has_the_whole_room() -> None:
    room = WaitingRoom()
    seats = Seats(room)
    for number in range(MOST_IN_POOL):
        await seats.sit(f"main-{number}", waiter("acme", since=float(number)))
    for number in range(MOST_IN_ALL - MOST_IN_POOL):
        await seats.sit(f"side-{number}", waiter("acme", since=float(number), pool=SIDE[0]))

    await seats.sit("third", waiter("acme", since=1e9, pool=PoolName("third")))

    assert seats.sent_away == [f"main-{MOST_IN_POOL - 1}"] and len(room) == MOST_IN_ALL
    await seats.leave()


async def test_one_who_could_not_use_a_slot_goes_to_the_end_of_its_line() -> None:
    room = WaitingRoom()
    picky, other = waiter("acme", since=1.0), waiter("acme", since=2.0)
    first = asyncio.create_task(room.wait(picky, 5.0))
    behind = asyncio.create_task(room.wait(other, 5.0))
    await asyncio.sleep(0)
    room.wake(MAIN[0])
    assert await first
    room.pass_on(picky)
    assert await behind
    again = [asyncio.create_task(room.wait(one, 5.0)) for one in (picky, waiter("acme", since=3.0))]
    await asyncio.sleep(0)

    room.wake(MAIN[0])

    assert await again[1] and not again[0].done()
    room.close()
    assert not await again[0]
