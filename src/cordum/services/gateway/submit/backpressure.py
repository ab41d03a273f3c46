"""How many jobs of a tenant may be under way before new ones are turned away (spec-gateway section 3).

An operator sets `rate_limits.queue_size` in `cfg:org:<tenant>`, or for every tenant in `cfg:system:default`: so many
jobs may wait beyond the `limits.max_concurrent_jobs` (or `rate_limits.concurrent_jobs`) that may run. Nothing set is no
limit, and costs a submit nothing.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cordum.core.errors import CordumError
from cordum.core.ids import TenantId
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.services.gateway.errors import ApiError
from cordum.store import Store

log = get_logger(__name__)

REFRESH_SECONDS: Final = 30.0
"""How old a tenant's limit may get when no word of a change arrives."""

MOST_TENANTS: Final = 10_000

NO_LIMIT: Final = 0


class Backpressure:
    """Turns submits away while their tenant has too many jobs under way."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._limits: dict[TenantId, int] = {}

    async def check(self, tenant: TenantId) -> None:
        """Returns when there is room for one more job.

        Raises:
            ApiError: `BACKPRESSURE` (429), with how many jobs there are and may be.
            StoreUnavailableError: the limit or the count cannot be read.
        """
        limit = await self._limit_of(tenant)
        if limit == NO_LIMIT:
            return
        active = await self._store.jobs.active_count(tenant)
        if active >= limit:
            counts = {"current": active, "limit": limit}
            raise ApiError("BACKPRESSURE", f"{active} jobs are under way and {limit} may be", extra=counts)

    async def keep_fresh(self) -> None:
        """Refreshes on a timer, for ever; run as a background task."""
        while True:
            await self._clock.sleep(REFRESH_SECONDS)
            await self.refresh()

    async def refresh(self) -> None:
        """Reads again what has been read; a failure is logged, and the next submit reads for itself."""
        for tenant in list(self._limits):
            try:
                self._limits[tenant] = await self._read(tenant)
            except CordumError as error:
                self._limits.pop(tenant, None)
                log.warning("limit not read again", event="limits_unread", tenant=tenant, error=error.message)

    async def _limit_of(self, tenant: TenantId) -> int:
        """Read when a tenant's first job comes, and with all others from then on: a submit does not wait for it."""
        known = self._limits.get(tenant)
        if known is not None:
            return known
        if len(self._limits) >= MOST_TENANTS:
            self._limits.clear()
        found = self._limits[tenant] = await self._read(tenant)
        return found

    async def _read(self, tenant: TenantId) -> int:
        """The tenant's own numbers before everybody's, each for itself."""
        own, common = await asyncio.gather(
            self._store.configs.get("org", tenant), self._store.configs.get("system", "default")
        )
        documents = [document.data for document in (own, common) if document is not None]
        queue = _number(documents, ("rate_limits", "queue_size"))
        if queue is None:
            return NO_LIMIT
        running = _number(documents, ("limits", "max_concurrent_jobs"), ("rate_limits", "concurrent_jobs"))
        return (running or 0) + queue


def _number(documents: Sequence[Mapping[str, Any]], *places: tuple[str, str]) -> int | None:
    """The first of the places that holds a whole number, the first document first; what is none is reported."""
    for document in documents:
        for section, name in places:
            held = document.get(section)
            value = held.get(name) if isinstance(held, Mapping) else None
            if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
                return value
            if value is not None:
                log.error(
                    "a limit is no whole number and is not in force",
                    event="limit_unreadable",
                    name=f"{section}.{name}",
                )
    return None
