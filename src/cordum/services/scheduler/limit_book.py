"""How many jobs may run at once, as operators set it: for the installation in `cfg:system:default`, for a tenant in
`cfg:org:<tenant>`, each under `limits.max_concurrent_jobs`. Absent or 0 is no limit.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from cordum.core.errors import CordumError
from cordum.core.ids import TenantId
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.store import Store

log = get_logger(__name__)

SECTION: Final = "limits"
NAME: Final = "max_concurrent_jobs"

KEPT: Final = 30.0
"""Seconds between two looks at the documents, at most."""

MOST_TENANTS: Final = 10_000


class LimitBook:
    """The limits in force. A tenant's own is read when its first job is placed, and with all the others from then on.

    Attributes:
        installation: 0 = no limit.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._tenants: dict[TenantId, int] = {}
        self._asked = asyncio.Event()
        self._complained: set[str] = set()
        self.installation = 0

    def of(self, tenant: TenantId) -> int | None:
        """A tenant's limit, 0 for none; None when it has not been read yet."""
        return self._tenants.get(tenant)

    async def read(self, tenant: TenantId) -> int:
        """The same, read if need be. Raises StoreError when it cannot be, for then nothing is known."""
        found = self._tenants.get(tenant)
        if found is not None:
            return found
        if len(self._tenants) >= MOST_TENANTS:
            self._tenants.clear()
        found = self._tenants[tenant] = await self._stored("org", tenant)
        return found

    def refresh_soon(self) -> None:
        """Something says that the configuration changed."""
        self._asked.set()

    async def refresh(self) -> None:
        """Reads all of it again, in one round trip. Raises StoreError, and keeps what was in force."""
        tenants = list(self._tenants)
        self.installation, *found = await asyncio.gather(
            self._stored("system", "default"), *(self._stored("org", tenant) for tenant in tenants)
        )
        self._tenants.update(zip(tenants, found, strict=True))

    async def run(self, interval: float) -> None:
        """Reads the documents again every so many seconds (30 at most), and when asked."""
        while True:
            try:
                await asyncio.wait_for(self._asked.wait(), min(interval, KEPT))
            except TimeoutError:
                pass
            self._asked.clear()
            try:
                await self.refresh()
            except CordumError as error:
                log.warning("limits not read again", event="limits_unread", error=error.message)

    async def _stored(self, scope: str, scope_id: str) -> int:
        document = await self._store.configs.get(scope, scope_id)
        return self._limit_in(document.data, f"cfg:{scope}:{scope_id}") if document is not None else 0

    def _limit_in(self, data: Mapping[str, Any], source: str) -> int:
        section = data.get(SECTION)
        value = section.get(NAME) if isinstance(section, Mapping) else None
        if value is None:
            return 0
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        if source not in self._complained and len(self._complained) < MOST_TENANTS:
            self._complained.add(source)
            log.error(
                "a limit is no whole number and is not in force",
                event="limit_unreadable",
                source=source,
                name=f"{SECTION}.{NAME}",
            )
        return 0
