"""The book-keeping of pull requests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordum.bus.headers import Headers
from cordum.bus.pulls import Note, Pulls


def status(code: int, description: str = "", pending: int | None = None) -> Headers:
    return Headers(code, description, {} if pending is None else {"Nats-Pending-Messages": str(pending)})


def test_asks_for_a_batch_and_again_when_half_of_it_came() -> None:
    pulls = Pulls(256)
    assert pulls.due(1024) == 256
    assert pulls.due(1024) == 0
    for _ in range(128):
        pulls.received()
    assert pulls.due(1024) == 256


def test_never_asks_for_more_than_there_is_room() -> None:
    pulls = Pulls(256)
    assert pulls.due(10) == 10
    assert pulls.due(10) == 0
    assert Pulls(256).due(0) == 0


@given(st.lists(st.one_of(st.integers(0, 64), st.just("message")), max_size=200))
def test_what_is_asked_for_always_has_room(steps: list[int | str]) -> None:
    pulls = Pulls(16)
    for step in steps:
        if isinstance(step, str):
            pulls.received()
        else:
            before = pulls.outstanding
            asked = pulls.due(step)
            assert 0 <= asked <= 16
            assert asked == 0 or before + asked <= step


@pytest.mark.parametrize(
    ("headers", "note", "outstanding"),
    [
        (status(100, "Idle Heartbeat"), Note.ALIVE, 20),
        (status(408, "Request Timeout", 5), Note.EXPIRED, 15),
        (status(408, "Request Timeout"), Note.EXPIRED, 0),
        (status(408, "Request Timeout", 500), Note.EXPIRED, 0),
        (status(404, "No Messages"), Note.EXPIRED, 0),
        (status(409, "Consumer Deleted", 5), Note.GONE, 0),
        (status(409, "Consumer is push based"), Note.GONE, 0),
        (status(409, "Leadership Change"), Note.MOVED, 0),
        (status(409, "Server Shutdown"), Note.MOVED, 0),
        (status(409, "Message Size Exceeds MaxBytes", 5), Note.REFUSED, 15),
        (status(409, "Exceeded MaxWaiting"), Note.REFUSED, 0),
        (status(400, "Bad Request"), Note.REFUSED, 0),
        (status(503), Note.GONE, 0),
        (status(599, "something new"), Note.REFUSED, 0),
    ],
)
def test_a_status_ends_what_it_says_it_ends(headers: Headers, note: Note, outstanding: int) -> None:
    pulls = Pulls(20)
    pulls.due(1024)
    assert pulls.note(headers) is note
    assert pulls.outstanding == outstanding
