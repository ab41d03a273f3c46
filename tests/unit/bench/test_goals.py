from bench.goals import NO_TARGET, PASS, SHORT, Goal
from bench.stats import Run

RATE = Goal("x", "X", "req/s", at_least=100, p99_ms_below=60)


def test_every_limit_must_be_met() -> None:
    assert RATE.word(Run(value=100, p99_ms=59)) == PASS
    assert RATE.word(Run(value=99, p99_ms=59)) == SHORT
    assert RATE.word(Run(value=100, p99_ms=60)) == SHORT
    assert RATE.word(Run(value=100)) == SHORT


def test_a_run_with_faults_never_passes() -> None:
    assert RATE.word(Run(value=500, p99_ms=1, faults=("3 answers had status 500",))) == SHORT
    assert Goal("x", "X", "MB").word(Run(value=1, faults=("gone",))) == SHORT


def test_a_row_without_target_says_neither() -> None:
    assert Goal("x", "X", "%").word(Run(value=5)) == NO_TARGET


def test_targets_read_as_in_the_table() -> None:
    assert RATE.target() == ">= 100 req/s, p99 < 60 ms"
    assert Goal("x", "X", "x", at_most=2, decimals=2).target() == "<= 2.00 x"
    assert Goal("x", "X", "%").target() == "-"
