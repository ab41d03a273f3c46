"""What workers announced that have fallen silent since: they announce their topics once, when they start.

A worker that was cut off for longer than it may be silent, and is heard again, has not been restarted and says nothing
about topics any more. Without this memory it would be taken for one that takes any topic, or, where readiness is
demanded, for one that takes none.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from cordum.core.ids import Topic, WorkerId
from cordum.core.routing.workers import Worker

KEPT: Final = 3600.0
"""Seconds a silent worker's announcement is remembered."""

MOST: Final = 10_000


class _Announced(msgspec.Struct, frozen=True):
    topics: frozenset[Topic]
    until: float


class Announcements:
    """The announcements of workers that are not in the fleet at the moment; moments are the caller's steady clock's."""

    def __init__(self) -> None:
        self._kept: dict[WorkerId, _Announced] = {}

    def keep(self, gone: Iterable[Worker], now: float) -> None:
        """These workers have fallen silent."""
        for worker in gone:
            if worker.ready_topics is None:
                continue
            if len(self._kept) >= MOST:
                # The oldest: dictionaries remember the order in which keys came.
                del self._kept[next(iter(self._kept))]
            self._kept[worker.id] = _Announced(worker.ready_topics, now + KEPT)

    def take(self, worker_id: WorkerId, now: float) -> frozenset[Topic] | None:
        """What a worker had announced before it fell silent; None: nothing that is remembered. Forgotten with this."""
        kept = self._kept.pop(worker_id, None)
        return kept.topics if kept is not None and now < kept.until else None
