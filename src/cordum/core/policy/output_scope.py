"""Which results the output rules of a policy could say anything about (spec-safety section 10).

A scheduler holds back and sends to the kernel only what a rule may touch. Whether one does touch it, the rules decide;
here only the topic counts, and what is not sure is in.
"""

from collections.abc import Callable
from functools import lru_cache

import msgspec

from cordum.core.policy.document import PolicyDocument
from cordum.core.policy.glob import BadGlobError, compile_glob


class OutputScope(msgspec.Struct, frozen=True):
    """Topics whose results may be touched: all of them, or those that match a glob."""

    everything: bool = False
    topics: tuple[str, ...] = ()


NOTHING = OutputScope()
EVERYTHING = OutputScope(everything=True)


def scope_of(document: PolicyDocument) -> OutputScope:
    """The scope of a policy's output rules; nothing when the policy has none that are in force."""
    settings = document.output_policy
    if settings is not None and settings.enabled is False:
        return NOTHING
    rules = [rule for rule in document.output_rules if rule.enabled]
    if any(not rule.match.topics for rule in rules):
        return EVERYTHING
    return OutputScope(topics=tuple(sorted({topic for rule in rules for topic in rule.match.topics})))


def covers(scope: OutputScope, topic: str) -> bool:
    """Whether the result of a job on this topic may be touched."""
    return scope.everything or any(_matches(glob)(topic) for glob in scope.topics)


@lru_cache(maxsize=4096)
def _matches(glob: str) -> Callable[[str], bool]:
    try:
        return compile_glob(glob).matches
    except BadGlobError:
        return _any


def _any(topic: str) -> bool:
    return True
