"""Sorting dead letters by why they are there: the groups of the runbook (guide section 11, "DLQ Overflow")."""

from collections.abc import Iterable
from typing import Final

import msgspec

ADVICE: Final = {
    "timeout: dispatched exceeded": "Workers do not pick jobs up: look at the pool's health and at topic routing",
    "timeout: running exceeded": "Workers hang: read their logs; raise the timeout where jobs really take so long",
    "safety: denied": "Policy stops these jobs: read the rules that did",
    "output_quarantined": "The output policy holds these results: review them, then release or confirm",
    "max retries exceeded": "They fail again and again: read the workers' errors before they are retried",
}
"""What a reason of the runbook begins with, and what to do about it."""

OTHER: Final = "other"


def group_of(reason: str, code: str) -> str:
    """The group of a dead letter: the runbook's text its reason begins with, else its code, else `other`."""
    for text in ADVICE:
        if reason.startswith(text):
            return text
    return code or OTHER


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """The dead letters of one group.

    Attributes:
        reason: the group; a filter by it gives these letters.
        codes: their codes, the most frequent first.
        topics: their topics and how many each has, the most frequent first, at most `TOPICS_SHOWN`.
        oldest: RFC 3339, like `newest`.
        advice: what the runbook says, "" when it says nothing.
    """

    reason: str
    count: int
    codes: tuple[str, ...]
    topics: dict[str, int]
    oldest: str
    newest: str
    advice: str


TOPICS_SHOWN: Final = 5


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """What sorting looks at; `created_at` is RFC 3339 and all of one form, so that they compare as text."""

    reason: str
    code: str
    topic: str
    created_at: str


def groups(letters: Iterable[Letter]) -> list[Group]:
    """Sorts letters into groups, the largest first."""
    sorted_into: dict[str, list[Letter]] = {}
    for letter in letters:
        sorted_into.setdefault(group_of(letter.reason, letter.code), []).append(letter)
    found = [_group(name, members) for name, members in sorted_into.items()]
    return sorted(found, key=lambda group: (-group.count, group.reason))


def _group(name: str, members: list[Letter]) -> Group:
    times = [member.created_at for member in members]
    return Group(
        reason=name,
        count=len(members),
        codes=tuple(_frequent(member.code for member in members)),
        topics=dict(list(_frequent(member.topic for member in members).items())[:TOPICS_SHOWN]),
        oldest=min(times),
        newest=max(times),
        advice=ADVICE.get(name, ""),
    )


def _frequent(words: Iterable[str]) -> dict[str, int]:
    """How often each word comes, the most frequent first."""
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
