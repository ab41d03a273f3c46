"""`GET /api/v1/status`: the installation in one look (spec-gateway section 11.2)."""

import asyncio
from typing import Any, Final

from cordum import __version__
from cordum.bus import Bus
from cordum.core.access.permissions import Permission
from cordum.core.ids import TenantId
from cordum.core.jobs.states import JobState
from cordum.rpc.breaker import BreakerState
from cordum.rpc.kernel_client import KernelClient
from cordum.runtime.clock import Clock
from cordum.runtime.health import OK, Health
from cordum.runtime.settings import GatewaySettings
from cordum.services.gateway.answer import Answer, answer
from cordum.services.gateway.call import Call
from cordum.services.gateway.parts import Parts
from cordum.services.gateway.times import rfc3339
from cordum.services.gateway.workers.fleet import Fleet
from cordum.store import Store, StoreError

MAX_AGE: Final = 2.0
"""Seconds an answer is given out again, to the same tenant and the same kind of caller."""
_MAX_CACHED: Final = 1_000


class StatusPage:
    """Puts the answer together."""

    def __init__(
        self,
        settings: GatewaySettings,
        store: Store,
        bus: Bus,
        kernel: KernelClient,
        fleet: Fleet,
        health: Health,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._store = store
        self._bus = bus
        self._kernel = kernel
        self._fleet = fleet
        self._health = health
        self._clock = clock
        self._started_at = clock.monotonic()
        self._cached: dict[tuple[TenantId, bool], tuple[float, Answer]] = {}

    async def show(self, call: Call) -> Answer:
        """The status as this caller may see it."""
        key = (call.tenant, call.caller.may(Permission.STATUS_ADMIN))
        now = self._clock.monotonic()
        known = self._cached.get(key)
        if known is not None and now - known[0] <= MAX_AGE:
            return Answer(known[1].body, 200, (("X-Cache", "HIT"),))
        fresh = answer(await self._body(*key), headers=(("X-Cache", "MISS"),))
        if len(self._cached) >= _MAX_CACHED:
            self._cached.clear()
        self._cached[key] = (now, fresh)
        return fresh

    async def _body(self, tenant: TenantId, everything: bool) -> dict[str, Any]:
        checks = (await self._health.readiness()).checks
        redis = checks.get("redis", OK)
        connected = self._bus.connected
        workers, counts, active = await self._stored(tenant)
        nats_status = "connected" if connected else "disconnected"
        body: dict[str, Any] = {
            "time": rfc3339(self._clock.now()),
            "uptime_seconds": int(self._clock.monotonic() - self._started_at),
            "goroutine_count": len(asyncio.all_tasks()),
            "active_ws_clients": 0,
            "nats_status": nats_status,
            "build": {"version": __version__, "commit": "unknown", "date": "unknown"},
            "nats": {"connected": connected, "status": nats_status},
            "redis": {"ok": redis == OK, "status": "ok" if redis == OK else "error"},
            "safety_kernel": {"status": "ok" if self._kernel.state is BreakerState.CLOSED else "unreachable"},
            "workers": {"count": sum(worker["online"] for worker in workers)},
            "pipeline": {"active": active},
        }
        if everything:
            body["pipeline"] |= {
                word: sum(counts.get(state, 0) for state in states) for word, states in _PIPELINE.items()
            }
            body["instance_id"] = self._settings.instance_id
            body["rate_limiter"] = {"mode": "local"}
            body["circuit_breakers"] = {"input": {"state": self._kernel.state.value.upper()}}
            body["store_round_trips"] = self._store.round_trips
            if redis != OK:
                body["redis"]["error"] = redis
        return body

    async def _stored(self, tenant: TenantId) -> tuple[list[dict[str, Any]], dict[JobState, int], int]:
        """What Redis knows; nothing while it cannot be reached, for this page is what one looks at then."""
        try:
            jobs = self._store.jobs
            return await self._fleet.workers(), await jobs.counts(), await jobs.active_count(tenant)
        except StoreError:
            return [], {}, 0


_PIPELINE: Final = {
    "pending": (JobState.PENDING, JobState.SCHEDULED, JobState.RETRYING),
    "approval_required": (JobState.APPROVAL_REQUIRED,),
    "dispatched": (JobState.DISPATCHED,),
    "running": (JobState.RUNNING,),
    "succeeded": (JobState.SUCCEEDED,),
    "failed": (JobState.FAILED, JobState.TIMEOUT),
    "cancelled": (JobState.CANCELLED,),
    "denied": (JobState.DENIED,),
    "quarantined": (JobState.OUTPUT_QUARANTINED,),
}


async def show_status(parts: Parts, call: Call) -> Answer:
    """The installation in one look."""
    return await parts.status.show(call)
