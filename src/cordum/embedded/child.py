"""One child process: start, wait for readiness, end, read its log."""

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cordum.embedded import logfile
from cordum.embedded.errors import StartError
from cordum.embedded.guardian import Guardian

Probe = Callable[[], Awaitable[bool]]
"""Whether the child does its work now. Quick, bounded, never raises."""

_FIRST_POLL = 0.01
_LONGEST_POLL = 0.1


@dataclass(frozen=True)
class Recipe:
    """How to start a child and how to see that it is ready."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    probe: Probe
    log_file: Path
    directory: Path
    """Working directory."""
    ready_within: float = 30.0
    """Seconds."""
    grace: float = 20.0
    """Seconds between SIGTERM and SIGKILL."""


class Child:
    """One incarnation of a process after another, never two at once."""

    def __init__(self, recipe: Recipe, guardian: Guardian) -> None:
        self.recipe = recipe
        self._guardian = guardian
        self._process: subprocess.Popen[bytes] | None = None
        self._ended: asyncio.Future[int] | None = None
        self._entered = False
        self._log_start = 0

    @property
    def name(self) -> str:
        return self.recipe.name

    @property
    def pid(self) -> int:
        """The process id, 0 while none runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else 0

    @property
    def returncode(self) -> int | None:
        """How the last incarnation ended (minus the signal's number when it was killed); None while it runs."""
        return self._process.poll() if self._process is not None else None

    def spawn(self) -> None:
        """Starts the process; does not wait for readiness."""
        if self.pid:
            raise StartError(self.name, "is running already", [])
        command, pipe = self._guardian.enrol(self.recipe.command)
        log = logfile.open_for_append(self.recipe.log_file)
        self._log_start = os.fstat(log).st_size
        try:
            # Not the event loop's own subprocesses: not every loop keeps `pipe` from being inherited a second time, and
            # a child that holds it would keep the guardian from ever seeing its end.
            self._process = subprocess.Popen(
                command,
                stdin=pipe,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(self.recipe.env),
                cwd=self.recipe.directory,
                start_new_session=True,
            )
        finally:
            os.close(log)
        self._entered = True
        self._ended = _watch(self._process)

    async def ready(self) -> None:
        """Waits until the probe says yes.

        Raises:
            StartError: the process ended first, or `ready_within` passed.
        """
        ended = self._running()
        deadline = time.monotonic() + self.recipe.ready_within
        pause = _FIRST_POLL
        while not await self.recipe.probe():
            if ended.done():
                raise self.failure(f"ended with {describe_exit(ended.result())} before it was ready")
            if time.monotonic() > deadline:
                raise self.failure(f"was not ready within {self.recipe.ready_within:.0f} s")
            await asyncio.wait({ended}, timeout=pause)
            pause = min(pause * 1.3, _LONGEST_POLL)

    async def start(self) -> None:
        """Starts the process and waits until it is ready; a start that fails leaves nothing running."""
        self.spawn()
        try:
            await self.ready()
        except BaseException:
            await self.kill()
            raise

    async def wait(self) -> int:
        """Waits until the process has ended and is reaped; gives its return code."""
        ended, process = self._running(), self._process
        await asyncio.wait({ended})
        if self._entered and process is not None and process is self._process:
            self._entered = False
            self._guardian.forget(process.pid)
        return ended.result()

    async def kill(self) -> None:
        """SIGKILL to the whole process group, and waits for the end."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """SIGTERM, after the grace SIGKILL, and waits for the end."""
        if self.pid:
            self.send(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.wait(), self.recipe.grace)
        await self._end(signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the process itself; none when it has ended."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def failure(self, why: str) -> StartError:
        return StartError(self.name, why, self.last_words(), self.recipe.log_file)

    def last_words(self, lines: int = 20) -> list[str]:
        """The last lines of the present incarnation alone."""
        return logfile.tail(self.recipe.log_file, lines, self._log_start)

    def log_tail(self, lines: int = 20) -> list[str]:
        """The last lines the child has written, oldest first."""
        return logfile.tail(self.recipe.log_file, lines)

    async def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)
        await self.wait()

    def _running(self) -> asyncio.Future[int]:
        if self._ended is None:
            raise StartError(self.name, "was never started", [])
        return self._ended


def _watch(process: subprocess.Popen[bytes]) -> asyncio.Future[int]:
    """Completes with the return code when the process ends. A thread waits: that works in every loop and system."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def settle(code: int) -> None:
        if not ended.done():
            ended.set_result(code)

    def reap() -> None:
        code = process.wait()
        with contextlib.suppress(RuntimeError):  # The loop was closed: nobody waits any more.
            loop.call_soon_threadsafe(settle, code)

    threading.Thread(target=reap, name=f"reap {process.pid}", daemon=True).start()
    return ended


def describe_exit(code: int) -> str:
    """A return code in words: `exit code 2`, `SIGKILL`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
