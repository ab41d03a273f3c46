"""Runs something with a stack until it is done or the process is told to end."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Done = TypeVar("Done")


class Interrupted(Exception):
    """A signal asked the process to end."""


async def until_signalled(work: Callable[[], Awaitable[Done]]) -> Done:
    """Runs `work`; SIGINT, SIGTERM or SIGHUP cancels it, and its own clean-up ends it in order.

    Further signals change nothing: the clean-up is bounded, and what it would leave behind is what must not be left.

    Raises:
        Interrupted: a signal came, and `work` has been cleaned up.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work())
    asked = False

    def end() -> None:
        nonlocal asked
        if not asked:
            asked = True
            task.cancel()

    for number in _ENDING:
        loop.add_signal_handler(number, end)
    try:
        return await task
    except asyncio.CancelledError:
        if asked:
            raise Interrupted from None
        raise
    finally:
        for number in _ENDING:
            with contextlib.suppress(ValueError):
                loop.remove_signal_handler(number)
