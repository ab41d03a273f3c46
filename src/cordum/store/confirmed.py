"""Writes that count as done once replicas have them too.

Redis answers before its replicas have a write; when the primary dies in that moment the write is gone, although
somebody was told it happened. `WAIT` behind each batch of writes closes that gap, at the price of one trip to a
replica. Where no replica answers in time, as after a failover until the lost server is back, writes count all the same:
refusing them would turn the loss of one server into an outage. The metric tells of it.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from cordum.runtime import metrics
from cordum.runtime.logging import get_logger
from cordum.store.link import READS, Command, Link, Outcome

_RESPITE: Final = 1.0
"""Seconds in which nobody waits for replicas again that have just kept silent."""

log = get_logger(__name__)


class ConfirmedLink:
    """A link to one server, whose writes wait for replicas.

    Args:
        link: the link to the server; closed with this one.
        replicas: how many must have a write.
        timeout: seconds to wait for them.
    """

    def __init__(self, link: Link, *, replicas: int, timeout: float) -> None:
        self._link = link
        self._replicas = replicas
        self._wait: Command = ("WAIT", replicas, max(1, int(timeout * 1000)))
        self._not_before = 0.0

    async def execute(self, commands: Sequence[Command], deadline: float) -> list[Outcome]:
        """See Link."""
        now = asyncio.get_running_loop().time()
        if all(command[0] in READS for command in commands):
            return await self._link.execute(commands, deadline)
        if now < self._not_before:
            metrics.STORE_UNREPLICATED.inc()
            return await self._link.execute(commands, deadline)
        outcomes = await self._link.execute([*commands, self._wait], deadline)
        confirmed = outcomes.pop()
        if isinstance(confirmed, int) and confirmed < self._replicas:
            metrics.STORE_UNREPLICATED.inc()
            if now - self._not_before > 10 * _RESPITE:
                log.warning(
                    "writes are not confirmed by replicas, they would be lost with their primary",
                    event="store_unreplicated",
                    replicas=confirmed,
                    wanted=self._replicas,
                )
            self._not_before = asyncio.get_running_loop().time() + _RESPITE
        return outcomes

    async def aclose(self) -> None:
        """Closes the link."""
        await self._link.aclose()
