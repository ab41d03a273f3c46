"""How often workers, topics and payloads were refused, in buckets of five minutes (production guide section 5)."""

from collections.abc import Mapping
from typing import Final

import msgspec

from cordum.runtime import boundary
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.store import keys
from cordum.store.batch import Batcher
from cordum.store.errors import StoreError
from cordum.store.job_lists import pairs

log = get_logger(__name__)

BUCKET: Final = 300
"""Seconds of one bucket."""

KEPT: Final = 25 * 3600
LONGEST_WINDOW: Final = 24 * 3600
WRITE_EVERY: Final = 5.0
_BETWEEN: Final = "\x1f"


class BoundaryCount(msgspec.Struct, frozen=True, kw_only=True):
    """How often one event happened about one worker, topic or schema ("" when too many were told apart)."""

    event: str
    subject: str
    count: int


class BoundaryEvents:
    """Raises StoreUnavailableError when Redis does not answer in time."""

    def __init__(self, batcher: Batcher, clock: Clock) -> None:
        self._batcher = batcher
        self._clock = clock

    async def add(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Adds to what happened now: (event, subject) -> how often."""
        if not counts:
            return
        key = keys.boundary_events(int(self._clock.now()) // BUCKET)
        await self._batcher.submit(
            [
                *[("HINCRBY", key, f"{event}{_BETWEEN}{subject}", count) for (event, subject), count in counts.items()],
                ("EXPIRE", key, KEPT),
            ]
        )

    async def run(self) -> None:
        """Writes what the process counted every few seconds, as long as it runs; what fails is written next time."""
        while True:
            await self._clock.sleep(WRITE_EVERY)
            await self.write()

    async def write(self) -> None:
        """Writes what the process has counted since the last time."""
        counted = boundary.drain()
        try:
            await self.add({(event.value, subject): count for (event, subject), count in counted.items()})
        except StoreError as error:
            boundary.put_back(counted)
            log.debug("boundary events not written", event="boundary_events_unwritten", error=error.message)

    async def within(self, seconds: float) -> list[BoundaryCount]:
        """What happened in the last `seconds` (to the bucket), most frequent first."""
        last = int(self._clock.now()) // BUCKET
        buckets = int(min(max(seconds, 1), LONGEST_WINDOW)) // BUCKET + 1
        replies = await self._batcher.submit(
            [("HGETALL", keys.boundary_events(last - back)) for back in range(buckets + 1)]
        )
        total: dict[tuple[str, str], int] = {}
        for reply in replies:
            for field, count in (pairs(reply) if isinstance(reply, list) else {}).items():
                event, _, subject = field.partition(_BETWEEN)
                total[event, subject] = total.get((event, subject), 0) + int(count)
        return [
            BoundaryCount(event=event, subject=subject, count=count)
            for (event, subject), count in sorted(total.items(), key=lambda item: (-item[1], item[0]))
        ]
