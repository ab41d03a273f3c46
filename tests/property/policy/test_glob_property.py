"""The compiled pattern agrees with a plain reading of Go's rules, for every pattern and text."""

from functools import cache
from typing import NamedTuple

from hypothesis import example, given, settings
from hypothesis import strategies as st

from cordum.core.policy.glob import BadGlobError, compile_glob

ALPHABET = "ab./*?[]^-\\"


class BadPattern(Exception):
    pass


class Element(NamedTuple):
    kind: str
    char: str = ""
    negated: bool = False
    ranges: tuple[tuple[str, str], ...] = ()


def go_match(pattern: str, text: str) -> bool:
    """path.Match, written from its documentation: elements one by one, a star tried at every length."""
    elements = parse(pattern)

    @cache
    def matches(element: int, at: int) -> bool:
        if element == len(elements):
            return at == len(text)
        kind, wanted, negated, ranges = elements[element]
        if kind == "star":
            end = at
            while True:
                if matches(element + 1, end):
                    return True
                if end == len(text) or text[end] == "/":
                    return False
                end += 1
        if at == len(text):
            return False
        char = text[at]
        if kind == "any":
            ok = char != "/"
        elif kind == "char":
            ok = char == wanted
        else:
            ok = any(low <= char <= high for low, high in ranges) != negated
        return ok and matches(element + 1, at + 1)

    return matches(0, 0)


def parse(pattern: str) -> list[Element]:
    rest = list(pattern)
    elements: list[Element] = []

    def take_escaped() -> str:
        if not rest:
            raise BadPattern
        char = rest.pop(0)
        if char == "\\":
            if not rest:
                raise BadPattern
            char = rest.pop(0)
        return char

    def class_member() -> str:
        if not rest or rest[0] in "-]":
            raise BadPattern
        member = take_escaped()
        if not rest:
            raise BadPattern
        return member

    while rest:
        if rest[0] == "*":
            rest.pop(0)
            elements.append(Element("star"))
        elif rest[0] == "?":
            rest.pop(0)
            elements.append(Element("any"))
        elif rest[0] == "[":
            rest.pop(0)
            negated = bool(rest) and rest[0] == "^"
            if negated:
                rest.pop(0)
            ranges: list[tuple[str, str]] = []
            while not (ranges and rest and rest[0] == "]"):
                low = high = class_member()
                if rest[0] == "-":
                    rest.pop(0)
                    high = class_member()
                ranges.append((low, high))
            rest.pop(0)
            elements.append(Element("class", negated=negated, ranges=tuple(ranges)))
        else:
            elements.append(Element("char", take_escaped()))
    return elements


@settings(max_examples=2000)
@given(pattern=st.text(ALPHABET, max_size=12), text=st.text("ab./-]", max_size=12))
@example("*[a]*[b]*", "xaxbx")
@example("a*/b*", "aa/bb")
@example("*a?*", "aab")
@example("[a-b]*.", "ab.")
def test_agrees_with_a_plain_reading(pattern: str, text: str) -> None:
    try:
        glob = compile_glob(pattern)
    except BadGlobError as error:
        if "between two stars" not in error.message:
            try:
                parse(pattern)
            except BadPattern:
                return
            raise AssertionError(f"{pattern!r} is a good pattern") from error
        return
    expected = go_match(pattern, text)
    assert glob.matches(text) is expected
    if expected:
        assert text.startswith(glob.prefix)
    if glob.literal:
        assert expected is (text == glob.prefix)
