"""How long to wait before the next try (spec-scheduler section 13)."""

from typing import Final

BASE: Final = 1.0  # seconds
CEILING: Final = 30.0  # seconds
JITTER: Final = 0.5  # seconds

SAFETY_BASE: Final = 0.5  # seconds
SAFETY_CEILING: Final = 5.0  # seconds; the guide's safetyThrottleDelay


def placement_delay(attempt: int, jitter: float) -> float:
    """Seconds until a job that found no worker, or whose worker asked for another try, is tried again.

    1, 2, 4, ... and up to half a second more, 30 at most.

    Args:
        attempt: tries so far, 0 for the first.
        jitter: a number from 0 to 1, so that waiting jobs do not come back all at once.
    """
    return min(CEILING - JITTER, BASE * 2.0 ** min(max(attempt, 0), 10)) + JITTER * jitter


def safety_delay(attempt: int) -> float:
    """Seconds until a job that could not be decided is decided again: 0.5, 1, 2, 4, then 5 (guide section 11)."""
    return min(SAFETY_CEILING, SAFETY_BASE * 2.0 ** min(max(attempt, 0), 10))
