"""What goes on with topics and pools in the background: unfinished changes, and pools that have drained.

Every gateway does this; what two of them do at once is one compare-and-set.
"""

from datetime import datetime
from typing import Final

from cordum.core.errors import CordumError
from cordum.core.ids import PoolName
from cordum.core.routing.pools import Pool, PoolsConfig, PoolStatus, status_at
from cordum.core.routing.snapshot import FleetSnapshot, PoolEntry
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.services.gateway.routing_admin.desk import PoolEntry as StoredPool
from cordum.services.gateway.routing_admin.desk import RoutingDesk
from cordum.services.gateway.workers.fleet import Fleet

CHECK_SECONDS: Final = 10.0

log = get_logger(__name__)


class RoutingKeeper:
    """Looks after what no request waits for."""

    def __init__(self, desk: RoutingDesk, fleet: Fleet, clock: Clock) -> None:
        self._desk = desk
        self._fleet = fleet
        self._clock = clock

    async def run(self) -> None:
        """Looks every CHECK_SECONDS, for ever."""
        while True:
            try:
                await self.look()
            except CordumError as error:
                log.warning("topics and pools not looked after", event="routing_not_kept", error=error.message)
            await self._clock.sleep(CHECK_SECONDS)

    async def look(self) -> None:
        """Finishes changes that a gateway died in, and sets pools inactive that have drained."""
        await self._desk.settle_all()
        config = await self._desk.pools()
        draining = [name for name, pool in config.pools.items() if pool.status is PoolStatus.DRAINING]
        if not draining:
            return
        seen = await self._fleet.snapshot()
        for name in draining:
            if _has_drained(name, config.pools[name], seen, self._clock.now()):
                await self._desk.change_pool(name, _inactive)
                log.info("the pool has drained", event="pool_drained", pool=name)


def _has_drained(name: PoolName, pool: Pool, seen: FleetSnapshot, now: float) -> bool:
    """Whether its time is up, or it has no job at work in a snapshot that was taken after the drain began."""
    if status_at(pool, now) is PoolStatus.INACTIVE:
        return True
    try:
        began, taken = datetime.fromisoformat(pool.drain_started_at), datetime.fromisoformat(seen.captured_at)
    except ValueError:
        return False
    # A schedule that was decided before the schedulers heard of the drain may still be on its way: two looks' worth.
    if taken.timestamp() < began.timestamp() + CHECK_SECONDS:
        return False
    return seen.pools.get(name, PoolEntry()).active_jobs == 0


def _inactive(before: StoredPool | None, config: PoolsConfig) -> StoredPool | None:
    if before is None or before.get("status") != PoolStatus.DRAINING.value:
        return before
    rest = {
        field: value for field, value in before.items() if field not in ("drain_started_at", "drain_timeout_seconds")
    }
    return {**rest, "status": PoolStatus.INACTIVE.value}
