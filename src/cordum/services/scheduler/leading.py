"""Loops that only one scheduler runs at a time, under a lease (spec-scheduler 6 and 12).

The lease is kept from tick to tick, so the leader stays the leader while it lives; when it dies, another one has the
lease within one time to live. It decides who works, never what is true: every move is fenced by the record.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from cordum.core.errors import CordumError
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.store import Lease, LeaseLostError, Store

log = get_logger(__name__)

TTL_IN_PERIODS: Final = 2
"""A lease lasts this many periods of its loop."""


class LeadLoop:
    """One such loop."""

    def __init__(self, store: Store, key: str, clock: Clock) -> None:
        self._store = store
        self._key = key
        self._clock = clock
        self._lease: Lease | None = None

    @property
    def leads(self) -> bool:
        """Whether this process held the lease at its last tick."""
        return self._lease is not None

    async def run(
        self, period: Callable[[], float], tick: Callable[[], Awaitable[None]], stand_by: Callable[[], None]
    ) -> None:
        """Ticks at once and then every `period()` seconds while we lead; `stand_by` is for the ticks of others."""
        while True:
            seconds = period()
            started = self._clock.monotonic()
            try:
                if await self._hold(seconds * TTL_IN_PERIODS):
                    await self._tick_renewing(tick, seconds * TTL_IN_PERIODS)
                else:
                    stand_by()
            except LeaseLostError:
                self._lease = None
                stand_by()
            except CordumError as error:
                stand_by()
                log.warning("a tick failed", event="tick_failed", loop=self._key, error=error.message)
            except Exception:
                stand_by()
                log.exception("a tick failed", event="tick_failed", loop=self._key)
            await self._clock.sleep(max(0.01, seconds - (self._clock.monotonic() - started)))

    async def release(self) -> None:
        """Lets another scheduler lead at once; for stopping."""
        lease, self._lease = self._lease, None
        if lease is None:
            return
        try:
            await self._store.leases.release(lease)
        except CordumError as error:
            # It runs out by itself; that Redis is away is no reason to stop with an error.
            log.debug("a lease was not released", event="lease_unreleased", loop=self._key, error=error.message)

    async def _hold(self, ttl: float) -> bool:
        if self._lease is not None and self._lease.ttl == ttl:
            try:
                await self._store.leases.renew(self._lease)
                return True
            except LeaseLostError:
                self._lease = None
        elif self._lease is not None:
            await self.release()
        self._lease = await self._store.leases.acquire(self._key, ttl)
        return self._lease is not None

    async def _tick_renewing(self, tick: Callable[[], Awaitable[None]], ttl: float) -> None:
        """Runs a tick; a long one renews the lease as it goes, and ends when the lease is lost."""
        working = asyncio.ensure_future(tick())
        try:
            while True:
                done, _ = await asyncio.wait({working}, timeout=ttl / 3)
                if done:
                    working.result()
                    return
                if self._lease is not None:
                    await self._store.leases.renew(self._lease)
        finally:
            if not working.done():
                working.cancel()
                await asyncio.wait({working})
