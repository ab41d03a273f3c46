"""Keeps one child running: starts it again when it ends by itself, with growing pauses, and says so."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from cordum.embedded.child import Child, describe_exit
from cordum.embedded.errors import StartError

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0
_SETTLED = 10.0
"""Seconds a child must have run for its next failure to count as the first."""


class Phase(StrEnum):
    """What happened to a part of the stack."""

    STARTING = "starting"
    READY = "ready"
    ENDED = "ended"
    """It ended although nobody asked it to, and is started again after a pause."""
    FAILED = "failed"
    """It was started again and did not become ready; that is tried again after a pause."""
    STOPPED = "stopped"


@dataclass(frozen=True)
class Event:
    part: str
    phase: Phase
    detail: str = ""


OnEvent = Callable[[Event], None]


class Keeper:
    """Looks after one child that was started once."""

    def __init__(self, child: Child, on_event: OnEvent) -> None:
        self.child = child
        self._on_event = on_event
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._ready_at = 0.0

    @property
    def name(self) -> str:
        return self.child.name

    async def start(self) -> None:
        """Starts the child, waits until it is ready, and looks after it from then on. Raises StartError."""
        self._tell(Phase.STARTING)
        began = time.monotonic()
        await self.child.start()
        self._became_ready(began)
        self._task = asyncio.create_task(self._keep(), name=f"keep {self.name}")

    async def wait_ready(self) -> None:
        """Waits until the child is ready; the caller sets the bound."""
        await self._ready.wait()

    async def kill(self) -> None:
        """SIGKILL. The child comes back, as after any crash; `wait_ready` waits for that."""
        self._ready.clear()
        await self.child.kill()

    async def take_down(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ends the child with SIGTERM or SIGKILL; it stays down until `start`."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        self._ready.clear()
        await (self.child.kill() if number is signal.SIGKILL else self.child.stop())
        self._tell(Phase.STOPPED)

    async def _keep(self) -> None:
        failures = 0
        while True:
            code = await self.child.wait()
            self._ready.clear()
            failures = 0 if time.monotonic() - self._ready_at > _SETTLED else failures
            detail = describe_exit(code)
            phase = Phase.ENDED
            while True:
                pause = min(FIRST_PAUSE * 2**failures, LONGEST_PAUSE)
                failures = min(failures + 1, 16)
                self._tell(phase, f"{detail}; starting it again in {pause:.1f} s")
                await asyncio.sleep(pause)
                began = time.monotonic()
                try:
                    await self.child.start()
                except (StartError, OSError) as error:
                    phase, detail = Phase.FAILED, str(error)
                else:
                    self._became_ready(began)
                    break

    def _became_ready(self, began: float) -> None:
        self._ready_at = time.monotonic()
        self._ready.set()
        self._tell(Phase.READY, f"{self._ready_at - began:.2f} s")

    def _tell(self, phase: Phase, detail: str = "") -> None:
        self._on_event(Event(self.name, phase, detail))
