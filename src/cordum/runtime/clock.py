"""Time, injected: whoever needs to know how late it is, or to wait, asks a `Clock`."""

import asyncio
import heapq
import itertools
import time
from typing import Protocol

from cordum.core.ids import Micros, micros


class Clock(Protocol):
    """Two clocks and a way to wait, all in seconds."""

    def now(self) -> float:
        """Seconds since the Unix epoch; for what is written down."""

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back; for measuring and for deadlines within the process."""

    async def sleep(self, seconds: float) -> None:
        """Waits; zero or less only lets others run."""


class SystemClock:
    """The machine's clock."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class ManualClock:
    """A clock that stands still until a test advances it; sleepers wake as their moment passes."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._start = start
        self._elapsed = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self._start + self._elapsed

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + seconds, next(self._order), wake))
        await wake

    @property
    def sleepers(self) -> int:
        """How many tasks wait for this clock."""
        return sum(not wake.done() for _, _, wake in self._sleepers)

    def advance(self, seconds: float) -> None:
        """Moves both clocks forward and wakes, in order, whoever was to wake by then."""
        self._elapsed += seconds
        while self._sleepers and self._sleepers[0][0] <= self._elapsed:
            _, _, wake = heapq.heappop(self._sleepers)
            if not wake.done():
                wake.set_result(None)


def unix_micros(clock: Clock) -> Micros:
    """Now, in the unit of every job timestamp."""
    return micros(clock.now())
