"""Hears that configuration has changed, where there is a bus to hear it on; the kernel decides just as well without.

`sys.config.changed` only means "look now": what counts is the policy file, which is looked at on a timer anyway.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from cordum.bus import subjects
from cordum.bus.connection import Bus
from cordum.bus.core import CoreMessage
from cordum.bus.errors import BusError
from cordum.runtime import logging
from cordum.runtime.settings import NatsSettings

CLIENT_NAME: Final = "cordum-safety-kernel"
RETRY_SECONDS: Final = 10.0

_log = logging.get_logger(__name__)


async def listen(settings: NatsSettings, changed: Callable[[], None]) -> None:
    """Calls `changed` for every announcement, until cancelled; a bus that is not there is tried again for ever."""

    async def heard(message: CoreMessage) -> None:
        changed()

    while True:
        try:
            bus = await Bus.connect(settings, name=CLIENT_NAME)
        except BusError as error:
            _log.warning(
                "no bus: a new policy is found by the timer alone",
                event="announcements_unavailable",
                error=error.message,
            )
            await asyncio.sleep(RETRY_SECONDS)
            continue
        try:
            await bus.subscribe(subjects.CONFIG_CHANGED, heard)
            # A change that was announced while nobody listened.
            changed()
            await asyncio.Event().wait()
        finally:
            await bus.aclose()
