"""Redaction: ranges in bytes, merged, valid UTF-8, all of it when there is no place (spec-safety section 10)."""

import json

import pytest

from cordum.core.output.finding import Finding, Severity
from cordum.core.output.redaction import redact, redact_ranges


@pytest.mark.parametrize(
    ("content", "ranges", "redacted"),
    [
        ("abcdef", [(1, 3)], "a[REDACTED]def"),
        ("abcdef", [(0, 6)], "[REDACTED]"),
        ("abcdef", [(1, 3), (2, 5)], "a[REDACTED]f"),
        ("abcdef", [(3, 5), (1, 3)], "a[REDACTED]f"),
        ("abcdef", [(0, 1), (5, 6)], "[REDACTED]bcde[REDACTED]"),
        ("abcdef", [(4, 99)], "abcd[REDACTED]"),
        ("abcdef", [(-5, 2)], "[REDACTED]cdef"),
        ("abcdef", [], "[REDACTED]"),
        ("abcdef", [(2, 2), (9, 12), (5, 3)], "[REDACTED]"),
        ("aüb", [(2, 3)], "a[REDACTED]b"),
        ("a€b", [(2, 3)], "a[REDACTED]b"),
        ("", [(0, 1)], "[REDACTED]"),
    ],
)
def test_ranges_are_replaced(content: str, ranges: list[tuple[int, int]], redacted: str) -> None:
    assert redact_ranges(content.encode(), ranges).decode() == redacted


def test_what_was_no_utf8_is_afterwards() -> None:
    assert redact_ranges(b"\xffab\x80", [(1, 4)]).decode() == "\ufffd[REDACTED]"


def test_findings_without_a_place_take_everything() -> None:
    nowhere = Finding(type="x", severity=Severity.HIGH, detail="x")
    somewhere = Finding(type="x", severity=Severity.HIGH, detail="x", offset=2, length=2)

    assert redact(b"abcdef", [nowhere]) == b"[REDACTED]"
    assert redact(b"abcdef", [nowhere, somewhere]) == b"ab[REDACTED]ef"


@pytest.mark.parametrize(
    ("content", "found", "redacted"),
    [
        ('{"card": 4111111111111111}', ["4111111111111111"], '{"card": "[REDACTED]"}'),
        ('{"card": -4.5e3, "b": true}', ["4.5", "tru"], '{"card": "[REDACTED]", "b": "[REDACTED]"}'),
        ('{"token": "abc", "x": 1}', ['token": "abc'], '{"[REDACTED]": "[REDACTED]", "x": 1}'),
        ('["a@b.co and c@d.org"]', ["a@b.co", "c@d.org"], '["[REDACTED] and [REDACTED]"]'),
        (r'["say \"hi\" now"]', ['"hi'], r'["say [REDACTED]\" now"]'),
        (r'["x\u00e9y"]', ["00e9y"], '["x[REDACTED]"]'),
        (r'["x\ud83d\ude00y"]', ["de00"], '["x[REDACTED]y"]'),
        ('[" \\\\", "secret"]', ["secret"], '[" \\\\", "[REDACTED]"]'),
        ('{"a": 1234567, "b": 2}', ["12", "67"], '{"a": "[REDACTED]", "b": 2}'),
        (' [1, "ü"] ', ["ü"], ' [1, "[REDACTED]"] '),
    ],
)
def test_json_stays_json(content: str, found: list[str], redacted: str) -> None:
    data = content.encode()
    ranges = [(data.index(text.encode()), data.index(text.encode()) + len(text.encode())) for text in found]

    result = redact_ranges(data, ranges).decode()

    assert result == redacted
    json.loads(result)


@pytest.mark.parametrize("content", ['{"a": 1', "[1, 2]]", '{"a": }'])
def test_what_only_looks_like_json_is_text(content: str) -> None:
    assert redact_ranges(content.encode(), [(1, 3)]).decode() == content[:1] + "[REDACTED]" + content[3:]


def test_a_place_between_values_is_replaced_all_the_same() -> None:
    assert redact_ranges(b"[1, 2]", [(2, 4)]) == b"[1[REDACTED]2]"
