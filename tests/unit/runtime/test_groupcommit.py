import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cordum.runtime import metrics
from cordum.runtime.groupcommit import AnswerCountError, GroupClosedError, GroupCommit, OverloadedError


class Wire:
    """What a group sends to: remembers the batches, answers each item with its double, and can be held."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.most_at_once = 0
        self._now = 0

    async def send(self, items: Sequence[int]) -> list[int | BaseException]:
        self.batches.append(list(items))
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        try:
            await self.open.wait()
        finally:
            self._now -= 1
        return [item * 2 for item in items]


async def test_what_one_turn_wants_is_sent_as_one_batch() -> None:
    wire = Wire()
    group = GroupCommit(wire.send, name="test")
    answers = await asyncio.gather(*(group.submit(number) for number in range(10)))
    assert list(answers) == [number * 2 for number in range(10)]
    assert wire.batches == [list(range(10))]
    assert (group.batches, group.items, group.queued, group.in_flight) == (1, 10, 0, 0)
    await group.aclose()


async def test_a_lone_item_is_not_made_to_wait_for_others() -> None:
    wire = Wire()
    group = GroupCommit(wire.send, name="test")
    assert await group.submit(1) == 2
    assert await group.submit(2) == 4
    assert wire.batches == [[1], [2]]
    await group.aclose()


async def test_batches_are_bounded_and_so_is_how_many_are_on_their_way() -> None:
    wire = Wire()
    wire.open.clear()
    group = GroupCommit(wire.send, name="test", max_batch=4, max_in_flight=2)
    waiters = [group.submit(number) for number in range(20)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (group.queued, group.in_flight) == (12, 2)
    wire.open.set()
    assert await asyncio.gather(*waiters) == [number * 2 for number in range(20)]
    assert wire.most_at_once == 2
    assert [len(batch) for batch in wire.batches] == [4, 4, 4, 4, 4]
    await group.aclose()


async def test_while_batches_are_on_their_way_the_next_one_grows() -> None:
    wire = Wire()
    wire.open.clear()
    group = GroupCommit(wire.send, name="test", max_in_flight=1)
    waiters = [group.submit(0)]
    await asyncio.sleep(0)
    for number in range(1, 6):
        waiters.append(group.submit(number))
        await asyncio.sleep(0)
    wire.open.set()
    await asyncio.gather(*waiters)
    assert wire.batches == [[0], [1, 2, 3, 4, 5]]
    await group.aclose()


async def test_more_than_may_wait_is_refused_at_once() -> None:
    wire = Wire()
    wire.open.clear()
    group = GroupCommit(wire.send, name="test", max_batch=1, max_in_flight=1, max_queued=2)
    waiters = [group.submit(0)]
    await asyncio.sleep(0)
    waiters += [group.submit(1), group.submit(2)]
    with pytest.raises(OverloadedError):
        group.submit(3)
    wire.open.set()
    assert await asyncio.gather(*waiters) == [0, 2, 4]
    await group.aclose()


async def test_an_error_among_the_answers_reaches_only_its_waiter() -> None:
    async def send(items: Sequence[int]) -> list[int | BaseException]:
        return [ValueError("odd") if item % 2 else item for item in items]

    group: GroupCommit[int, int] = GroupCommit(send, name="test")
    outcomes = await asyncio.gather(*(group.submit(number) for number in range(3)), return_exceptions=True)
    assert outcomes[0] == 0
    assert isinstance(outcomes[1], ValueError)
    assert outcomes[2] == 2
    await group.aclose()


async def test_when_sending_fails_every_waiter_of_the_batch_learns_it_and_the_next_batch_is_sent() -> None:
    fail = True

    async def send(items: Sequence[int]) -> list[int]:
        if fail:
            raise ConnectionError("gone")
        return list(items)

    group: GroupCommit[int, int] = GroupCommit(send, name="test")
    outcomes = await asyncio.gather(group.submit(1), group.submit(2), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ConnectionError, ConnectionError]
    fail = False
    assert await group.submit(3) == 3
    await group.aclose()


async def test_a_wrong_number_of_answers_is_an_error_for_all() -> None:
    async def send(items: Sequence[int]) -> list[int]:
        return [1]

    group: GroupCommit[int, int] = GroupCommit(send, name="test")
    outcomes = await asyncio.gather(group.submit(1), group.submit(2), return_exceptions=True)
    assert all(isinstance(outcome, AnswerCountError) for outcome in outcomes)
    await group.aclose()


async def test_a_cancelled_waiter_is_not_sent_and_disturbs_nobody() -> None:
    wire = Wire()
    group = GroupCommit(wire.send, name="test")
    first, second, third = (group.submit(number) for number in range(3))
    second.cancel()
    assert await first == 0
    assert await third == 4
    assert wire.batches == [[0, 2]]
    await group.aclose()


async def test_a_waiter_cancelled_on_the_way_disturbs_nobody() -> None:
    wire = Wire()
    wire.open.clear()
    group = GroupCommit(wire.send, name="test")
    first, second = group.submit(1), group.submit(2)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()
    wire.open.set()
    assert await second == 4
    await group.aclose()


async def test_a_batch_of_cancelled_waiters_is_not_sent() -> None:
    wire = Wire()
    group = GroupCommit(wire.send, name="test")
    group.submit(1).cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert wire.batches == []
    assert (group.queued, group.in_flight) == (0, 0)
    await group.aclose()


async def test_closing_waits_for_what_was_submitted_and_takes_nothing_more() -> None:
    wire = Wire()
    group = GroupCommit(wire.send, name="test", max_batch=2, max_in_flight=1)
    waiters = [group.submit(number) for number in range(5)]
    await group.aclose()
    assert await asyncio.gather(*waiters) == [0, 2, 4, 6, 8]
    with pytest.raises(GroupClosedError):
        group.submit(1)


async def test_closing_does_not_wait_for_ever() -> None:
    wire = Wire()
    wire.open.clear()
    group = GroupCommit(wire.send, name="test", max_batch=1, max_in_flight=1)
    waiters = [group.submit(1), group.submit(2)]
    await group.aclose(grace=0.02)
    outcomes = await asyncio.gather(*waiters, return_exceptions=True)
    assert all(isinstance(outcome, GroupClosedError) for outcome in outcomes)
    assert (group.queued, group.in_flight) == (0, 0)


async def test_the_gauges_follow_and_do_not_keep_a_group_alive() -> None:
    wire = Wire()
    wire.open.clear()
    group = GroupCommit(wire.send, name="gauged", max_batch=1, max_in_flight=1)
    waiters = [group.submit(1), group.submit(2)]
    await asyncio.sleep(0)
    text = metrics.exposition()[0].decode()
    assert 'cordum_groupcommit_queued{name="gauged"} 1.0' in text
    assert 'cordum_groupcommit_in_flight{name="gauged"} 1.0' in text
    wire.open.set()
    await asyncio.gather(*waiters)
    await group.aclose()
    del group
    assert 'cordum_groupcommit_queued{name="gauged"} 0.0' in metrics.exposition()[0].decode()


@settings(max_examples=60, deadline=None)
@given(
    plan=st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=60),
    max_batch=st.integers(1, 8),
    max_in_flight=st.integers(1, 3),
)
def test_every_item_is_answered_once_or_was_cancelled(
    plan: list[tuple[int, bool]], max_batch: int, max_in_flight: int
) -> None:
    async def scenario() -> None:
        seen: list[int] = []

        async def send(items: Sequence[int]) -> list[int]:
            assert len(items) <= max_batch
            seen.extend(items)
            await asyncio.sleep(0)
            return [item + 1 for item in items]

        group: GroupCommit[int, int] = GroupCommit(
            send, name="property", max_batch=max_batch, max_in_flight=max_in_flight
        )
        waiters: list[asyncio.Future[int]] = []
        for number, (turns, cancel) in enumerate(plan):
            waiters.append(group.submit(number))
            if cancel:
                waiters[-1].cancel()
            for _ in range(turns):
                await asyncio.sleep(0)
        outcomes = await asyncio.gather(*waiters, return_exceptions=True)
        await group.aclose()
        for number, (outcome, (_, cancel)) in enumerate(zip(outcomes, plan, strict=True)):
            assert isinstance(outcome, asyncio.CancelledError) if cancel else outcome == number + 1
        assert seen == sorted(set(seen))

    asyncio.run(scenario())
