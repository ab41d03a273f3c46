"""Audit events on their way to the log: none is lost because Redis cannot take it just now (spec-auth section 7.3).

What cannot be appended waits, in a file where one is set and in memory otherwise, and is appended as soon as it can be.
"""

import asyncio
import os
from collections import deque
from typing import Final

import msgspec

from cordum.core.audit.event import AuditEvent
from cordum.core.errors import CordumError
from cordum.runtime import metrics
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.store.audit import AuditLog

log = get_logger(__name__)

MOST_WAITING: Final = 10_000
"""Events that may wait; what comes after them is in the process log only, and counted."""
_AT_ONCE: Final = 256
_AGAIN: Final = 1.0  # seconds between attempts to write what waits

_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(AuditEvent)


class AuditUnavailableError(CordumError):
    """The audit log cannot be written, and what happens must not happen unrecorded."""

    code = "audit_unavailable"


class AuditOutbox:
    """Appends events, and keeps those that could not be appended.

    Args:
        path: file for those; "" = memory only.
    """

    def __init__(self, audit: AuditLog, clock: Clock, path: str = "") -> None:
        self._audit = audit
        self._clock = clock
        self._path = path
        self._waiting: deque[AuditEvent] = deque()
        self._writing: set[asyncio.Task[None]] = set()
        self._flushing = asyncio.Lock()
        self._arrived = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Events that are not in the log yet."""
        return len(self._waiting)

    async def open(self) -> None:
        """Takes up what an earlier process has left in the file."""
        if not self._path:
            return
        left = await asyncio.to_thread(_read, self._path)
        self._waiting.extend(left)
        if left:
            log.warning("audit events of an earlier run wait", event="audit_spool_found", events=len(left))
            self._arrived.set()

    async def keep(self, event: AuditEvent) -> None:
        """Writes one event down; returns once it is in the log, or safe in the file.

        Raises:
            AuditUnavailableError: it is neither; it waits in memory.
        """
        try:
            await self._audit.append(event)
        except CordumError as error:
            if not await self._hold(event, error):
                raise AuditUnavailableError from error

    def note(self, event: AuditEvent) -> None:
        """Writes one event down without anybody waiting for it."""
        task = asyncio.get_running_loop().create_task(self._write(event))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write(self, event: AuditEvent) -> None:
        try:
            await self._audit.append(event)
        except CordumError as error:
            await self._hold(event, error)

    async def demand(self) -> None:
        """Makes sure that what comes next can be written down: nothing waits, or what waits can be written now.

        Raises:
            AuditUnavailableError: the log cannot be written at this time and there is no file to stand in for it.
        """
        if self._waiting and not self._path and not await self.flush():
            raise AuditUnavailableError

    async def flush(self) -> bool:
        """Tries to write what waits; whether all of it is written."""
        async with self._flushing:
            while self._waiting:
                batch = [self._waiting[at] for at in range(min(len(self._waiting), _AT_ONCE))]
                outcomes = await asyncio.gather(*map(self._audit.append, batch), return_exceptions=True)
                failed = [event for event, outcome in zip(batch, outcomes, strict=True) if outcome is not None]
                for _ in batch:
                    self._waiting.popleft()
                self._waiting.extendleft(reversed(failed))
                await self._save()
                if failed:
                    return False
            return True

    async def run(self) -> None:
        """Writes what waits, for as long as the process runs."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            await self.run_until_empty()

    async def run_until_empty(self) -> None:
        """Writes what waits, however long that takes."""
        while not await self._flushed():
            await self._clock.sleep(_AGAIN)

    async def _flushed(self) -> bool:
        try:
            return await self.flush()
        except OSError as error:
            log.error("audit file not written", event="audit_spool_failed", path=self._path, error=str(error))
            return False

    async def aclose(self) -> None:
        """Waits for what is under way, and tries once more to write what waits."""
        if self._writing:
            await asyncio.gather(*self._writing, return_exceptions=True)
        if self._waiting and not await self._flushed() and not self._path:
            for event in self._waiting:
                _tell_lost(event, "the process ends")

    async def _hold(self, event: AuditEvent, error: CordumError) -> bool:
        """Keeps an event for later; whether it is safe."""
        metrics.AUDIT_FAILURES.inc()
        if len(self._waiting) >= MOST_WAITING:
            _tell_lost(event, error.message)
            return False
        self._waiting.append(event)
        metrics.AUDIT_WAITING.set(len(self._waiting))
        self._arrived.set()
        log.warning(
            "audit event not written, it waits",
            event="audit_waits",
            action=event.action,
            waiting=len(self._waiting),
            error=error.message,
        )
        if not self._path:
            return False
        try:
            await asyncio.to_thread(_add, self._path, _ENCODER.encode(event))
        except OSError as fault:
            log.error("audit file not written", event="audit_spool_failed", path=self._path, error=str(fault))
            return False
        return True

    async def _save(self) -> None:
        metrics.AUDIT_WAITING.set(len(self._waiting))
        if self._path:
            await asyncio.to_thread(_replace, self._path, [_ENCODER.encode(event) for event in self._waiting])


def _tell_lost(event: AuditEvent, why: str) -> None:
    """The last resort: the process log knows what the audit log will not."""
    metrics.AUDIT_LOST.inc()
    log.error("audit event lost", event="audit_lost", why=why, audit=_ENCODER.encode(event).decode())


def _read(path: str) -> list[AuditEvent]:
    try:
        with open(path, "rb") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return []
    events = []
    for line in lines[:MOST_WAITING]:
        try:
            events.append(_DECODER.decode(line))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            # A crash can cut the last line off; the event was not promised to anybody then.
            log.error("an audit event in the file cannot be read", event="audit_spool_unreadable", path=path)
    return events


def _add(path: str, line: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, line + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(path: str, lines: list[bytes]) -> None:
    if not lines and not os.path.exists(path):
        return
    fresh = f"{path}.new"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, b"".join(line + b"\n" for line in lines))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(fresh, path)
