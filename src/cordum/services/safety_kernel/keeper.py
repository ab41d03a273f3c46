"""The policy in force: loaded at the start, replaced when what is stored changes, kept when the new one is bad."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from cordum.core.ids import SnapshotId
from cordum.runtime import logging, metrics
from cordum.runtime.clock import Clock
from cordum.services.safety_kernel.errors import LoadError
from cordum.services.safety_kernel.history import History
from cordum.services.safety_kernel.loading import LoadedPolicy, PolicyLoader
from cordum.services.safety_kernel.source import Found, PolicySource

BACKOFF: Final = (1.0, 2.0, 5.0)
"""Seconds until a source that did not answer is asked again, unless the interval is shorter."""

_log = logging.get_logger(__name__)

Adopt = Callable[[LoadedPolicy], None]


class PolicyKeeper:
    """Gives whoever decides the policy in force, and swaps it whole.

    The first load is `start`; after it `run` looks every `interval` seconds, and `reload_soon` at once.
    """

    def __init__(
        self,
        source: PolicySource,
        loader: PolicyLoader,
        adopters: Sequence[Adopt],
        history: History,
        clock: Clock,
        interval: float,
    ) -> None:
        """`adopters` are called in turn with each policy that comes into force, at one moment of the event loop."""
        self._source = source
        self._loader = loader
        self._adopters = adopters
        self._history = history
        self._clock = clock
        self._interval = interval
        self._found = Found()
        self._loaded: LoadedPolicy | None = None
        self._seen = ""
        self._failures = 0
        self._confirmed_at = 0.0
        self._wanted = asyncio.Event()
        self._looking = asyncio.Lock()
        self.fault = ""
        """Why what is stored now is not in force; empty when it is."""

    @property
    def has_policy(self) -> bool:
        """False while everything is denied because no policy was ever loaded."""
        return bool(self._history.own)

    @property
    def snapshot(self) -> SnapshotId:
        """The policy in force; "" for none."""
        return self._history.own[0] if self.has_policy else SnapshotId("")

    @property
    def loaded(self) -> LoadedPolicy | None:
        """The policy in force."""
        return self._loaded

    @property
    def found(self) -> Found:
        """What was stored when it was last looked at, in force or not."""
        return self._found

    @property
    def age(self) -> float:
        """Seconds since the policy in force was last seen to be the one that is stored; 0 for no policy."""
        return max(0.0, self._clock.now() - self._confirmed_at) if self.has_policy else 0.0

    async def start(self) -> LoadedPolicy | None:
        """Loads the policy before anything is served. Raises LoadError; None when there is none at all."""
        self._found = await self._source.read()
        loaded = await asyncio.to_thread(self._loader.load, self._found, self._clock.now())
        self._seen = self._found.fingerprint
        if loaded is None:
            _log.error(
                "NO POLICY: every job is denied until there is one", event="policy_missing", path=self._source.name
            )
        else:
            self._use(loaded)
        return loaded

    def reload_soon(self) -> None:
        """Asks for a look now; many askings make one look."""
        self._wanted.set()

    async def run(self) -> None:
        """Looks again and again until cancelled."""
        metrics.POLICY_AGE.set_function(lambda: self.age)
        await self._history.tell()
        while True:
            timer = asyncio.ensure_future(self._clock.sleep(self._pause()))
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
        async with self._looking:
            await self._look()
        await self._history.tell()

    async def _look(self) -> None:
        try:
            found = await self._source.read()
        except LoadError as error:
            self._failures += 1
            if error.message != self.fault:
                self._reject(error)
            # Whatever is found when it can be read again is looked at anew.
            self._seen = ""
            return
        self._failures = 0
        if found.fingerprint == self._seen:
            if not self.fault:
                self._confirmed_at = self._clock.now()
            return
        before, self._found = self._found, found
        try:
            await self._replace(found, before)
        except LoadError as error:
            self._found = before if error.reason == "missing" else found
            if error.message != self.fault:
                self._reject(error)
        self._seen = found.fingerprint

    async def _replace(self, found: Found, before: Found) -> None:
        if found.base is None and before.base is not None:
            raise LoadError(f"error in policy: {self._source.name} is gone", reason="missing")
        # Bundles are taken out one by one; a document that is gone was lost.
        if found.bundles is None and before.bundles is not None:
            raise LoadError("error in policy: all bundles are gone", reason="missing", bundle="")
        # Parsing ten thousand rules takes a second or two; decisions go on meanwhile.
        loaded = await asyncio.to_thread(self._loader.load, found, self._clock.now())
        if loaded is not None:
            self._use(loaded)
        elif self.has_policy:
            raise LoadError(f"error in policy: {self._source.name} and all bundles are gone", reason="missing")

    def _pause(self) -> float:
        if not self._failures:
            return self._interval
        return min(self._interval, BACKOFF[min(self._failures, len(BACKOFF)) - 1])

    def _use(self, loaded: LoadedPolicy) -> None:
        for adopt in self._adopters:
            adopt(loaded)
        self._loader.accepted(loaded)
        self._loaded = loaded
        previous = self.snapshot
        self._history.note(loaded.snapshot)
        if loaded.snapshot != previous:
            if previous:
                metrics.POLICY_SNAPSHOT_INFO.labels(previous).set(0)
            metrics.POLICY_SNAPSHOT_INFO.labels(loaded.snapshot).set(1)
        self.fault = ""
        self._confirmed_at = self._clock.now()
        metrics.POLICY_STALE.set(0)
        _log.info(
            "policy in force",
            event="policy_loaded",
            path=self._source.name,
            snapshot=loaded.snapshot,
            bundles=list(loaded.bundles[:50]),
            revision=loaded.revision,
            rules=len(loaded.compiled.rules),
            tenants=len(loaded.compiled.tenants),
            default_decision=loaded.compiled.default.decision.value,
        )

    def _reject(self, error: LoadError) -> None:
        self.fault = error.message
        metrics.POLICY_STALE.set(1)
        metrics.POLICY_LOAD_FAILURES.labels(error.bundle, error.reason).inc()
        _log.error(
            "error: the new policy cannot be used, the last good one stays in force",
            event="policy_reload_failed",
            path=self._source.name,
            bundle=error.bundle,
            reason=error.reason,
            line=error.line,
            column=error.column,
            error=error.message,
            snapshot=self.snapshot,
        )
