"""The workers' credentials as this scheduler knows them: kept in memory, since every heartbeat asks for one."""

import asyncio
from collections.abc import Callable, Mapping

from cordum.core.access.worker_credential import WorkerCredential
from cordum.core.errors import CordumError
from cordum.core.ids import WorkerId
from cordum.runtime.logging import get_logger
from cordum.store import Store

log = get_logger(__name__)


class CredentialCache:
    """Answers without waiting; read at the start, when `sys.config.changed` comes, and every reload interval.

    What was read last holds while Redis is away: nothing can be issued or revoked meanwhile.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: Mapping[WorkerId, WorkerCredential] = {}
        self._revision: int | None = None
        self._asked = asyncio.Event()
        self._on_change: list[Callable[[], None]] = []

    @property
    def available(self) -> bool:
        """Whether the credentials have ever been read."""
        return self._revision is not None

    def find(self, worker_id: WorkerId) -> WorkerCredential | None:
        """The worker's credential, revoked or not; None: it has none."""
        return self._known.get(worker_id)

    def on_change(self, call: Callable[[], None]) -> None:
        """Calls back after credentials were issued, rotated or revoked."""
        self._on_change.append(call)

    def refresh_soon(self) -> None:
        """Something says that credentials may have changed; many such words make one reading."""
        self._asked.set()

    async def refresh(self) -> None:
        """Reads what has changed.

        Raises:
            StoreError: Redis does not answer; what is known stays.
        """
        revision = await self._store.worker_credentials.revision()
        if revision == self._revision:
            return
        self._known = {found.worker_id: found for found in await self._store.worker_credentials.all()}
        self._revision = revision
        log.info("worker credentials loaded", event="credentials_loaded", workers=len(self._known))
        for call in self._on_change:
            call()

    async def try_refresh(self) -> None:
        """As `refresh`; a failure is logged."""
        try:
            await self.refresh()
        except CordumError as error:
            log.warning(
                "worker credentials not read", event="credentials_not_read", error=error.message, known=self.available
            )

    async def run(self, interval: float) -> None:
        """Reads every `interval` seconds, and when asked, as long as the process runs."""
        while True:
            try:
                await asyncio.wait_for(self._asked.wait(), interval)
            except TimeoutError:
                pass
            self._asked.clear()
            await self.try_refresh()
