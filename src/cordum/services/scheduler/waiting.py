"""Waiting for a slot in memory: most slots become free within moments, and a job that waits here costs nothing.

Its message is not acknowledged meanwhile, so a crash loses nothing. Who waits too long, or finds the room full, is
parked.
"""

import asyncio
from collections import deque
from typing import Final

from cordum.core.ids import PoolName

PATIENCE: Final = 2.0
"""Seconds a job may wait here."""

MOST_IN_POOL: Final = 512
MOST_IN_ALL: Final = 768
"""Jobs that may wait here at once; the rest of the messages in flight stay free for other pools."""

_PASSED_ON: Final = 8
"""How often one free slot is offered on by waiters that cannot use it."""


class Waiter:
    """One job's place in the queues of the pools that can take it."""

    __slots__ = ("offers", "pools", "woken")

    def __init__(self, pools: tuple[PoolName, ...]) -> None:
        self.pools = pools
        self.woken: asyncio.Future[None] | None = None
        self.offers = 0


class WaitingRoom:
    """First come, first served, per pool."""

    def __init__(self) -> None:
        self._queues: dict[PoolName, deque[Waiter]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def waiting_for(self, pool: PoolName) -> int:
        return len(self._queues.get(pool, ()))

    def has_room(self, pools: tuple[PoolName, ...]) -> bool:
        return self._count < MOST_IN_ALL and all(self.waiting_for(pool) < MOST_IN_POOL for pool in pools)

    async def wait(self, waiter: Waiter, seconds: float) -> bool:
        """Waits for a slot to become free in one of the waiter's pools.

        Returns:
            Whether there is a slot to try for; False when the time is over.
        """
        loop = asyncio.get_running_loop()
        waiter.woken = loop.create_future()
        self._count += 1
        for pool in waiter.pools:
            self._queues.setdefault(pool, deque()).append(waiter)
        timer = loop.call_later(seconds, _give_up, waiter)
        try:
            await waiter.woken
            return True
        except TimeoutError:
            return False
        finally:
            timer.cancel()
            self._leave(waiter)

    def wake(self, pool: PoolName, slots: int = 1, offers: int = 1) -> int:
        """Offers free slots of a pool to those who wait for it, and says how many were taken up."""
        queue = self._queues.get(pool)
        taken = 0
        while queue and taken < slots:
            waiter = queue.popleft()
            if waiter.woken is not None and not waiter.woken.done():
                waiter.offers = offers
                waiter.woken.set_result(None)
                taken += 1
        return taken

    def pass_on(self, waiter: Waiter) -> None:
        """A waiter cannot use the slot it was offered (the worker does not fit): somebody behind it may."""
        if waiter.offers and waiter.offers < _PASSED_ON:
            for pool in waiter.pools:
                self.wake(pool, offers=waiter.offers + 1)

    def close(self) -> None:
        """Ends all waiting at once, as if the time were over; for stopping."""
        for queue in list(self._queues.values()):
            for waiter in list(queue):
                _give_up(waiter)

    def _leave(self, waiter: Waiter) -> None:
        self._count -= 1
        for pool in waiter.pools:
            queue = self._queues.get(pool)
            if queue is None:
                continue
            try:
                queue.remove(waiter)
            except ValueError:
                pass
            if not queue:
                del self._queues[pool]


def _give_up(waiter: Waiter) -> None:
    if waiter.woken is not None and not waiter.woken.done():
        waiter.woken.set_exception(TimeoutError())
