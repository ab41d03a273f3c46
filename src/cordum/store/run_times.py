"""When the runs of workflows began, as far as the scheduler has seen: with the first of their jobs it came to place."""

from cordum.core.ids import Micros, TenantId
from cordum.store import keys
from cordum.store.batch import Batcher
from cordum.store.link import Command
from cordum.store.options import StoreOptions


class RunTimes:
    """The beginnings of runs. Raises StoreUnavailableError when Redis does not answer in time."""

    def __init__(self, batcher: Batcher, options: StoreOptions) -> None:
        self._batcher = batcher
        self._ttl = options.meta_ttl

    async def begun(self, tenant: TenantId, workflow_id: str, run_id: str, at: Micros, limit: float) -> Micros:
        """When a run began: `at`, unless somebody has said otherwise before. It is remembered for `limit` seconds more
        than a job's record is."""
        key = keys.run_begun(tenant, workflow_id, run_id)
        claim: Command = ("SET", key, at, "NX", "GET", "EX", self._ttl + int(limit))
        known = (await self._batcher.submit([claim]))[0]
        return Micros(int(known)) if isinstance(known, str) and known.isdigit() else at
