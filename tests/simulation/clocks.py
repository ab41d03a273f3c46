"""The clocks of a simulated process, and the names it gives."""

import asyncio
from typing import Final

from tests.simulation.loop import SimLoop

EPOCH: Final = 1_700_000_000.0


class SimClock:
    """Monotonic time is the loop's; the wall clock is off by as much as somebody has set it wrong."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop
        self.offset = 0.0

    def now(self) -> float:
        return EPOCH + self._loop.time() + self.offset

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class NamedIds:
    """Ids that say who gave them, and are the same whenever the seed is."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._number = 0

    def new(self) -> str:
        self._number += 1
        return f"{self._owner}.{self._number}"

    def token(self, nbytes: int) -> str:
        self._number += 1
        return f"{self._number:0{2 * nbytes}x}"[-2 * nbytes :]
