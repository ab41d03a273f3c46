"""Waiting for a slot in memory: most slots become free within moments, and a job that waits here costs nothing.

Its message is not acknowledged meanwhile, so a crash loses nothing. Slots go by turns (core.routing.turns): the more
urgent first, then every tenant and every topic in its turn, the oldest job of each. When the room is full, the newest
job of whoever takes up most of it makes place for somebody who takes up less; that one, and who waits too long, is
parked. So neither the room nor the messages in flight are ever one tenant's or one topic's alone.
"""

import asyncio
from bisect import bisect_left, insort
from typing import Final, NamedTuple

from cordum.core.ids import PoolName, TenantId, Topic
from cordum.core.routing.turns import Rank, Turns

PATIENCE: Final = 2.0
"""Seconds a job may wait here."""

MOST_IN_POOL: Final = 512
MOST_IN_ALL: Final = 768
"""Jobs that may wait here at once; the rest of the messages in flight stay free for other pools."""

_PASSED_ON: Final = 8
"""How often one free slot is offered on by waiters that cannot use it."""

_END_OF_TIME: Final = float("inf")


class Group(NamedTuple):
    """Jobs with the same claim to a slot."""

    rank: Rank = Rank.INTERACTIVE
    tenant: TenantId = TenantId("")
    topic: Topic = Topic("")


_ANYBODY: Final = Group()


class Waiter:
    """One job's place in the queues of the pools that can take it.

    Attributes:
        since: when the job came, any rising number: of one group the oldest goes first.
        offers: how often the slot it was woken for had been offered; 0 when it was not woken for one.
    """

    __slots__ = ("group", "inside", "number", "offers", "pools", "promised", "since", "woken")

    def __init__(self, pools: tuple[PoolName, ...], group: Group = _ANYBODY, since: float = 0.0) -> None:
        self.pools = pools
        self.group = group
        self.since = since
        self.number = 0
        self.woken: asyncio.Future[bool] | None = None
        self.offers = 0
        self.inside = False
        self.promised: PoolName | None = None

    @property
    def order(self) -> tuple[float, int]:
        return self.since, self.number


class _Queue:
    """Those who wait for one pool."""

    __slots__ = ("lines", "of_tenant", "size", "turns")

    def __init__(self) -> None:
        self.turns: Turns[Group] = Turns()
        self.lines: dict[Group, list[Waiter]] = {}
        self.of_tenant: dict[tuple[Rank, TenantId], int] = {}
        self.size = 0

    def add(self, waiter: Waiter) -> None:
        group = waiter.group
        line = self.lines.get(group)
        if line is None:
            line = self.lines[group] = []
            self.turns.join(group.rank, group.tenant, group)
        insort(line, waiter, key=_order)
        claim = group.rank, group.tenant
        self.of_tenant[claim] = self.of_tenant.get(claim, 0) + 1
        self.size += 1

    def remove(self, waiter: Waiter) -> None:
        """Takes a waiter out; one that is not here is no matter."""
        group = waiter.group
        line = self.lines.get(group)
        if line is None:
            return
        at = bisect_left(line, waiter.order, key=_order)
        if at >= len(line) or line[at] is not waiter:
            return
        del line[at]
        self.size -= 1
        claim = group.rank, group.tenant
        self.of_tenant[claim] -= 1
        if not self.of_tenant[claim]:
            del self.of_tenant[claim]
        if not line:
            del self.lines[group]
            self.turns.leave(group.rank, group.tenant, group)

    def next(self) -> Waiter | None:
        """Who has the next turn; it stays in the queue."""
        group = self.turns.next()
        return self.lines[group][0] if group is not None else None

    def largest(self) -> Group:
        """The group that has most of the queue: of the least urgent rank, of the tenant with most, its largest."""
        rank = max(rank for rank, _ in self.of_tenant)
        tenant = max((claim for claim in self.of_tenant if claim[0] is rank), key=self.of_tenant.__getitem__)[1]
        groups = (group for group in self.lines if group.rank is rank and group.tenant == tenant)
        return max(groups, key=lambda group: len(self.lines[group]))

    def gives_way_to(self, waiter: Waiter) -> Waiter | None:
        """Who leaves the queue, were it full, so that `waiter` can come in; None when nobody has a lesser claim."""
        largest, group = self.largest(), waiter.group
        newest = self.lines[largest][-1]
        if largest.rank is not group.rank:
            return newest if largest.rank > group.rank else None
        if largest.tenant != group.tenant:
            theirs = self.of_tenant[largest.rank, largest.tenant]
            return newest if self.of_tenant.get((group.rank, group.tenant), 0) + 1 < theirs else None
        own = self.lines.get(group, [])
        if largest != group and len(own) + 1 < len(self.lines[largest]):
            return newest
        return own[-1] if own and waiter.since < own[-1].since else None


class WaitingRoom:
    """Who waits for which pool."""

    def __init__(self) -> None:
        self._queues: dict[PoolName, _Queue] = {}
        self._promised: dict[PoolName, int] = {}
        self._count = 0
        self._numbers = 0
        self.served = Rank.INTERACTIVE
        """The rank of the last one who was woken for a slot."""

    def __len__(self) -> int:
        return self._count

    def waiting_for(self, pool: PoolName) -> int:
        queue = self._queues.get(pool)
        return queue.size if queue is not None else 0

    def promised(self, pools: tuple[PoolName, ...]) -> bool:
        """Whether a slot of these pools belongs to somebody who was just woken for it and has not run yet."""
        return bool(self._promised) and any(pool in self._promised for pool in pools)

    def make_room(self, waiter: Waiter) -> bool:
        """Whether a waiter may come in; if need be, somebody with a lesser claim is sent away for it."""
        for pool in waiter.pools:
            queue = self._queues.get(pool)
            if queue is not None and queue.size >= MOST_IN_POOL and not self._send_away(queue, waiter):
                return False
        if self._count < MOST_IN_ALL:
            return True
        fullest = max(self._queues.values(), key=lambda queue: queue.size)
        own = max((self.waiting_for(pool) for pool in waiter.pools), default=0)
        largest = fullest.largest()
        if own + 1 < fullest.size and largest.rank >= waiter.group.rank:
            loser = fullest.lines[largest][-1]
            self._remove(loser)
            _give_up(loser)
            return True
        return self._send_away(fullest, waiter)

    def _send_away(self, queue: _Queue, waiter: Waiter) -> bool:
        loser = queue.gives_way_to(waiter)
        if loser is None:
            return False
        self._remove(loser)
        _give_up(loser)
        return True

    async def wait(self, waiter: Waiter, seconds: float) -> bool:
        """Waits for a slot to become free in one of the waiter's pools.

        Returns:
            Whether there is a slot to try for; False when the time is over, or another needed the place more.
        """
        loop = asyncio.get_running_loop()
        waiter.woken = loop.create_future()
        waiter.offers = 0
        self._numbers += 1
        waiter.number = self._numbers
        self._count += 1
        waiter.inside = True
        for pool in waiter.pools:
            self._queues.setdefault(pool, _Queue()).add(waiter)
        timer = loop.call_later(seconds, _give_up, waiter)
        try:
            return await waiter.woken
        finally:
            timer.cancel()
            self._remove(waiter)
            if waiter.promised is not None:
                self._keep_promise(waiter.promised)
                waiter.promised = None

    def wake(self, pool: PoolName, slots: int = 1, offers: int = 1) -> int:
        """Offers free slots of a pool to those who wait for it, and says how many were taken up."""
        taken = 0
        while taken < slots:
            queue = self._queues.get(pool)
            waiter = queue.next() if queue is not None else None
            if waiter is None:
                break
            self._remove(waiter)
            if waiter.woken is None or waiter.woken.done():
                continue
            waiter.offers = offers
            waiter.promised = pool
            self._promised[pool] = self._promised.get(pool, 0) + 1
            waiter.woken.set_result(True)
            self.served = waiter.group.rank
            taken += 1
        return taken

    def pass_on(self, waiter: Waiter) -> None:
        """A waiter cannot use the slot it was offered (the worker does not fit): somebody behind it may.

        It goes to the end of its line, for else it would be asked again first, and those behind it never.
        """
        if waiter.offers:
            waiter.since = _END_OF_TIME
            if waiter.offers < _PASSED_ON:
                for pool in waiter.pools:
                    self.wake(pool, offers=waiter.offers + 1)

    def close(self) -> None:
        """Ends all waiting at once, as if the time were over; for stopping."""
        for queue in list(self._queues.values()):
            for line in list(queue.lines.values()):
                for waiter in list(line):
                    _give_up(waiter)

    def _remove(self, waiter: Waiter) -> None:
        if not waiter.inside:
            return
        waiter.inside = False
        self._count -= 1
        for pool in waiter.pools:
            queue = self._queues.get(pool)
            if queue is not None:
                queue.remove(waiter)
                if not queue.size:
                    del self._queues[pool]

    def _keep_promise(self, pool: PoolName) -> None:
        left = self._promised[pool] - 1
        if left:
            self._promised[pool] = left
        else:
            del self._promised[pool]


def _order(waiter: Waiter) -> tuple[float, int]:
    return waiter.since, waiter.number


def _give_up(waiter: Waiter) -> None:
    if waiter.woken is not None and not waiter.woken.done():
        waiter.woken.set_result(False)
