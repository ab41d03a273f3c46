"""What holds when the safety kernel cannot be asked, and whether results are checked: set at the start, changed at run
time by `scheduler` in `cfg:system:default` (all tenants) and the fail modes also in `cfg:org:<tenant>` (one tenant).

    {"scheduler": {"input_fail_mode": "closed", "output_fail_mode": "closed", "output_policy_enabled": true}}

A word that means nothing stands for the safe side (closed, true), and says so in the log.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from cordum.core.errors import CordumError
from cordum.core.ids import TenantId
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.runtime.settings import SchedulerSettings
from cordum.runtime.settings.output import FailMode
from cordum.store import Store

log = get_logger(__name__)

SECTION: Final = "scheduler"
KEPT: Final = 30.0
"""Seconds for which what a tenant's document says is remembered."""
MOST_TENANTS: Final = 10_000

_WORDS: Final[dict[str, bool]] = {"true": True, "false": False}


class Modes(msgspec.Struct, frozen=True, kw_only=True):
    """What is in force."""

    input: FailMode
    output: FailMode
    output_enabled: bool


class SafetyModes:
    """The modes in force. Reading them never waits, but for a tenant's own after a failure."""

    def __init__(self, store: Store, settings: SchedulerSettings, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._given = Modes(
            input=settings.policy_check_fail_mode,
            output=settings.output_policy_fail_mode,
            output_enabled=settings.output_policy_enabled,
        )
        self.now = self._given
        self._tenants: dict[TenantId, tuple[float, Modes]] = {}
        self._asked = asyncio.Event()

    @property
    def output_enabled(self) -> bool:
        """Whether results are checked."""
        return self.now.output_enabled

    def refresh_soon(self) -> None:
        """Something says that the configuration changed."""
        self._asked.set()

    async def refresh(self) -> None:
        """Reads the installation's document. Raises StoreError, and keeps what was in force."""
        document = await self._store.configs.get("system", "default")
        found = _read(document.data if document is not None else {}, self._given, "cfg:system:default")
        self._tenants.clear()
        if found != self.now:
            log.warning(
                "fail modes changed",
                event="safety_modes_changed",
                input_fail_mode=found.input.value,
                output_fail_mode=found.output.value,
                output_policy_enabled=found.output_enabled,
            )
            self.now = found

    async def run(self, interval: float) -> None:
        """Reads the document again every so many seconds (30 at most), and when asked."""
        while True:
            try:
                await asyncio.wait_for(self._asked.wait(), min(interval, KEPT))
            except TimeoutError:
                pass
            self._asked.clear()
            try:
                await self.refresh()
            except CordumError as error:
                log.warning("fail modes not read again", event="safety_modes_unread", error=error.message)

    async def of(self, tenant: TenantId) -> Modes:
        """The modes for a tenant's jobs: its own document goes before the installation's.

        Asked only when the kernel did not answer. When the document cannot be read either, nothing is open.
        """
        now = self._clock.monotonic()
        known = self._tenants.get(tenant)
        if known is not None and now - known[0] < KEPT:
            return known[1]
        try:
            document = await self._store.configs.get("org", tenant)
        except CordumError as error:
            log.error("a tenant's fail modes cannot be read, closed holds", event="safety_modes_unread", tenant=tenant,
                      error=error.message)  # fmt: skip
            return msgspec.structs.replace(self.now, input=FailMode.CLOSED, output=FailMode.CLOSED)
        modes = _read(document.data if document is not None else {}, self.now, f"cfg:org:{tenant}")
        # Whether results are checked at all is not a tenant's own choice.
        modes = msgspec.structs.replace(modes, output_enabled=self.now.output_enabled)
        if len(self._tenants) >= MOST_TENANTS:
            self._tenants.clear()
        self._tenants[tenant] = now, modes
        return modes


def _read(data: Mapping[str, Any], base: Modes, source: str) -> Modes:
    section = data.get(SECTION)
    if not isinstance(section, Mapping):
        return base
    return Modes(
        input=_fail_mode(section, "input_fail_mode", base.input, source),
        output=_fail_mode(section, "output_fail_mode", base.output, source),
        output_enabled=_flag(section, "output_policy_enabled", base.output_enabled, source),
    )


def _fail_mode(section: Mapping[str, Any], name: str, base: FailMode, source: str) -> FailMode:
    word = section.get(name)
    if word is None:
        return base
    try:
        return FailMode(str(word).strip().lower())
    except ValueError:
        log.error("neither closed nor open, closed holds", event="safety_mode_unknown", source=source, name=name)
        return FailMode.CLOSED


def _flag(section: Mapping[str, Any], name: str, base: bool, source: str) -> bool:
    word = section.get(name)
    if word is None:
        return base
    known = _WORDS.get(str(word).strip().lower())
    if known is None:
        log.error("neither true nor false, true holds", event="safety_mode_unknown", source=source, name=name)
        return True
    return known
