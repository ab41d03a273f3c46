"""How long until the next try."""

import pytest

from cordum.core.jobs.retry import placement_delay


@pytest.mark.parametrize(
    ("attempt", "seconds"), [(-1, 1), (0, 1), (1, 2), (2, 4), (3, 8), (4, 16), (5, 29.5), (99, 29.5)]
)
def test_the_wait_doubles_up_to_half_a_minute(attempt: int, seconds: float) -> None:
    assert placement_delay(attempt, 0.0) == seconds
    assert placement_delay(attempt, 1.0) == seconds + 0.5
