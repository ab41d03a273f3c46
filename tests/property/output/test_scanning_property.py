"""Redaction leaves nothing behind, places are right, and how a text is cut into windows changes nothing."""

import json
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from cordum.core.output.engine import ContentTest, Subject
from cordum.core.output.finding import Finding, Severity
from cordum.core.output.json_places import json_places
from cordum.core.output.patterns import BadPatternError, compile_pattern, compile_trusted
from cordum.core.output.probes import ALL, Probe, Probes, never
from cordum.core.output.redaction import REPLACEMENT, _merged, redact, redact_ranges

SECRETS = (
    b"AKIAABCDEFGHIJKLMNOP",
    b"a.b@example.com",
    b"4111 1111 1111 1111",
    b"536-22-1234",
    b"token = 'abcdefgh12'",
    b"212-555-2368",
)
NOISE = st.one_of(
    st.sampled_from([b" ", b"\n", b"x", b"7", b"- ", b'{"a": 1}', "ü€😀".encode(), b"\xff", b"'", b"@", b"AKIA"]),
    st.text(max_size=8).map(str.encode),
    st.binary(max_size=4),
)
TEXTS = st.lists(st.one_of(NOISE, st.sampled_from(SECRETS)), max_size=30).map(b" ".join)
EVERYTHING = ContentTest.compile(scanners=["secret", "pii"])


def probe(pattern: str) -> Probe:
    return Probe(
        scanner="s",
        type="t",
        detail=pattern,
        severity=Severity.HIGH,
        confidence=1.0,
        source=pattern,
        regexp=compile_trusted(pattern),
    )


@given(TEXTS)
def test_every_planted_secret_is_found_where_it_stands(content: bytes) -> None:
    ranges = EVERYTHING.ranges(content) or ()

    for secret in SECRETS[:1]:
        for place in (found.start() for found in re.finditer(re.escape(secret), content)):
            assert any(start <= place and end >= place + len(secret) for start, end in ranges)


def either(content: bytes, scanner: str) -> tuple[Finding, ...]:
    return ContentTest.compile(scanners=[scanner]).find(content) or ()


@given(TEXTS)
def test_places_are_within_the_text_and_what_stands_there_is_found_alone(content: bytes) -> None:
    for finding in (*either(content, "secret"), *either(content, "pii")):
        match = content[finding.offset : finding.offset + finding.length]
        assert len(match) == finding.length > 0
        assert either(match, finding.scanner)
        assert match.decode(errors="replace") not in finding.matched


@given(TEXTS)
def test_redacted_text_is_utf8_and_holds_nothing_that_was_found(content: bytes) -> None:
    for scanner in ("secret", "pii"):
        test = ContentTest.compile(scanners=[scanner])
        ranges = test.ranges(content)
        if not ranges:
            continue
        redacted = redact_ranges(content, ranges)
        assert redacted.decode()
        for start, end in ranges:
            assert content[start:end] not in redacted


@given(st.binary(max_size=60), st.lists(st.tuples(st.integers(-5, 70), st.integers(-5, 70)), max_size=6))
def test_redaction_of_any_ranges_is_utf8(content: bytes, ranges: list[tuple[int, int]]) -> None:
    redacted = redact_ranges(content, ranges)

    assert REPLACEMENT in redacted
    redacted.decode()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(JSON.map(lambda body: [body, "end"]), st.booleans(), st.data())
def test_redacted_json_is_json_without_what_was_found(body: object, ascii_only: bool, data: st.DataObject) -> None:
    content = json.dumps(body, ensure_ascii=ascii_only).encode()
    place = st.integers(0, len(content))
    ranges = data.draw(st.lists(st.tuples(place, place), min_size=1, max_size=4))
    redacted = redact_ranges(content, ranges)

    if json_places(content, _merged(content, ranges), REPLACEMENT) is not None and redacted != REPLACEMENT:
        json.loads(redacted)
    assert REPLACEMENT in redacted


@given(TEXTS, st.integers(1, 64))
@settings(max_examples=200)
def test_the_size_of_windows_changes_nothing(content: bytes, window: int) -> None:
    text = Subject(content)._text
    probes = Probes(
        [probe(r"AKIA[0-9A-Z]{16}"), probe(r"\b\d{3}-\d{2}-\d{4}\b"), probe(r"[a-z.]+@[a-z.]+"), probe("7 x")]
    )

    whole = [(hit.probe.detail, hit.start, hit.end) for hit in probes.hits(text, ALL, never, window=1 << 20)]
    cut = [(hit.probe.detail, hit.start, hit.end) for hit in probes.hits(text, ALL, never, window=window)]

    assert sorted(cut) == sorted(whole)


@given(st.text(alphabet="ab|()[]*+?{},13\\QEdw.^$-x:", max_size=24))
@settings(max_examples=500)
def test_a_pattern_is_refused_or_works_alone_and_beside_others(text: str) -> None:
    try:
        pattern = compile_pattern(text)
    except BadPatternError:
        return
    test = ContentTest.compile([pattern, "AKIA[0-9A-Z]{16}"])
    findings = test.find(b"ab 13 x-: AKIAABCDEFGHIJKLMNOP") or ()
    assert any(finding.detail == "pattern matched: AKIA[0-9A-Z]{16}" for finding in findings) or len(findings) >= 32
    alone = ContentTest.compile([pattern]).find(b"ab 13 x-:")
    both = ContentTest.compile([pattern, "ZZZZ"]).find(b"ab 13 x-:")
    assert (alone is None) == (both is None)


@given(st.binary(max_size=50))
def test_any_bytes_can_be_scanned(content: bytes) -> None:
    EVERYTHING.find(content)
    ContentTest.compile(scanners=["injection", "prompt_injection"]).find(content)
    redact(content, EVERYTHING.find(content) or ())
