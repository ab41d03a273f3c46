"""The circuit breaker before the safety kernel, as a pure state machine (spec-scheduler section 16)."""

from enum import StrEnum

FAILURES_TO_OPEN = 3
OPEN_SECONDS = (1.0, 2.0, 4.0, 5.0)
"""How long each opening in a row lasts; the guide's bound of 5 s is the last and stays."""


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """Closed: calls pass. Three failures in a row: open. After a while one probe may pass: it closes or re-opens.

    Times are monotonic seconds, given by the caller.
    """

    def __init__(self) -> None:
        self.state = BreakerState.CLOSED
        self._failures = 0
        self._openings = 0
        self._open_until = 0.0

    def admits(self) -> bool:
        """Whether an ordinary call may pass; only when closed, for the probe tests the water first."""
        return self.state is BreakerState.CLOSED

    def probe_in(self, now: float) -> float:
        """Seconds until a probe may be made; 0 when it may be made now."""
        return max(0.0, self._open_until - now) if self.state is BreakerState.OPEN else 0.0

    def start_probe(self, now: float) -> bool:
        """Claims the one probe of a half-open breaker; False when it is not time yet or a probe is on its way."""
        if self.state is not BreakerState.OPEN or now < self._open_until:
            return False
        self.state = BreakerState.HALF_OPEN
        return True

    def call_succeeded(self) -> None:
        """An ordinary call was answered: all is well, earlier openings are forgotten."""
        if self.state is BreakerState.CLOSED:
            self._failures = 0
            self._openings = 0

    def call_failed(self, now: float) -> None:
        """An ordinary call failed; the third failure in a row opens. Late news while open changes nothing."""
        if self.state is not BreakerState.CLOSED:
            return
        self._failures += 1
        if self._failures >= FAILURES_TO_OPEN:
            self._open(now)

    def probe_succeeded(self) -> None:
        """The kernel answers again. The next opening is still a longer one until an ordinary call has succeeded."""
        if self.state is BreakerState.HALF_OPEN:
            self.state = BreakerState.CLOSED
            self._failures = 0

    def probe_failed(self, now: float) -> None:
        """Not yet: open again, for longer."""
        if self.state is BreakerState.HALF_OPEN:
            self._open(now)

    def _open(self, now: float) -> None:
        self.state = BreakerState.OPEN
        self._open_until = now + OPEN_SECONDS[min(self._openings, len(OPEN_SECONDS) - 1)]
        self._openings += 1
        self._failures = 0
