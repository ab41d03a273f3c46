"""Watches whether the wall clock is set while we run, so that no timeout comes early and none stays away for it."""

from typing import Final

from cordum.core.ids import Micros, micros
from cordum.core.jobs.ages import SKEW, Ages
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import WITH_WORKER
from cordum.runtime import metrics
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger

log = get_logger(__name__)

LOOK_EVERY: Final = 1.0
"""Seconds between looks: the sooner a jump is seen, the fewer stamps can be of two times."""


class ClockWatch:
    """Tells how long ago things were written down."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ages = Ages()
        self._ages.observe(clock.now(), clock.monotonic())

    async def run(self) -> None:
        """Looks again and again, for as long as the process runs."""
        while True:
            await self._clock.sleep(LOOK_EVERY)
            self.look()

    def look(self) -> None:
        """Compares the clocks now."""
        jump = self._ages.observe(self._clock.now(), self._clock.monotonic())
        if jump:
            metrics.CLOCK_JUMPS.inc()
            log.warning("the wall clock was set", event="clock_jumped", seconds=round(jump, 3))

    def steady(self) -> float:
        """Seconds of the clock that is never set."""
        return self._clock.monotonic()

    def age(self, stamp: Micros) -> float:
        """Seconds since a stamp; 0.0 for one that seems to lie ahead."""
        return self._ages.of(stamp, self._clock.monotonic()) or 0.0

    def latest(self) -> Micros:
        """No stamp of ours can be later than this."""
        return micros(self._ages.latest(self._clock.monotonic()))

    def ahead(self) -> Micros:
        """A stamp later than this was written by a clock that was wrong."""
        return Micros(self.latest() + int(SKEW * 1_000_000))

    def overdue(self, record: JobRecord) -> bool:
        """Whether a job's deadline has passed, by the clock it was set by.

        A deadline is a number of seconds after a stamp: of the job's creation, or of its dispatch. Where we cannot tell
        which, both have to agree.
        """
        deadline = record.deadline_unix
        if record.state.is_terminal or not deadline:
            return False
        stamps = [record.created_at] if record.created_at else []
        if record.state in WITH_WORKER and record.dispatched_at:
            stamps.append(record.dispatched_at)
        if not stamps:
            return deadline <= micros(self._clock.now())
        return all(self.age(stamp) >= (deadline - stamp) / 1_000_000 for stamp in stamps)
