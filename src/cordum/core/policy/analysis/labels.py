"""What rules ask of one label, and a value that answers all of it (or the knowledge that none can).

Every question sorts values into finitely many kinds: equal to a text or not, folded into a list or not, beyond a number
or not, a word for "true" or not. So a value is found, or there is none, by trying one of each kind, written in enough
ways (`5`, `5.0`, `5.00`) that no list of exclusions can hold them all.
"""

import math
from collections.abc import Iterable, Iterator

import msgspec

from cordum.core.policy.matchers import exceeds
from cordum.core.policy.request import fold, policy_request

SECRETS_LABEL = "secrets_present"
_YES = ("true", "1", "yes")


class Equals(msgspec.Struct, frozen=True, tag=True):
    """There, and exactly this text."""

    value: str
    wanted: bool

    def holds(self, value: str | None) -> bool:
        return (value == self.value) is self.wanted


class Listed(msgspec.Struct, frozen=True, tag=True):
    """`inside`: absent, or in the list when folded; else there, and not in it."""

    values: frozenset[str]
    inside: bool

    def holds(self, value: str | None) -> bool:
        return (value is None or fold(value) in self.values) is self.inside


class Beyond(msgspec.Struct, frozen=True, tag=True):
    """There, and a number greater than the limit."""

    limit: float
    wanted: bool

    def holds(self, value: str | None) -> bool:
        return (value is not None and exceeds(value, self.limit)) is self.wanted


class Says(msgspec.Struct, frozen=True, tag=True):
    """About `secrets_present`: there, and `yes`, a word for true, or else something that is none."""

    yes: bool

    def holds(self, value: str | None) -> bool:
        return _said(value) is self.yes


class Silent(msgspec.Struct, frozen=True, tag=True):
    """About `secrets_present`: it says nothing, so that the risk tags decide."""

    def holds(self, value: str | None) -> bool:
        return _said(value) is None


Question = Equals | Listed | Beyond | Says | Silent


def _said(value: str | None) -> bool | None:
    """What a request with this label says of secrets; None when its risk tags would have to say it."""
    labels = {} if value is None else {SECRETS_LABEL: value}
    without = policy_request("", labels=labels).secrets_present
    tagged = policy_request("", labels=labels, risk_tags=["secrets"]).secrets_present
    return without if without is tagged else None


def answer(questions: Iterable[Question]) -> tuple[bool, str | None]:
    """Whether some value satisfies all questions, and one that does: None stands for an absent label."""
    asked = tuple(questions)
    for value in _kinds(asked):
        if all(question.holds(value) for question in asked):
            return True, value
    return False, None


def _kinds(asked: tuple[Question, ...]) -> Iterator[str | None]:
    yield None
    exact = [question.value for question in asked if isinstance(question, Equals)]
    yield from exact
    listed = sorted({value for question in asked if isinstance(question, Listed) for value in question.values})
    limits = sorted({question.limit for question in asked if isinstance(question, Beyond)})
    words = _YES if any(isinstance(question, Says) for question in asked) else ()
    # One way of writing more than can be excluded.
    ways = len(asked) + len(listed) + 1
    for text in ("", *listed, *words):
        for blanks in range(ways):
            yield text + " " * blanks
        # Too long to be an honest number counts as beyond every limit.
        yield text + " " * 600
    for number in _numbers(limits):
        for zeros in range(ways):
            yield f"{'-' if number < 0 else ''}{'0' * zeros}{_written(abs(number))}"
    for blanks in range(ways):
        yield "NaN" + " " * blanks
    for count in range(1, ways + 1):
        yield "other" if count == 1 else f"other-{count}"
    yield "other" + "-" * 600


def _numbers(limits: list[float]) -> Iterator[float]:
    for limit in limits:
        yield limit + 1 if math.isfinite(limit + 1) and limit + 1 > limit else math.nextafter(limit, math.inf)
        yield math.nextafter(limit, math.inf)
        yield limit


def _written(number: float) -> str:
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)
