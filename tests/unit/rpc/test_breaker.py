"""The circuit breaker as a state machine."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordum.rpc.breaker import Breaker, BreakerState


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(3):
        breaker.call_failed(now)
    return breaker


def test_three_failures_in_a_row_open() -> None:
    breaker = Breaker()
    breaker.call_failed(0)
    breaker.call_failed(0)
    breaker.call_succeeded()
    breaker.call_failed(0)
    breaker.call_failed(0)
    assert breaker.admits()
    breaker.call_failed(0)
    assert breaker.state is BreakerState.OPEN
    assert not breaker.admits()


def test_one_probe_after_the_open_time_closes_or_opens_again() -> None:
    breaker = opened(10.0)
    assert not breaker.start_probe(10.5)
    assert breaker.probe_in(10.5) == 0.5
    assert breaker.start_probe(11.0)
    assert not breaker.start_probe(11.0)
    assert not breaker.admits()
    breaker.probe_failed(11.0)
    assert breaker.start_probe(13.0)
    breaker.probe_succeeded()
    assert breaker.admits()


@pytest.mark.seed("S168")
def test_the_waits_grow_and_never_pass_five_seconds() -> None:
    breaker, now, waits = opened(), 0.0, []
    for _ in range(8):
        waits.append(breaker.probe_in(now))
        now += waits[-1]
        assert breaker.start_probe(now)
        breaker.probe_failed(now)
    assert waits == [1, 2, 4, 5, 5, 5, 5, 5]


def test_only_a_real_call_makes_the_next_opening_short_again() -> None:
    breaker = opened(0.0)
    assert breaker.start_probe(1.0)
    breaker.probe_succeeded()
    for _ in range(3):
        breaker.call_failed(1.0)
    assert breaker.probe_in(1.0) == 2.0
    assert breaker.start_probe(3.0)
    breaker.probe_succeeded()
    breaker.call_succeeded()
    for _ in range(3):
        breaker.call_failed(3.0)
    assert breaker.probe_in(3.0) == 1.0


def test_late_news_of_earlier_calls_changes_nothing_while_open() -> None:
    breaker = opened(0.0)
    breaker.call_succeeded()
    breaker.call_failed(0.9)
    breaker.probe_succeeded()
    breaker.probe_failed(0.9)
    assert breaker.state is BreakerState.OPEN
    assert breaker.probe_in(0.0) == 1.0


EVENTS = ["call_succeeded", "call_failed", "start_probe", "probe_succeeded", "probe_failed"]


@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.floats(0, 3)), max_size=60))
def test_it_always_finds_its_way_back(events: list[tuple[str, float]]) -> None:
    breaker, now = Breaker(), 0.0
    for name, step in events:
        now += step
        match name:
            case "call_failed":
                breaker.call_failed(now)
            case "start_probe":
                breaker.start_probe(now)
            case "probe_failed":
                breaker.probe_failed(now)
            case _:
                getattr(breaker, name)()
        assert breaker.admits() is (breaker.state is BreakerState.CLOSED)
        assert breaker.probe_in(now) <= 5.0
    if breaker.state is BreakerState.OPEN:
        assert breaker.start_probe(now + 5.0)
    breaker.probe_succeeded()
    assert breaker.admits()
