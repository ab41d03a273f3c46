"""Sliding windows of requests, for velocity rules (spec-safety section 4.8).

One sorted set per rule and key, one script per look; any number of looks is one round trip.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from cordum.core.ids import Micros
from cordum.store import keys, scripts
from cordum.store.batch import Batcher
from cordum.store.errors import StoreUnavailableError
from cordum.store.link import Command

_SPARE_S: Final = 60  # seconds a window is kept after its last request has left it


class Window(msgspec.Struct, frozen=True):
    """One window to look at: the rule, what its requests have in common, and how many it lets through."""

    rule_id: str
    key: str
    window_s: int
    max_requests: int


class Look(msgspec.Struct, frozen=True):
    """What a window said: whether this request is one too many, and how many it holds now."""

    exceeded: bool
    count: int


class Velocity:
    """The windows of all rules. Every method raises StoreUnavailableError when Redis does not answer in time."""

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher

    async def count(self, windows: Sequence[Window], member: str, now: Micros) -> list[Look]:
        """Takes a place for `member` in every window that has one, and says which had none.

        A member that has its place already keeps it: asking twice about one job counts once.
        """
        return await self._look(windows, member, now, "1")

    async def peek(self, windows: Sequence[Window], member: str, now: Micros) -> list[Look]:
        """Says what `count` would say now, and takes no place."""
        return await self._look(windows, member, now, "0")

    async def _look(self, windows: Sequence[Window], member: str, now: Micros, record: str) -> list[Look]:
        if not windows:
            return []
        calls: list[Command] = [
            (
                "EVALSHA",
                scripts.COUNT_REQUEST.sha,
                1,
                keys.velocity(window.rule_id, window.key),
                now,
                window.window_s * 1_000_000,
                window.max_requests,
                member,
                record,
                window.window_s + _SPARE_S,
            )
            for window in windows
        ]
        answers = await self._batcher.submit(calls)
        return [_read(answer) for answer in answers]


def _read(answer: object) -> Look:
    if isinstance(answer, list) and len(answer) == 2:
        exceeded, count = answer
        if isinstance(exceeded, int) and isinstance(count, int):
            return Look(exceeded != 0, count)
    raise StoreUnavailableError("the store's answer about a velocity window makes no sense")
