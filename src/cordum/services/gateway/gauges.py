"""What the gateway tells regularly: the size of the dead-letter queue, and that it is there."""

from datetime import UTC, datetime
from typing import Final

from cordum import __version__
from cordum.core.errors import CordumError
from cordum.runtime import metrics
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.store import Instance, Store
from cordum.store.instances import RENEW_EVERY

log = get_logger(__name__)

SERVICE: Final = "api-gateway"
"""The gateway's name in the instance registry."""
DLQ_SECONDS: Final = 5.0


async def watch_dead_letters(store: Store, clock: Clock) -> None:
    """Keeps the gauges at the number of entries, for ever."""
    while True:
        try:
            count = await store.dead_letters.count()
        except CordumError as error:
            log.debug("dead letters not counted", event="dlq_not_counted", error=error.message)
        else:
            metrics.DLQ_ENTRIES.set(count)
            metrics.DLQ_DEPTH.set(count)
        await clock.sleep(DLQ_SECONDS)


def instance(instance_id: str, clock: Clock) -> Instance:
    """This process, for the registry."""
    started = datetime.fromtimestamp(clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Instance(id=instance_id, service=SERVICE, version=__version__, started_at=started)


async def announce(store: Store, me: Instance, clock: Clock) -> None:
    """Says that this process is up, for ever."""
    while True:
        try:
            await store.instances.register(me)
        except CordumError as error:
            log.debug("instance not announced", event="instance_not_announced", error=error.message)
        await clock.sleep(RENEW_EVERY)


async def withdraw(store: Store, me: Instance) -> None:
    """Says that this process goes down."""
    try:
        await store.instances.remove(me)
    except CordumError as error:
        log.debug("instance not withdrawn", event="instance_not_withdrawn", error=error.message)
