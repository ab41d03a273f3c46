"""Scans outside the event loop: few at a time, each with a deadline, and none that outlives its caller for long.

The regular expressions run without the interpreter's lock, so threads are enough. What is short is scanned at once,
for handing it over would cost more than it.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from cordum.core.errors import CordumError
from cordum.core.output.probes import Expired
from cordum.runtime import logging

T = TypeVar("T")

THREADS: Final = 2
AT_ONCE_BYTES: Final = 8 * 1024
AT_ONCE_SECONDS: Final = 0.005
MAX_WAITING_BYTES: Final = 256 * 1024 * 1024
"""Of contents that are being scanned or wait for it."""
_GRACE: Final = 0.05  # seconds for a scan that has just seen that its time is up

_log = logging.get_logger(__name__)


class ScannersBusyError(CordumError):
    """More waits to be scanned than can be held; ask again."""

    code = "scanners_busy"


class Scanning:
    """Where scans are done."""

    def __init__(self, threads: int = THREADS, max_waiting_bytes: int = MAX_WAITING_BYTES) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="scan")
        self._max_waiting = max_waiting_bytes
        self._waiting = 0

    async def run(self, scan: Callable[[Expired], T], size: int, seconds: float, late: Callable[[], T]) -> T:
        """What `scan` answers, or `late()` when it takes longer than `seconds`.

        `scan` must look at the `Expired` it is given now and then, and end when it says so. `size` is how many bytes it
        holds. Raises ScannersBusyError, and whatever `scan` raises.
        """
        if size <= AT_ONCE_BYTES:
            budget = _Budget(min(seconds, AT_ONCE_SECONDS))
            answer = scan(budget)
            if not budget.spent:
                return answer
        if self._waiting + size > self._max_waiting:
            raise ScannersBusyError
        self._waiting += size
        future = asyncio.get_running_loop().run_in_executor(self._pool, scan, _Budget(seconds))
        future.add_done_callback(lambda done: self._done(done, size))
        done, _ = await asyncio.wait({future}, timeout=seconds + min(_GRACE, seconds / 10))
        return future.result() if done else late()

    def _done(self, future: "asyncio.Future[T]", size: int) -> None:
        self._waiting -= size
        if not future.cancelled() and (error := future.exception()) is not None:
            _log.debug("a scan failed", event="scan_failed", error=str(error))

    def close(self) -> None:
        """Takes no more scans; those under way end by their deadlines."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class _Budget:
    """Says when the time is up, and remembers that it did."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self.spent = False

    def __call__(self) -> bool:
        if time.monotonic() > self._end:
            self.spent = True
        return self.spent
