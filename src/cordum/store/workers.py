"""What the schedulers last knew about the workers, for whoever wants to show it (spec-scheduler 11.5)."""

from typing import Final

from cordum.store import keys
from cordum.store.batch import Batcher
from cordum.store.link import Payload

SNAPSHOT_TTL: Final = 86_400  # seconds


class WorkerSnapshots:
    """One document, written by one scheduler at a time and read by the gateways."""

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher

    async def save(self, snapshot: bytes) -> None:
        """Replaces the snapshot (JSON)."""
        await self._batcher.submit([("SET", keys.WORKER_SNAPSHOT, snapshot, "EX", SNAPSHOT_TTL)])

    async def load(self) -> bytes | None:
        """The snapshot as JSON, or None when no scheduler has written one for a day."""
        stored = (await self._batcher.submit([Payload(("GET", keys.WORKER_SNAPSHOT))]))[0]
        return stored if isinstance(stored, bytes) else None
