"""How long ago something was written down, on a machine whose wall clock may have been set meanwhile.

Records carry the wall time of whoever wrote them, so an age is a difference of two wall clocks, and these are set:
forward, and every running job would seem to have run too long; back, and none ever would. What is never set is the
steady clock of this process. The distance between the two shows when the wall clock was set, and by how much; a stamp
is read in the period it can have been written in. Where it could be of two, the later one counts: a timeout may come
late by as much as the clock was set, never early. Redis and its clock are not asked: it writes no stamps.
"""

from collections.abc import Sequence
from math import inf
from typing import Final

import msgspec

from cordum.core.ids import JobId, Micros

JUMP: Final = 2.0
"""Seconds the wall clock must move against the steady one, between two looks, to have been set. Less is followed."""

SKEW: Final = 2.0
"""Seconds the clock of another machine may differ from ours without its stamps being taken for impossible."""

PERIODS_KEPT: Final = 16
"""How many settings of the clock are remembered."""

MOST_SEEN: Final = 50_000
"""Jobs whose standing is remembered."""


class _Period(msgspec.Struct, frozen=True):
    """A time in which the wall clock was not set: how far it was ahead of the steady one, and since when; seconds."""

    ahead: float
    begins: float


class Ages:
    """Reads stamps. Ask after `observe` only."""

    def __init__(self) -> None:
        self._periods: Sequence[_Period] = ()
        self._looked = 0.0

    def observe(self, wall: float, steady: float) -> float:
        """Compares the clocks, both in seconds.

        Returns:
            By how much the wall clock was set since the last look; 0.0 when it was not.
        """
        ahead, before, looked = wall - steady, self._periods, self._looked
        self._looked = steady
        if not before:
            self._periods = (_Period(ahead, -inf),)
            return 0.0
        jump = ahead - before[-1].ahead
        if abs(jump) < JUMP:
            self._periods = (*before[:-1], _Period(ahead, before[-1].begins))
            return 0.0
        kept = (*before, _Period(ahead, looked))[-PERIODS_KEPT:]
        # Whatever was written before we began to look, was written by the first clock we know.
        self._periods = (_Period(kept[0].ahead, -inf), *kept[1:])
        return jump

    def of(self, stamp: Micros, steady: float) -> float | None:
        """Seconds since `stamp`, the least it can be; None for a stamp ahead of every clock we know."""
        ages = [
            steady - at
            for period in self._periods
            if period.begins - SKEW <= (at := stamp / 1_000_000 - period.ahead) <= steady + SKEW
        ]
        return max(0.0, min(ages)) if ages else None

    def latest(self, steady: float) -> float:
        """The latest moment, Unix seconds, that any clock we know can show now."""
        return max(period.ahead for period in self._periods) + steady


class Sightings:
    """Since when this process has seen jobs stand where they stand: so long they have stood at the least.

    It takes no wall clock for that, so it ends what no stamp can tell the age of.
    """

    def __init__(self) -> None:
        self._first: dict[JobId, tuple[Micros, float]] = {}
        self._met: set[JobId] = set()

    def stood(self, job_id: JobId, stamp: Micros, steady: float) -> float:
        """Seconds since a job was first seen with this stamp."""
        self._met.add(job_id)
        known = self._first.get(job_id)
        # A note on the record moves its stamp by a microsecond, and the job not at all.
        if known is None or abs(known[0] - stamp) > 1_000:
            if known is not None or len(self._first) < MOST_SEEN:
                self._first[job_id] = (stamp, steady)
            return 0.0
        return steady - known[1]

    def sweep(self) -> None:
        """Forgets the jobs that nobody asked about since the last sweep."""
        self._first = {job_id: seen for job_id, seen in self._first.items() if job_id in self._met}
        self._met = set()
