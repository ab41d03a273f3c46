"""The policies that were in force, newest first: shared by all kernels in Redis, else this one's own."""

import asyncio
from collections import deque
from typing import Final

from cordum.core.ids import SnapshotId
from cordum.runtime import logging
from cordum.store.errors import StoreError
from cordum.store.store import Store

KEPT: Final = 10
PATIENCE: Final = 2.0  # seconds for Redis

_log = logging.get_logger(__name__)


class History:
    """At most ten ids. Without a store, and while Redis does not answer, it knows this process's policies only."""

    def __init__(self) -> None:
        self._store: Store | None = None
        self._own: deque[SnapshotId] = deque(maxlen=KEPT)
        self._untold = False

    def use(self, store: Store | None) -> None:
        """Where the shared list is."""
        self._store = store

    @property
    def own(self) -> tuple[SnapshotId, ...]:
        """The policies this process had in force, newest first."""
        return tuple(self._own)

    def note(self, snapshot: SnapshotId) -> None:
        """A policy has come into force here."""
        if not self._own or self._own[0] != snapshot:
            self._own.appendleft(snapshot)
            self._untold = True

    async def tell(self) -> None:
        """Tells the other kernels of the policy in force, once it has changed; tried again at the next call."""
        if not self._untold or self._store is None:
            return
        try:
            async with asyncio.timeout(PATIENCE):
                await self._store.snapshot_ids.remember(self._own[0])
        except (StoreError, TimeoutError) as error:
            _log.warning("the policy's id is not in the shared list yet", event="snapshot_untold", error=str(error))
        else:
            self._untold = False

    async def all(self) -> tuple[SnapshotId, ...]:
        """What all kernels had in force, newest first."""
        if self._store is None:
            return self.own
        try:
            async with asyncio.timeout(PATIENCE):
                shared = await self._store.snapshot_ids.newest()
        except (StoreError, TimeoutError):
            return self.own
        return shared or self.own
