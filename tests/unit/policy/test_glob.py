"""Go's path.Match, by example; tests/property/policy has the general statement."""

import time

import pytest

from cordum.core.policy.glob import BadGlobError, compile_glob


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("job.*", "job.a.b.c", True),
        ("job.*", "job.", True),
        ("job.*", "job.a/b", False),
        ("job.*", "xjob.a", False),
        ("JOB.*", "job.a", False),
        ("abc", "abc", True),
        ("abc", "abcd", False),
        ("*c", "abc", True),
        ("a*b*c", "axxbyyc", True),
        ("a*b*c", "axxbyy", False),
        ("a*/b", "axx/b", True),
        ("a*/b", "a/x/b", False),
        ("a**b", "axyb", True),
        ("ab[c]", "abc", True),
        ("ab[b-d]", "abc", True),
        ("ab[e-g]", "abc", False),
        ("ab[^c]", "abc", False),
        ("ab[!c]", "ab!", True),
        ("ab[!c]", "abd", False),
        ("[^a]", "/", True),
        ("a?b", "a/b", False),
        ("a\\*b", "a*b", True),
        ("a\\*b", "axb", False),
        ("[\\]a]", "]", True),
        ("[a\\-z]", "-", True),
        ("[z-a]", "m", False),
        ("[^z-a]", "m", True),
        ("a.b", "axb", False),
        ("a\nb*", "a\nbc\nd", True),
        ("*x*", "\nx\n", True),
        ("ü?", "üß", True),
        ("", "", True),
        ("", "a", False),
        ("*", "", True),
    ],
)
def test_matches(pattern: str, text: str, expected: bool) -> None:
    assert compile_glob(pattern).matches(text) is expected


@pytest.mark.parametrize(
    "pattern", ["[", "[]", "[]a]", "[^", "[^]", "[a", "[a-", "[a-]", "[-a]", "a\\", "[\\", "[a-\\"]
)
def test_bad_patterns(pattern: str) -> None:
    with pytest.raises(BadGlobError):
        compile_glob(pattern)


def test_a_class_between_stars_must_leave_the_slash_alone() -> None:
    with pytest.raises(BadGlobError, match=r"\[\^a/\] for \[\^a\]"):
        compile_glob("*[^a]*")
    assert compile_glob("*[^a/]*").matches("ab")


def test_too_long() -> None:
    with pytest.raises(BadGlobError):
        compile_glob("a" * 513)


@pytest.mark.parametrize(
    ("pattern", "prefix", "literal"),
    [("job.a", "job.a", True), ("job.a*", "job.a", False), ("job\\.[a]", "job.", False), ("*", "", False)],
)
def test_what_the_index_needs_to_know(pattern: str, prefix: str, literal: bool) -> None:
    glob = compile_glob(pattern)
    assert (glob.prefix, glob.literal) == (prefix, literal)


def test_no_topic_makes_a_pattern_slow() -> None:
    glob = compile_glob("*a" * 40 + "b")
    started = time.perf_counter()
    assert not glob.matches("a" * 20_000)
    assert time.perf_counter() - started < 1.0
