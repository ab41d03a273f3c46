"""Which processes are up: each writes its own key, which runs out when it stops to (spec-scheduler section 5)."""

from typing import Final

import msgspec

from cordum.store import keys
from cordum.store.batch import Batcher

TTL: Final = 15  # seconds
RENEW_EVERY: Final = 7.5  # seconds


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """One process. `started_at` is RFC 3339."""

    id: str
    service: str
    version: str
    commit: str = "unknown"
    started_at: str


class Instances:
    """Announces processes. Every method raises StoreUnavailableError when Redis does not answer in time."""

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher

    async def register(self, instance: Instance) -> None:
        """Says that this process is up, for the next TTL seconds; call it again every RENEW_EVERY."""
        key = keys.instance(instance.service, instance.id)
        await self._batcher.submit([("SET", key, msgspec.json.encode(instance), "EX", TTL)])

    async def remove(self, instance: Instance) -> None:
        """This process is stopping."""
        await self._batcher.submit([("DEL", keys.instance(instance.service, instance.id))])

    async def find(self, service: str, instance_id: str) -> Instance | None:
        """That process, if it is up."""
        stored = (await self._batcher.submit([("GET", keys.instance(service, instance_id))]))[0]
        return msgspec.json.decode(stored, type=Instance) if isinstance(stored, str) else None
