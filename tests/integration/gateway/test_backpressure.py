"""How many jobs of a tenant may be under way: set in the stored configuration, in force within moments, 429 beyond."""

from typing import Any

import httpx
import pytest

from cordum.core.ids import TenantId
from cordum.runtime.clock import SystemClock
from cordum.services.gateway.config_changes import announce_change

from .conftest import STRANGER, World, eventually

JOB = {"prompt": "hello", "topic": "job.default"}


async def configure(world: World, scope: str, scope_id: str, data: dict[str, Any]) -> None:
    """What an operator does: the document changes, and everybody is told."""
    await world.store.configs.update(scope, scope_id, lambda found: {**found, **data})
    await announce_change(await world.outside(), SystemClock(), scope, scope_id)


async def test_beyond_what_may_run_and_wait_jobs_are_turned_away(world: World, api: httpx.AsyncClient) -> None:
    first = await api.post("/api/v1/jobs", json=JOB)
    await configure(world, "org", "default", {"limits": {"max_concurrent_jobs": 1}, "rate_limits": {"queue_size": 2}})

    async def refused() -> bool:
        return (await api.post("/api/v1/jobs", json=JOB)).status_code == 429

    await eventually(refused)
    active = await world.store.jobs.active_count(TenantId("default"))
    again = await api.post("/api/v1/jobs", json={**JOB, "idempotency_key": "once"})
    stranger = await (await world.client(STRANGER)).post("/api/v1/jobs", json=JOB)
    cancelled = await api.post(f"/api/v1/jobs/{first.json()['job_id']}/cancel")
    room = await api.post("/api/v1/jobs", json={**JOB, "idempotency_key": "once"})

    assert active >= 3
    assert again.status_code == 429
    assert (again.json()["code"], again.json()["limit"]) == ("BACKPRESSURE", 3)
    assert again.headers["retry-after"] == "5"
    assert stranger.status_code == 200, "another tenant has room of its own"
    assert cancelled.status_code == 200
    assert (room.status_code == 200) == (active == 3)


@pytest.mark.parametrize("queue", [-1, "many", True, None])
async def test_what_is_no_number_is_no_limit(world: World, api: httpx.AsyncClient, queue: object) -> None:
    await configure(world, "org", "default", {"rate_limits": {"queue_size": queue}})

    assert (await api.post("/api/v1/jobs", json=JOB)).status_code == 200
