"""The life of a process: it starts, works until a signal or a crash, stops in order, and says so (statement S241).

    async def main(life: Lifecycle) -> None:
        store = await Store.connect(settings, clock=clock)
        life.on_stop(store.aclose)
        life.spawn(reconciler.run(), name="reconciler")
        life.ready()

    lifecycle.run("cordum-scheduler", settings, main)

`main` sets things up and may return; the process goes on until SIGTERM or SIGINT. Then readiness turns to 503, and what
was started is stopped in reverse order: each spawned task is cancelled, each `on_stop` called, within 15 seconds.
"""

import asyncio
import functools
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, NoReturn

import uvloop

from cordum import __version__
from cordum.core.errors import CordumError
from cordum.runtime import logging, production
from cordum.runtime.clock import SystemClock
from cordum.runtime.health import Health
from cordum.runtime.redact import describe
from cordum.runtime.settings import CommonSettings

GRACE: Final = 15.0  # seconds from the signal to the end
_LAST_WORD: Final = 1.0  # seconds for what ignores being cancelled
_CANCEL_AGAIN: Final = 2.0  # seconds until a task that has not ended is cancelled once more

EXIT_OK: Final = 0
EXIT_CRASH: Final = 1

_log = logging.get_logger(__name__)

Hook = Callable[[], Awaitable[object]]


class Lifecycle:
    """What `main` gets to hold on to."""

    def __init__(self, grace: float = GRACE, when_ready: Callable[[], None] | None = None) -> None:
        self.stopping = asyncio.Event()
        self.health = Health(SystemClock())
        self.failed = False
        self._grace = grace
        self._when_ready = when_ready
        self._is_ready = False
        self._started_at = asyncio.get_running_loop().time()
        self._stop_at = float("inf")
        self._stack: list[Hook] = []
        self._reload_hooks: list[Hook] = []
        self._reloads: set[asyncio.Task[None]] = set()
        self.on_stop(self.health.aclose)

    def spawn(self, work: Coroutine[Any, Any, object], name: str) -> asyncio.Task[object]:
        """Runs a background task. When it raises, that is logged and the process stops with exit code 1.

        It is cancelled when its turn to stop comes, before whatever was started earlier.
        """
        task = asyncio.get_running_loop().create_task(work, name=name)
        stop = functools.partial(_cancel, task)
        self._stack.append(stop)
        task.add_done_callback(functools.partial(self._ended, stop))
        return task

    def _ended(self, stop: Hook, task: asyncio.Task[object]) -> None:
        # functools.partial objects compare by identity, so this is the one entry of this task.
        if stop in self._stack:
            self._stack.remove(stop)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.crash(f"background task {task.get_name()}", error)

    def on_stop(self, hook: Hook) -> None:
        """Calls `hook` when the process stops; the latest registered first."""
        self._stack.append(hook)

    def on_reload(self, hook: Hook) -> None:
        """Calls `hook` on every SIGHUP."""
        self._reload_hooks.append(hook)

    def ready(self) -> None:
        """The process has started: /livez says so, and the log."""
        self._is_ready = True
        if self._when_ready is not None:
            self._when_ready()
        self.health.set_started()
        took = asyncio.get_running_loop().time() - self._started_at
        _log.info("ready", event="ready", took_ms=round(took * 1000))

    @property
    def is_ready(self) -> bool:
        return self._is_ready

    @property
    def grace_left(self) -> float:
        """Seconds until the process must have stopped."""
        return max(0.0, min(self._grace, self._stop_at - asyncio.get_running_loop().time()))

    def stop(self, why: str) -> None:
        """Begins to stop; a second call changes nothing."""
        if self.stopping.is_set():
            return
        _log.info("shutdown started", event="shutdown_started", reason=why)
        self._stop_at = asyncio.get_running_loop().time() + self._grace
        self.health.draining()
        self.stopping.set()

    def crash(self, what: str, error: BaseException) -> None:
        """Something that must run has failed: one log line, and the process stops."""
        self.failed = True
        self.health.crashed(f"{what}: {describe(error)}")
        if isinstance(error, CordumError):
            _log.error(error.message, event="crashed", what=what, code=error.code)
        else:
            _log.error(f"{what} failed", event="crashed", what=what, exc_info=error)
        self.stop("crash")

    def reload(self) -> None:
        """Runs the SIGHUP hooks in the background, one after the other."""
        task = asyncio.get_running_loop().create_task(self._run_reload_hooks(), name="reload")
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def _run_reload_hooks(self) -> None:
        _log.info("reload asked for", event="reload")
        for hook in list(self._reload_hooks):
            try:
                await hook()
            except Exception as error:
                _log.error("reload failed", event="reload_failed", exc_info=error)

    async def unwind(self) -> None:
        """Stops what was started, the latest first. Errors are logged and do not keep the others from their turn."""
        self._stack += [functools.partial(_cancel, task) for task in self._reloads]
        while self._stack:
            hook = self._stack.pop()
            try:
                async with asyncio.timeout(self.grace_left or _LAST_WORD):
                    await hook()
            except TimeoutError:
                self.failed = True
                _log.error("stopping takes too long, going on without", event="shutdown_late", step=_name_of(hook))
            except Exception as error:
                self.failed = True
                _log.error("stopping failed", event="shutdown_failed", step=_name_of(hook), exc_info=error)


def _name_of(hook: Hook) -> str:
    if isinstance(hook, functools.partial):
        return f"task {hook.args[0].get_name()}"
    return getattr(hook, "__qualname__", repr(hook))


async def _cancel(task: asyncio.Task[Any]) -> None:
    # Once may not be enough: a task whose asyncio.wait_for has its result in this very moment sees no cancellation.
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=_CANCEL_AGAIN)


Main = Callable[[Lifecycle], Awaitable[None]]


def run(service: str, settings: CommonSettings, main: Main, grace: float = GRACE) -> NoReturn:
    """Runs a process to its end and exits: 0 after a graceful stop, 1 when something failed, with one log line why.

    A second SIGTERM or SIGINT ends the process at once.

    Args:
        service: the name in logs and metrics.
        settings: as loaded; logging is set up from them.
        main: sets the process up.
        grace: seconds from the signal to the end.
    """
    logging.setup(service, settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(live(settings, main, grace, _spare_the_collector))
    sys.exit(code)


_COLLECT_EVERY: Final = 20_000
"""New objects between two looks at the youngest."""


def _spare_the_collector() -> None:
    """Takes what the start left, which lives as long as the process, out of the garbage collector's way.

    A full collection of a started gateway (90,000 objects) takes 50 ms, in which no request is served.
    """
    gc.collect()
    gc.freeze()
    # What a request leaves behind is nearly all freed by reference counts; looking every 700 objects finds little.
    gc.set_threshold(_COLLECT_EVERY, 20, 20)


async def live(
    settings: CommonSettings, main: Main, grace: float = GRACE, when_ready: Callable[[], None] | None = None
) -> int:
    """The same within a running event loop, without logging set up; returns the exit code."""
    loop = asyncio.get_running_loop()
    life = Lifecycle(grace, when_ready)
    _listen_to_signals(loop, life)
    loop.set_exception_handler(_log_stray)
    _log.info("starting", event="starting", version=__version__, production=settings.production, pid=os.getpid())
    for notice in production.notices(settings):
        _log.warning(notice, event="setting_notice")

    setting_up = asyncio.ensure_future(main(life))
    stopping = loop.create_task(life.stopping.wait())
    await asyncio.wait({setting_up, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if setting_up.done() and not setting_up.cancelled() and (error := setting_up.exception()):
        life.crash("the start", error)
    await stopping
    await _finish(setting_up, life)
    await life.unwind()
    _log.info("shutdown finished", event="shutdown_finished", failed=life.failed)
    return EXIT_CRASH if life.failed else EXIT_OK


async def _finish(setting_up: asyncio.Future[None], life: Lifecycle) -> None:
    """Lets a `main` that runs until `stopping` come to its end; one that was still starting is cut short."""
    if not setting_up.done():
        await asyncio.wait({setting_up}, timeout=life.grace_left if life.is_ready else 0)
    late = not setting_up.done()
    if late:
        setting_up.cancel()
        await asyncio.wait({setting_up}, timeout=_LAST_WORD)
    if setting_up.done() and not setting_up.cancelled() and (error := setting_up.exception()) and not life.failed:
        life.crash("the main task", error)


def _listen_to_signals(loop: asyncio.AbstractEventLoop, life: Lifecycle) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, life, number)
    loop.add_signal_handler(signal.SIGHUP, life.reload)


def _on_signal(life: Lifecycle, number: signal.Signals) -> None:
    if life.stopping.is_set():
        _log.warning("told twice to stop, ends at once", event="shutdown_forced", signal=number.name)
        os._exit(128 + number)
    life.stop(number.name)


def _log_stray(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What nobody waited for still reaches the log, as one line."""
    _log.error(str(context.get("message", "unhandled")), event="unhandled", exc_info=context.get("exception"))
