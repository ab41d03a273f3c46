"""Ages on a machine whose wall clock is set: never too great, and never kept small for ever."""

from hypothesis import given
from hypothesis import strategies as st

from cordum.core.ids import JobId, Micros, micros
from cordum.core.jobs.ages import JUMP, PERIODS_KEPT, SKEW, Ages, Sightings

HOUR = 3600.0
T0 = 1_700_000_000.0
JOB = JobId("j")


def test_without_jumps_an_age_is_a_difference() -> None:
    ages = Ages()
    for second in range(100):
        assert ages.observe(T0 + second * 1.0001, second) == 0.0

    assert abs((ages.of(micros(T0 + 40), 99.0) or 0) - 59) < 0.1


def test_a_clock_set_forward_makes_no_job_old() -> None:
    ages = Ages()
    ages.observe(T0, 0)
    before = micros(T0 + 10)
    ages.observe(T0 + 20, 20)

    assert ages.observe(T0 + 21 + HOUR, 21) == HOUR

    assert ages.of(before, 30) == 20
    assert ages.of(micros(T0 + 25 + HOUR), 30) == 5
    assert ages.latest(30) == T0 + 30 + HOUR


def test_a_peer_whose_clock_was_not_set_is_still_understood() -> None:
    ages = Ages()
    ages.observe(T0, 0)
    ages.observe(T0 + 20 + HOUR, 20)

    assert ages.of(micros(T0 + 500), 600) == 100


def test_a_clock_set_back_leaves_no_stamp_in_the_future() -> None:
    ages = Ages()
    ages.observe(T0, 0)
    before = micros(T0 + 10)
    ages.observe(T0 + 20, 20)

    assert ages.observe(T0 + 21 - HOUR, 21) == -HOUR

    assert ages.of(before, 30) == 20
    assert ages.of(micros(T0 + 25 - HOUR), 30) == 5
    assert ages.latest(30) == T0 + 30  # what was written before the jump is looked through, too


def test_a_stamp_of_a_clock_we_never_knew_has_no_age() -> None:
    ages = Ages()
    ages.observe(T0, 0)

    assert ages.of(micros(T0 + 10 * 365 * 86_400), 1) is None
    assert ages.of(micros(T0 + 1 + SKEW / 2), 1) == 0.0


@given(
    jumps=st.lists(
        st.tuples(st.floats(1, 500), st.floats(-2 * HOUR, 2 * HOUR).filter(lambda jump: abs(jump) > JUMP)), max_size=6
    ),
    written=st.floats(0, 1),
    later=st.floats(0, HOUR),
)
def test_an_age_is_never_greater_than_the_truth(jumps: list[tuple[float, float]], written: float, later: float) -> None:
    """Whatever the clock was set to and whenever: no job is timed out before its time."""
    ages, steady, shift = Ages(), 0.0, 0.0
    ages.observe(T0, 0.0)
    stamps: list[tuple[Micros, float]] = []
    for lasts, jump in jumps:
        stamps.append((micros(T0 + shift + steady + written * lasts), steady + written * lasts))
        steady += lasts
        ages.observe(T0 + shift + steady, steady)
        shift += jump
        ages.observe(T0 + shift + steady, steady)
    stamps.append((micros(T0 + shift + steady), steady))
    steady += later
    ages.observe(T0 + shift + steady, steady)

    for stamp, at in stamps:
        age = ages.of(stamp, steady)
        assert age is not None and age <= steady - at + 0.01
        assert stamp / 1_000_000 <= ages.latest(steady) + 0.01


def test_many_jumps_are_forgotten_and_the_oldest_known_clock_counts_for_what_is_older() -> None:
    ages = Ages()
    for number in range(3 * PERIODS_KEPT):
        ages.observe(T0 + number * 100, number)

    assert ages.of(micros(T0), 3 * PERIODS_KEPT) is not None


def test_what_stands_is_as_old_as_we_have_seen_it_stand() -> None:
    seen = Sightings()
    far = Micros(2**50)

    assert seen.stood(JOB, far, 10) == 0
    assert seen.stood(JOB, Micros(far + 1), 15) == 5  # a note on the record is no move
    assert seen.stood(JOB, Micros(far + 2_000_000), 20) == 0
    assert seen.stood(JOB, Micros(far + 2_000_000), 25) == 5


def test_what_nobody_asks_about_is_forgotten() -> None:
    seen = Sightings()
    seen.stood(JOB, Micros(1), 0)
    seen.sweep()
    assert seen.stood(JOB, Micros(1), 1) == 1
    seen.sweep()
    seen.sweep()

    assert seen.stood(JOB, Micros(1), 5) == 0
