"""An event loop in virtual time: nothing waits, the clock jumps to whatever is due next.

Tasks belong to processes. A process that is killed never runs again, not even its `finally` blocks; a process that
stalls runs what came meanwhile, in order, when it is over.
"""

import asyncio
import contextvars
import heapq
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

_process: Final[contextvars.ContextVar["Process | None"]] = contextvars.ContextVar("process", default=None)

TICK: Final = 1e-9
"""Seconds by which a timer may fire early, as asyncio's own do."""


class Process:
    """What lives and dies together: one replica, one gateway.

    Attributes:
        alive: until it is killed.
        backlog: what came while it stalled.
    """

    __slots__ = ("alive", "backlog", "context", "name", "stalled_until")

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.stalled_until = 0.0
        self.backlog: deque[Handle] = deque()
        self.context = contextvars.copy_context()
        self.context.run(_process.set, self)

    def stalls(self, now: float) -> bool:
        return self.stalled_until > now


class Handle:
    """A callback that is due, now or at a moment."""

    __slots__ = ("args", "at", "callback", "context", "is_cancelled")

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: contextvars.Context, at: float
    ) -> None:
        self.callback = callback
        self.args = args
        self.context = context
        self.at = at
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True

    def cancelled(self) -> bool:
        return self.is_cancelled

    def when(self) -> float:
        return self.at


class StuckError(Exception):
    """The world stands still, or turns in circles, and what was waited for has not come."""


class SimLoop(asyncio.BaseEventLoop):
    """The loop. Implements what asyncio itself and the product ask of one."""

    def __init__(self, limit: int = 3_000_000) -> None:
        self._now = 0.0
        self._due: deque[Handle] = deque()
        self._timers: list[tuple[float, int, Handle]] = []
        self._number = 0
        self._limit = limit
        self._turns = 0
        self._running = False
        self._ended = False
        super().__init__()
        self.tasks: list[asyncio.Task[Any]] = []
        self.strays: list[dict[str, Any]] = []

    # What asyncio asks of a loop

    def time(self) -> float:
        return self._now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return self._ended

    def call_soon(  # type: ignore[override]  # our handle has all that callers of a handle use
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> Handle:
        handle = Handle(callback, args, contextvars.copy_context() if context is None else context, self._now)
        if not self._ended:
            self._due.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> Handle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> Handle:
        handle = Handle(callback, args, contextvars.copy_context() if context is None else context, when)
        if not self._ended:
            self._number += 1
            heapq.heappush(self._timers, (when, self._number, handle))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[T]:
        # A name of our own: asyncio numbers tasks through all worlds.
        task: asyncio.Task[T] = asyncio.Task(coro, loop=self, name=str(name or "task"), context=context)
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # the killed are never done
        self.tasks.append(task)
        if len(self.tasks) > 4096:
            self.tasks = [known for known in self.tasks if not known.done()]
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._ended:
            self.strays.append(context)

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """Threads do not fit into virtual time: what would run in one runs here and now."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    # Processes

    def spawn(self, process: Process, coro: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """A task of a process."""
        return process.context.run(self.create_task, coro, name=name, context=process.context.copy())

    def stall(self, process: Process, seconds: float) -> None:
        """Holds a process still, as a long pause of its machine does."""
        process.stalled_until = self._now + seconds
        self.call_at(process.stalled_until, self._thaw, process)

    def _thaw(self, process: Process) -> None:
        if process.stalls(self._now):
            return
        self._due.extend(process.backlog)
        process.backlog.clear()

    def kill(self, process: Process) -> None:
        """Ends a process between two instructions. Whatever it was doing stays as it is."""
        process.alive = False
        process.backlog.clear()

    # Running

    def run_until(self, done: Callable[[], bool], until: float) -> bool:
        """Runs until `done()`, which is asked whenever the clock moves, or the moment `until`; whether it was done.

        Raises:
            StuckError: there are more steps than any sane world needs.
        """
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        self._running = True
        ready, timers = self._due, self._timers
        try:
            while True:
                self._turns += len(ready)
                if self._turns > self._limit:
                    raise StuckError(f"more than {self._limit} steps until {self._now:.3f} s")
                for _ in range(len(ready)):
                    handle = ready.popleft()
                    if not handle.is_cancelled:
                        self._run(handle)
                if ready:
                    continue
                if done():
                    return True
                if not timers or timers[0][0] > until:
                    self._now = max(self._now, until)
                    return False
                self._now = max(self._now, timers[0][0])
                edge = self._now + TICK
                while timers and timers[0][0] <= edge:
                    handle = heapq.heappop(timers)[2]
                    if not handle.is_cancelled:
                        ready.append(handle)
        finally:
            self._running = False
            asyncio._set_running_loop(before)

    def _run(self, handle: Handle) -> None:
        context = handle.context
        process = context.get(_process)
        if process is not None:
            if not process.alive:
                return
            if process.stalled_until > self._now:
                process.backlog.append(handle)
                return
        try:
            context.run(handle.callback, *handle.args)
        except Exception as error:
            self.strays.append({"message": "a callback failed", "exception": error})

    def end(self) -> None:
        """Ends the world; what still waits is thrown away, and its `finally` blocks touch nothing any more."""
        self._ended = True
        self._due.clear()
        self._timers.clear()
        before, hook = asyncio._get_running_loop(), sys.unraisablehook
        asyncio._set_running_loop(self)
        sys.unraisablehook = lambda _: None
        try:
            for task in self.tasks:
                if not task.done():
                    coro = task.get_coro()
                    for _ in range(8):
                        try:
                            coro.close()
                            break
                        except Exception:
                            continue
            self.tasks.clear()
        finally:
            sys.unraisablehook = hook
            asyncio._set_running_loop(before)


def current_process() -> Process | None:
    """Whose code is running."""
    return _process.get()
