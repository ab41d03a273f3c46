"""Keeping the indexes of dead letters true: once an hour, by one gateway (spec-scheduler sections 6 and 12)."""

from typing import Final

from cordum.core.errors import CordumError
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.store import Store
from cordum.store.keys import DLQ_CLEANUP_LOCK

log = get_logger(__name__)

PERIOD: Final = 3600.0  # seconds
LOOKS: Final = 12
"""How often in a period it is asked whether it is time. The lease is kept for a period: it says so to one gateway."""


async def keep_tidy(store: Store, clock: Clock, period: float = PERIOD) -> None:
    """Tidies up when a gateway is the first of a period, for ever."""
    while True:
        await tidy_once(store, period)
        await clock.sleep(period / LOOKS)


async def tidy_once(store: Store, period: float = PERIOD) -> bool:
    """Tidies up unless it was done in this period already; False when it was, or failed."""
    try:
        lease = await store.leases.acquire(DLQ_CLEANUP_LOCK, period)
        if lease is None:
            return False
        try:
            dropped = await store.dead_letters.tidy()
        except BaseException:
            # The next to ask shall try. What was done keeps its lease: once a period is enough.
            await store.leases.release(lease)
            raise
    except CordumError as error:
        log.warning("dead letters not tidied up", event="dlq_not_tidied", error=error.message)
        return False
    log.info("dead letters tidied up", event="dlq_tidied", dropped=dropped)
    return True
