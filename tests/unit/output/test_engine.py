"""A content test: all groups, keywords, places in bytes, limits, any size (vectors O3, O4, 13; W15, W17)."""

import hashlib

import pytest

from cordum.core.output.engine import ContentTest, Subject
from cordum.core.output.finding import Severity
from cordum.core.output.patterns import BadPatternError
from cordum.core.output.probes import OVERLAP, REPORT, WINDOW, ScanTimeoutError, never

AWS = b"AKIAABCDEFGHIJKLMNOP"
KEY_ID = "AKIA[0-9A-Z]{16}"


@pytest.mark.parametrize(("content", "matches"), [(AWS, True), (b"clean text", False), (b"", False)])
def test_a_pattern_without_a_hit_is_no_match(content: bytes, matches: bool) -> None:
    assert (ContentTest.compile([KEY_ID]).find(content) is not None) is matches


def test_every_group_must_find_something() -> None:
    test = ContentTest.compile(["ticket-[0-9]+"], ["urgent"], ["secret"])

    assert test.find(b"URGENT ticket-7 " + AWS) is not None
    assert test.find(b"URGENT ticket-7") is None
    assert test.find(b"URGENT " + AWS) is None
    assert test.find(b"ticket-7 " + AWS) is None


def test_one_of_a_group_is_enough() -> None:
    assert ContentTest.compile(["a1", "b2"]).find(b"b2") is not None
    assert ContentTest.compile(keywords=["alpha", "beta"]).find(b"the beta") is not None
    assert ContentTest.compile(scanners=["secret", "pii"]).find(b"a@b.co") is not None


def test_a_test_that_asks_nothing_always_matches() -> None:
    assert ContentTest.compile().find(b"") == ()
    assert ContentTest.compile().is_empty


@pytest.mark.parametrize(
    ("keyword", "content"),
    [
        ("execute=true", "Execute=TRUE"),
        ("bomb", "a bombshell"),
        ("Straße", "STRAßE"),
        ("ÉCOLE", "école"),
        ("КЛЮЧ", "мой ключ"),
        ("a.b*c", "A.B*C"),
        ("two  words", "TWO  WORDS"),
    ],
)
def test_a_keyword_is_found_in_any_case(keyword: str, content: str) -> None:
    (finding,) = ContentTest.compile(keywords=[keyword]).find(content.encode()) or ()

    assert finding.detail == f"keyword matched: {keyword}"
    assert (finding.type, finding.scanner, finding.confidence) == ("keyword_match", "keyword", 1.0)


def test_a_keyword_is_no_pattern() -> None:
    assert ContentTest.compile(keywords=["a.b"]).find(b"axb") is None


@pytest.mark.parametrize("keyword", ["", "   ", "x" * 513])
def test_a_keyword_that_is_none_is_refused(keyword: str) -> None:
    with pytest.raises(BadPatternError):
        ContentTest.compile(keywords=[keyword])


def test_thousands_of_keywords_are_looked_for() -> None:
    test = ContentTest.compile(keywords=[f"word-{number:04}x" for number in range(3000)])

    assert test.find(b"nothing of the kind") is None
    assert [finding.detail for finding in test.find(b"a WORD-2999X") or ()] == ["keyword matched: word-2999x"]


def test_places_count_bytes_not_characters() -> None:
    (finding,) = ContentTest.compile([KEY_ID]).find("schlüssel → ".encode() + AWS) or ()

    assert (finding.offset, finding.length) == (len("schlüssel → ".encode()), 20)


def test_a_finding_never_holds_what_was_found() -> None:
    (finding,) = ContentTest.compile([KEY_ID], severity=Severity.LOW).find(AWS) or ()

    assert finding.matched == "AKIA**************** (20 bytes)"
    assert finding.digest == hashlib.sha256(AWS).hexdigest()
    assert finding.severity is Severity.LOW


def test_personal_data_has_no_digest_for_it_could_be_guessed() -> None:
    (finding,) = ContentTest.compile(scanners=["pii"]).find(b"536-22-1234") or ()

    assert (finding.matched, finding.digest) == ("*" * 11, "")


def test_a_report_names_ten_of_a_pattern_and_redaction_knows_all() -> None:
    test = ContentTest.compile(scanners=["pii"])
    content = b" ".join(b"user%d@example.com" % number for number in range(500))

    assert len(test.find(content) or ()) == 10
    assert len(test.ranges(content) or ()) == 500


def test_a_report_names_32_of_a_scanner() -> None:
    test = ContentTest.compile([f"w{number}[a-z]" for number in range(10)])
    content = b" ".join(b"w%da" % (number % 10) for number in range(200))

    assert len(test.find(content) or ()) == REPORT.total


def test_too_many_places_are_not_counted() -> None:
    assert ContentTest.compile(["xy"]).ranges(b"xy" * 30_000) is None


@pytest.mark.parametrize("seam", [WINDOW, 2 * WINDOW, WINDOW + OVERLAP])
@pytest.mark.parametrize("shift", [0, 1, 7, 19, 20, 21])
def test_a_secret_across_a_seam_is_found_once(seam: int, shift: int) -> None:
    content = b"." * (seam - shift) + AWS + b"." * 1000

    findings = ContentTest.compile(scanners=["secret"]).find(content) or ()

    assert [(finding.offset, finding.length) for finding in findings] == [(seam - shift, 20)]


def test_words_and_ends_are_seen_across_a_seam() -> None:
    content = b"x" * (WINDOW - 3) + b"foobar" + b" " * WINDOW

    assert ContentTest.compile([r"\bfoo"]).find(content) is None
    assert ContentTest.compile([r"bar\b"]).find(content) is not None
    assert ContentTest.compile(["foo$"]).find(b" " * (WINDOW + OVERLAP - 3) + b"foo" + b" " * 10) is None


def test_a_match_longer_than_a_window_is_followed_to_its_end() -> None:
    content = b"key:" + b"A" * (3 * WINDOW) + b" " + AWS

    findings = ContentTest.compile(["key:[A-Z]+", KEY_ID]).find(content) or ()

    assert [(finding.offset, finding.length) for finding in findings] == [(0, 4 + 3 * WINDOW), (5 + 3 * WINDOW, 20)]


@pytest.mark.parametrize("place", [0, 5 * 1024 * 1024, 12 * 1024 * 1024 - 20])
def test_nothing_is_too_far_in_to_be_seen(place: int) -> None:
    content = bytearray(b"lorem ipsum " * (1024 * 1024))
    content[place : place + 20] = AWS

    (finding,) = ContentTest.compile(scanners=["secret"]).find(bytes(content)) or ()

    assert finding.offset == place


def test_stray_bytes_hide_nothing_and_move_nothing() -> None:
    content = b"\xff\xfe " + AWS + b"\xe2\x82 password = 'abc\xffdefgh'"

    findings = ContentTest.compile(scanners=["secret"]).find(content) or ()

    assert [finding.offset for finding in findings] == [3, 26]


def test_when_time_is_up_there_is_no_answer() -> None:
    with pytest.raises(ScanTimeoutError):
        ContentTest.compile(scanners=["secret"]).find(AWS, lambda: True)


def test_time_is_looked_at_often_enough() -> None:
    looks = 0

    def expired() -> bool:
        nonlocal looks
        looks += 1
        return False

    ContentTest.compile(scanners=["secret"]).find(b"." * (20 * WINDOW), expired)

    assert looks >= 20


def test_a_subject_is_scanned_once_for_many_rules() -> None:
    looks = 0

    def expired() -> bool:
        nonlocal looks
        looks += 1
        return False

    subject = Subject(b"x" * WINDOW)
    ContentTest.compile(scanners=["secret"]).find(subject, expired)
    first = looks
    ContentTest.compile(scanners=["secret"]).find(subject, expired)

    assert first > 0
    assert looks == first
    assert not never()
