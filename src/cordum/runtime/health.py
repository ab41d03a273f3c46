"""Whether a process is alive, has started, and can do its work right now (spec-ops section 2.2, endpoints)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from cordum.runtime import logging
from cordum.runtime.clock import Clock, SystemClock
from cordum.runtime.redact import describe, mask_urls

BUDGET: Final = 1.0  # seconds a check may take
MAX_AGE: Final = 1.0  # seconds a result is given out again
REFRESH_AGE: Final = 0.5  # seconds after which a result is renewed in the background, so that nobody waits for it

OK: Final = "ok"

Check = Callable[[], Awaitable[object]]

_log = logging.get_logger(__name__)


class Verdict(NamedTuple):
    """The answer of a probe: whether all is well, and for each check "ok" or what is wrong."""

    ok: bool
    checks: dict[str, str]


class Health:
    """The probes of one process. A check is an async function that raises when its dependency is not usable."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._checks: dict[str, Check] = {}
        self._notes: dict[str, Callable[[], str]] = {}
        self._started = False
        self._draining = False
        self._crash = ""
        self._latest = Verdict(False, {})
        self._checked_at = float("-inf")
        self._refreshing: asyncio.Task[None] | None = None

    def register(self, name: str, check: Check) -> None:
        """Makes readiness depend on a check."""
        self._checks[name] = check
        self._checked_at = float("-inf")

    def note(self, name: str, tell: Callable[[], str]) -> None:
        """Shows something beside the checks, "ok" or what is wrong, that the process can work on with."""
        self._notes[name] = tell
        self._checked_at = float("-inf")

    def set_started(self) -> None:
        """The process has done what it does once."""
        self._started = True

    def draining(self) -> None:
        """From now on the process is not ready: it finishes what it has and takes nothing new."""
        self._draining = True

    def crashed(self, reason: str) -> None:
        """Something that must run does not run any more."""
        self._crash = reason

    @property
    def is_draining(self) -> bool:
        return self._draining

    def liveness(self) -> Verdict:
        """Whether the process is sane. Dependencies do not count: a restart would not bring them back."""
        return Verdict(not self._crash, {"process": self._crash or OK})

    def startup(self) -> Verdict:
        """Whether the process has started."""
        return Verdict(self._started, {"startup": OK if self._started else "starting"})

    async def readiness(self) -> Verdict:
        """Whether the process can do its work: started, not draining, and every check passes within one second.

        A result is given out for up to a second, and renewed in the background before it is that old.
        """
        if self._draining:
            return Verdict(False, {"process": "draining"})
        age = self._clock.monotonic() - self._checked_at
        if age > REFRESH_AGE:
            refresh = self._refresh()
            if age > MAX_AGE:
                await asyncio.shield(refresh)
        if not self._started:
            return Verdict(False, {"startup": "starting", **self._latest.checks})
        return self._latest

    def _refresh(self) -> asyncio.Task[None]:
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.get_running_loop().create_task(self._run_checks(), name="health-checks")
        return self._refreshing

    async def _run_checks(self) -> None:
        names = list(self._checks)
        outcomes = await asyncio.gather(*(self._run(self._checks[name]) for name in names))
        notes = {name: tell() for name, tell in self._notes.items()}
        checks = dict(zip(names, outcomes, strict=True))
        found = Verdict(all(outcome == OK for outcome in outcomes), notes | checks)
        if found.checks != self._latest.checks and self._started:
            log = _log.info if found.ok else _log.warning
            log("readiness changed", event="readiness_changed", ready=found.ok, checks=found.checks)
        self._latest = found
        self._checked_at = self._clock.monotonic()

    async def _run(self, check: Check) -> str:
        try:
            async with asyncio.timeout(BUDGET):
                await check()
        except TimeoutError:
            return f"no answer within {BUDGET:g} s"
        except Exception as error:
            return mask_urls(describe(error))
        return OK

    async def aclose(self) -> None:
        """Ends a check that is under way."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.gather(self._refreshing, return_exceptions=True)
