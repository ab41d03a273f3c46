"""The ids of the policies the safety kernels had in force, newest first (spec-safety section 2, ListSnapshots)."""

from typing import Final

from cordum.core.ids import SnapshotId
from cordum.store import keys, scripts
from cordum.store.batch import Batcher

KEPT: Final = 10


class SnapshotIds:
    """One list for all kernels. Every method raises StoreUnavailableError when Redis does not answer in time."""

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher

    async def remember(self, snapshot: SnapshotId) -> None:
        """Puts it first; nothing changes when it is, as when another kernel was quicker."""
        await self._batcher.submit(
            [("EVALSHA", scripts.REMEMBER_SNAPSHOT.sha, 1, keys.POLICY_SNAPSHOT_IDS, snapshot, KEPT)]
        )

    async def newest(self) -> tuple[SnapshotId, ...]:
        """At most ten."""
        found = (await self._batcher.submit([("LRANGE", keys.POLICY_SNAPSHOT_IDS, 0, KEPT - 1)]))[0]
        return tuple(SnapshotId(str(item)) for item in found) if isinstance(found, list) else ()
