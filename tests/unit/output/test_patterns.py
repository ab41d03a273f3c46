"""Which patterns an operator may write (spec-safety section 10, Regex; W6)."""

import pytest

from cordum.core.output.patterns import BadPatternError, compile_pattern


@pytest.mark.parametrize(
    "text",
    [
        "AKIA[0-9A-Z]{16}",
        "a|b|c|d|e|f",
        r"[|||||||]",
        r"\|\|\|\|\|\|\|",
        "(?i)geheim(?:nis)?",
        "ключ-[0-9]+",
        "(?:ab+c)?d",
        "(?:ab+c){2,5}",
        r"[^]a+]+",
        r"[[:alpha:]+]*x",
        "x" * 256,
    ],
)
def test_good_patterns_compile(text: str) -> None:
    assert compile_pattern(text).text == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("x" * 257, "257 characters; at most 256"),
        ("a|b|c|d|e|f|g", "6 alternatives"),
        ("(a+)+", "repeats inside"),
        ("(?:x(a*)y){2,}", "repeats inside"),
        ("((a{3,}))*", "repeats inside"),
        ("(", "missing"),
        ("[a", "missing"),
        ("a{1001}", "repetition"),
        (r"(a)\1", "invalid escape"),
        ("(?=a)b", "lookahead is not supported"),
        ("(?<!a)b", "lookbehind|invalid"),
        (r"\Qa.b\E", "not supported"),
        ("a*", "matches the empty text"),
        ("a?|b", "matches the empty text"),
        ("(?:.{100}){10}", "too large"),
        ("\ud800", "not valid Unicode"),
    ],
)
def test_bad_patterns_are_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(BadPatternError, match=why):
        compile_pattern(text)
