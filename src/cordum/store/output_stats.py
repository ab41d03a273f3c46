"""Counts of the output policy's checks, hour by hour and per tenant (spec-safety section 5, `/policy/output/stats`).

One small hash per tenant and hour: whoever records a check adds four commands to a batch that goes anyway.
"""

from typing import Final

import msgspec

from cordum.core.ids import TenantId
from cordum.runtime.clock import Clock
from cordum.store import keys
from cordum.store.batch import Batcher
from cordum.store.link import Command

HOURS: Final = 24
_HOUR: Final = 3600
_KEPT: Final = (HOURS + 2) * _HOUR


class OutputDay(msgspec.Struct, frozen=True):
    """A tenant's last 24 hours, to the hour; `last_at` in Unix seconds, 0 for never."""

    checks: int = 0
    quarantined: int = 0
    average_ms: float = 0.0
    last_at: float = 0.0


def counted(tenant: TenantId, now: float, duration_ms: float, *, quarantined: bool) -> list[Command]:
    """The commands that count one check, for the batch of whoever made it.

    Args:
        now: Unix seconds.
        duration_ms: how long the check took.
    """
    key = keys.output_stats(tenant, int(now) // _HOUR)
    return [
        ("HINCRBY", key, "checks", 1),
        ("HINCRBY", key, "quarantined", 1 if quarantined else 0),
        ("HINCRBY", key, "micros", max(0, int(duration_ms * 1000))),
        ("HSET", key, "last", int(now)),
        ("EXPIRE", key, _KEPT),
    ]


class OutputStats:
    """Reads the counts. Raises StoreUnavailableError when Redis does not answer in time."""

    def __init__(self, batcher: Batcher, clock: Clock) -> None:
        self._batcher = batcher
        self._clock = clock

    async def count(self, tenant: TenantId, duration_ms: float, *, quarantined: bool) -> None:
        """Counts one check."""
        await self._batcher.submit(counted(tenant, self._clock.now(), duration_ms, quarantined=quarantined))

    async def last_day(self, tenant: TenantId) -> OutputDay:
        """The sums."""
        hour = int(self._clock.now()) // _HOUR
        fields = ("checks", "quarantined", "micros", "last")
        replies = await self._batcher.submit(
            [("HMGET", keys.output_stats(tenant, hour - back), *fields) for back in range(HOURS)]
        )
        rows = [[_number(value) for value in reply] for reply in replies if isinstance(reply, list)]
        checks, quarantined, micros = (sum(row[at] for row in rows) for at in range(3))
        return OutputDay(
            checks=checks,
            quarantined=quarantined,
            average_ms=round(micros / checks / 1000, 3) if checks else 0.0,
            last_at=float(max((row[3] for row in rows), default=0)),
        )


def _number(value: object) -> int:
    return int(value) if isinstance(value, str | bytes) and value.isdigit() else 0
