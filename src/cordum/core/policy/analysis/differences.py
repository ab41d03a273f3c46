"""What a change of policy changes: kinds of requests that are decided differently, each with an example.

The rules' conditions are finite lists, labels and topic patterns, so the requests that two policies can tell apart fall
into finitely many kinds. For every pair of rules, one of the policy before and one of that after, that decide
differently, a request is looked for that the first decides before and the second after. What conditions cannot be read
that way (content, counts, delegation) is only sampled, and the search is bounded; `complete` says whether it ran to its
end with nothing sampled.
"""

from enum import StrEnum

import msgspec

from cordum.core.output.scanners import SCANNERS, ScannerSet
from cordum.core.policy.analysis.changes import Question, questions
from cordum.core.policy.analysis.region import Body
from cordum.core.policy.analysis.search import Search
from cordum.core.policy.analysis.subject import Subject
from cordum.core.policy.analysis.topics import TooHardError
from cordum.core.policy.document import PolicyDocument
from cordum.core.policy.outcome import Outcome

DEFAULT_LIMIT = 50
MOST_STEPS = 200_000
"""Regions looked at for one comparison, all questions together: a second or two."""
_STEPS_A_QUESTION = 4_000
_MOST_TRIES = 64
"""Requests tried for one question before it counts as open."""


class Direction(StrEnum):
    """Which way a decision goes: milder, stricter, or the same decision under other terms."""

    RELAXED = "relaxed"
    ESCALATED = "escalated"
    TERMS = "terms"


_ORDER = {direction: rank for rank, direction in enumerate(Direction)}


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Requests like this one are decided differently."""

    request: Body
    before: Outcome
    after: Outcome
    direction: Direction


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """`complete`: no kind of request was left out. False does not mean that there are more differences."""

    differences: tuple[Difference, ...]
    complete: bool


def differences(before: PolicyDocument, after: PolicyDocument, limit: int = DEFAULT_LIMIT) -> tuple[Difference, ...]:
    """At most `limit` differences, the relaxed ones first: what may run now and might not before matters most."""
    return compare(before, after, limit).differences


def compare(
    before: PolicyDocument,
    after: PolicyDocument,
    limit: int = DEFAULT_LIMIT,
    steps: int = MOST_STEPS,
    *,
    scanners: ScannerSet = SCANNERS,
) -> Comparison:
    """As `differences`, with a word on whether that is all.

    Args:
        steps: bounds the work (about 10 microseconds each).
        scanners: those the documents were parsed with.
    """
    return _Comparing(Subject(before, scanners), Subject(after, scanners), limit, steps).run()


class _Comparing:
    """One comparison in progress."""

    def __init__(self, before: Subject, after: Subject, limit: int, steps: int) -> None:
        self._before, self._after = before, after
        self._limit = limit
        self._steps = steps
        self._complete = True
        self._found: dict[tuple[str, ...], Difference] = {}

    def run(self) -> Comparison:
        for question in questions(self._before, self._after):
            if len(self._found) >= self._limit or self._steps <= 0:
                self._complete = False
                break
            self._complete &= question.exact
            self._ask(question)
        ordered = sorted(self._found.values(), key=lambda difference: _ORDER[difference.direction])
        return Comparison(differences=tuple(ordered), complete=self._complete)

    def _ask(self, question: Question) -> None:
        """Looks for a request of this kind, and notes it when the two policies answer it differently."""
        search = Search(question.inside, question.outside, min(_STEPS_A_QUESTION, self._steps))
        try:
            for tries, region in enumerate(search.regions(), start=1):
                if self._note({**self._before.request(region), **question.extra}):
                    break
                if tries >= _MOST_TRIES:
                    self._complete = False
                    break
        except TooHardError:
            self._complete = False
        self._steps -= search.used

    def _note(self, body: Body) -> bool:
        before, after = self._before.outcome(body), self._after.outcome(body)
        direction = _direction(before, after)
        if direction is None:
            return False
        kind = (before.rule_id, before.decision, after.rule_id, after.decision, direction)
        self._found.setdefault(kind, Difference(request=body, before=before, after=after, direction=direction))
        return True


def _direction(before: Outcome, after: Outcome) -> Direction | None:
    if before.decision is not after.decision:
        stricter = after.decision.severity > before.decision.severity
        return Direction.ESCALATED if stricter else Direction.RELAXED
    return None if _terms(before) == _terms(after) else Direction.TERMS


def _terms(outcome: Outcome) -> tuple[object, ...]:
    return outcome.constraints, outcome.approval, outcome.retry_after_ms
