"""The policy in force: loaded at the start, replaced when its file changes, kept when the new one is bad."""

import asyncio
from collections import deque

from cordum.core.ids import SnapshotId
from cordum.runtime import logging, metrics
from cordum.runtime.clock import Clock
from cordum.services.safety_kernel.judge import Judge
from cordum.services.safety_kernel.source import LoadedPolicy, LoadError, PolicyFiles, PolicySource

HISTORY = 10

_log = logging.get_logger(__name__)


class PolicyKeeper:
    """Holds the judge of the policy in force and swaps it whole.

    The first load is `start`; after it `run` looks at the file every `interval` seconds, and `reload_soon` at once.
    """

    def __init__(self, source: PolicySource, judge: Judge, clock: Clock, interval: float) -> None:
        self._source = source
        self._judge = judge
        self._clock = clock
        self._interval = interval
        self._seen = ""
        self._wanted = asyncio.Event()
        self._history: deque[SnapshotId] = deque(maxlen=HISTORY)
        self.fault = ""
        """Why the file as it is now is not in force; empty when it is."""

    @property
    def snapshots(self) -> tuple[SnapshotId, ...]:
        """The policies this process had in force, newest first, at most ten."""
        return tuple(self._history)

    @property
    def has_policy(self) -> bool:
        """False while everything is denied because no policy was ever loaded."""
        return bool(self._history)

    def start(self) -> LoadedPolicy | None:
        """Loads the policy before anything is served. Raises LoadError; None when there is no file."""
        files = self._source.read()
        loaded = self._source.load(files)
        self._seen = files.fingerprint
        if loaded is None:
            _log.error(
                "NO POLICY: every job is denied until there is one",
                event="policy_missing",
                path=self._source.path,
            )
        else:
            self._use(loaded)
        return loaded

    def reload_soon(self) -> None:
        """Asks for a look at the file now; many askings make one look."""
        self._wanted.set()

    async def run(self) -> None:
        """Watches the file until cancelled."""
        while True:
            timer = asyncio.ensure_future(self._clock.sleep(self._interval))
            asked = asyncio.ensure_future(self._wanted.wait())
            try:
                await asyncio.wait({timer, asked}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                timer.cancel()
                asked.cancel()
            self._wanted.clear()
            await self.poll()

    async def poll(self) -> None:
        """Looks once. A policy that cannot be used is logged once per change, and the last good one stays in force."""
        try:
            files = await asyncio.to_thread(self._source.read)
        except LoadError as error:
            if error.message != self.fault:
                self._reject(error)
            self._seen = ""
            return
        if files.fingerprint == self._seen:
            return
        try:
            await self._replace(files)
        except LoadError as error:
            self._reject(error)
        self._seen = files.fingerprint

    async def _replace(self, files: PolicyFiles) -> None:
        # Parsing ten thousand rules takes a second or two; decisions go on meanwhile.
        loaded = await asyncio.to_thread(self._source.load, files)
        if loaded is not None:
            self._use(loaded)
        elif self.has_policy:
            raise LoadError(f"error in policy: {self._source.path} is gone", reason="missing")

    def _use(self, loaded: LoadedPolicy) -> None:
        self._judge.adopt(loaded.compiled, loaded.snapshot)
        previous = self._history[0] if self._history else ""
        if loaded.snapshot != previous:
            self._history.appendleft(loaded.snapshot)
            if previous:
                metrics.POLICY_SNAPSHOT_INFO.labels(previous).set(0)
            metrics.POLICY_SNAPSHOT_INFO.labels(loaded.snapshot).set(1)
        self.fault = ""
        metrics.POLICY_STALE.set(0)
        _log.info(
            "policy in force",
            event="policy_loaded",
            path=self._source.path,
            snapshot=loaded.snapshot,
            rules=len(loaded.compiled.rules),
            tenants=len(loaded.compiled.tenants),
            default_decision=loaded.compiled.default.decision.value,
        )

    def _reject(self, error: LoadError) -> None:
        self.fault = error.message
        metrics.POLICY_STALE.set(1)
        metrics.POLICY_LOAD_FAILURES.labels(error.reason).inc()
        _log.error(
            "error: the new policy cannot be used, the last good one stays in force",
            event="policy_reload_failed",
            path=self._source.path,
            reason=error.reason,
            line=error.line,
            column=error.column,
            error=error.message,
            snapshot=self._history[0] if self._history else "",
        )
