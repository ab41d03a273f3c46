"""Where a key lives in a cluster."""

import pytest

from cordum.store.cluster import SLOTS, key_slot
from cordum.store.errors import NotRunError, StoreReplyError
from cordum.store.link import AskError, MovedError, UnknownScriptError, key_of, refusal


@pytest.mark.parametrize(
    ("key", "slot"),
    [
        ("123456789", 0x31C3),  # the reference value of the cluster specification
        ("", 0),
        ("foo", 12182),
        ("{user1000}.following", 3443),
        ("{user1000}.followers", 3443),
        ("foo{}{bar}", 8363),  # an empty tag does not count
        (b"foo", 12182),
    ],
)
def test_slots_are_those_of_the_cluster_specification(key: str | bytes, slot: int) -> None:
    assert key_slot(key) == slot % SLOTS


def test_the_tag_is_what_stands_in_the_first_braces() -> None:
    assert key_slot("foo{{bar}}zap") == key_slot("{bar")
    assert key_slot("foo{bar}{zap}") == key_slot("bar")


def test_the_key_of_a_command_is_found() -> None:
    assert key_of(("GET", "k")) == "k"
    assert key_of(("EVALSHA", "sha", 1, "k", "arg")) == "k"
    assert key_of(("PING",)) == ""


@pytest.mark.parametrize(
    ("reply", "kind", "message"),
    [
        ("MOVED 3999 127.0.0.1:6381", MovedError, "3999 127.0.0.1:6381"),
        ("ASK 3999 127.0.0.1:6381", AskError, "3999 127.0.0.1:6381"),
        ("NOSCRIPT No matching script.", UnknownScriptError, "NOSCRIPT No matching script."),
        ("LOADING Redis is loading", NotRunError, "LOADING Redis is loading"),
        ("WRONGTYPE Operation", StoreReplyError, "WRONGTYPE Operation"),
    ],
)
def test_refusals_say_whether_the_command_may_be_sent_again(reply: str, kind: type, message: str) -> None:
    error = refusal(reply)
    assert type(error) is kind
    assert error.message == message
