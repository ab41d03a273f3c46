"""Which worker gets a job (spec-scheduler 8.3)."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from cordum.core.ids import PoolName, TenantId, Topic, WorkerId
from cordum.core.routing.fleet import Fleet
from cordum.core.routing.routes import Routes
from cordum.core.routing.workers import Readiness, Worker

CONSTRAINT_PREFIXES: Final = ("placement.", "constraint.", "node.")
"""Labels with these prefixes must be equal on the worker; labels are kept, and compared, with the prefix."""

PREFERRED_POOL: Final = "preferred_pool"
PREFERRED_WORKER: Final = "preferred_worker_id"

LOOKED_AT: Final = 48
"""Free candidates compared for one job: the least loaded of so many is free enough, and more would cost time."""


class NoPlace(StrEnum):
    """Why a job cannot be placed now. The values are what `pending_reason` shows."""

    NO_POOL = "no_pool_mapping"
    NO_WORKERS = "no_workers"
    OVERLOADED = "pool_overloaded"
    TENANT_LIMIT = "tenant_limit"


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """What a job asks of its worker."""

    topic: Topic
    tenant: TenantId
    constraints: Mapping[str, str] = {}
    requires: tuple[str, ...] = ()
    preferred_pool: PoolName = PoolName("")
    preferred_worker: WorkerId = WorkerId("")


def need_of(topic: Topic, tenant: TenantId, labels: Mapping[str, str], requires: tuple[str, ...]) -> Need:
    """The need that a job's topic, labels and requirements express."""
    if not labels:
        return Need(topic=topic, tenant=tenant, requires=requires)
    return Need(
        topic=topic,
        tenant=tenant,
        constraints={key: value for key, value in labels.items() if key.startswith(CONSTRAINT_PREFIXES)},
        requires=requires,
        preferred_pool=PoolName(labels.get(PREFERRED_POOL, "")),
        preferred_worker=WorkerId(labels.get(PREFERRED_WORKER, "")),
    )


def pools_of(need: Need, routes: Routes) -> tuple[PoolName, ...]:
    """The pools a job may go to, in order; empty when there is none."""
    pools = routes.pools_for(need.tenant, need.topic)
    if need.preferred_pool:
        pools = tuple(pool for pool in pools if pool == need.preferred_pool)
    return routes.offering(pools, need.requires) if need.requires else pools


def place(
    need: Need, pools: tuple[PoolName, ...], fleet: Fleet, readiness: Readiness, now: float, turn: int = 0
) -> Worker | NoPlace:
    """The worker for a job, or why there is none.

    The least loaded of the eligible ones; the preferred one at once when it is eligible and has a free slot. A worker
    never gets more jobs than it takes in parallel.

    Args:
        pools: from `pools_of`.
        turn: any rising number; large pools are looked at from another start each time, so that jobs spread.
    """
    if not pools:
        return NoPlace.NO_POOL
    since = fleet.alive_since(now)
    slots = fleet.slots
    best: Worker | None = None
    best_score = 0.0
    seen_any = False
    seen_free = 0
    for pool in pools:
        members = fleet.in_pool(pool)
        count = len(members)
        start = turn % count if count > LOOKED_AT else 0
        for index in range(count):
            worker = members[(start + index) % count] if start else members[index]
            if worker.heartbeat_at is None or worker.heartbeat_at < since:
                continue
            if not readiness.admits(worker, need.topic, now):
                continue
            if need.constraints and not _meets(worker, need.constraints):
                continue
            seen_any = True
            active = len(slots.held_by(worker.id)) + worker.unknown_jobs
            if active >= worker.slots or worker.is_hot:
                continue
            if need.preferred_worker and worker.id == need.preferred_worker:
                return worker
            report = worker.last
            score = active + report.cpu_load / 100 + report.gpu_utilization / 100
            if best is None or score < best_score:
                best, best_score = worker, score
            seen_free += 1
            if seen_free >= LOOKED_AT and not need.preferred_worker:
                return best
    if best is not None:
        return best
    return NoPlace.OVERLOADED if seen_any else NoPlace.NO_WORKERS


def _meets(worker: Worker, constraints: Mapping[str, str]) -> bool:
    labels = worker.last.labels
    return all(labels.get(key) == value for key, value in constraints.items())
