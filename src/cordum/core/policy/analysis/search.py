"""Is there a request that these rules match and those do not? A bounded search over regions."""

from collections.abc import Iterator, Sequence

from cordum.core.policy.analysis.conditions import Condition
from cordum.core.policy.analysis.region import EVERYTHING, Region
from cordum.core.policy.analysis.topics import TooHardError

MOST_STEPS = 4_000
"""Regions one search looks at."""

Conditions = tuple[Condition, ...]


class Search:
    """One question. `regions` gives those in which every one of `inside` holds and none of `outside`.

    When the bound is reached, TooHardError is raised: an end without it means that there are no more.
    """

    def __init__(self, inside: Sequence[Conditions], outside: Sequence[Conditions], steps: int = MOST_STEPS) -> None:
        self._wanted = [condition for conditions in inside for condition in conditions]
        self._outside = sorted(outside, key=len)
        self._allowed = steps
        self.used = 0

    def regions(self) -> Iterator[Region]:
        for region in self._holding(EVERYTHING, 0):
            yield from self._failing(region, 0)

    def first(self) -> Region | None:
        return next(self.regions(), None)

    def _holding(self, region: Region, at: int) -> Iterator[Region]:
        if at == len(self._wanted):
            yield region
            return
        for narrow in self._wanted[at].holds:
            self._count()
            left = narrow(region)
            if left is not None:
                yield from self._holding(left, at + 1)

    def _failing(self, region: Region, at: int) -> Iterator[Region]:
        # A rule that cannot match here asks nothing; skipping it keeps the search narrow.
        while at < len(self._outside) and not self._may_match(region, self._outside[at]):
            at += 1
        if at == len(self._outside):
            yield region
            return
        for condition in self._outside[at]:
            for narrow in condition.fails:
                self._count()
                left = narrow(region)
                if left is not None:
                    yield from self._failing(left, at + 1)

    def _may_match(self, region: Region, conditions: Conditions) -> bool:
        for condition in conditions:
            self._count()
            if not any(narrow(region) is not None for narrow in condition.holds):
                return False
        return True

    def _count(self) -> None:
        self.used += 1
        if self.used > self._allowed:
            raise TooHardError()
