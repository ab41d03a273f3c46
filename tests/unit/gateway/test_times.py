"""Moments: cursors of any unit, and text."""

import pytest

from cordum.core.ids import Micros
from cordum.services.gateway.times import from_rfc3339, micros_of_any_unit, rfc3339, rfc3339_micros


@pytest.mark.parametrize(
    ("sent", "micros"),
    [
        (1_795_432_425, 1_795_432_425_999_999),
        (1_795_432_425_065, 1_795_432_425_065_999),
        (1_795_432_425_065_867, 1_795_432_425_065_867),
        (1_795_432_425_065_867_999, 1_795_432_425_065_867),
        (0, 999_999),
    ],
)
def test_the_unit_is_told_by_the_size(sent: int, micros: int) -> None:
    assert micros_of_any_unit(sent) == micros


def test_text_there_and_back() -> None:
    assert rfc3339(1_795_432_425.9) == "2026-11-23T11:13:45Z"
    assert from_rfc3339(rfc3339(1_795_432_425.0)) == 1_795_432_425.0
    assert rfc3339_micros(Micros(1_795_432_425_065_867)) == "2026-11-23T11:13:45.065867Z"
    assert rfc3339_micros(Micros(0)) == "" and from_rfc3339("never") == 0.0
