"""Which worker gets a job (spec-scheduler 8.3)."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from cordum.core.ids import PoolName, TenantId, Topic, WorkerId
from cordum.core.routing.fleet import Fleet
from cordum.core.routing.routes import Routes
from cordum.core.routing.workers import Readiness, Worker, fold_all

CONSTRAINT_PREFIXES: Final = ("placement.", "constraint.", "node.")
"""Labels with these prefixes must be equal on the worker; labels are kept, and compared, with the prefix."""

PREFERRED_POOL: Final = "preferred_pool"
PREFERRED_WORKER: Final = "preferred_worker_id"

LOOKED_AT: Final = 48
"""Free candidates compared for one job: the least loaded of so many is free enough, and more would cost time."""


_NOTHING: Final[frozenset[str]] = frozenset()
_NO_OFFERS: Final[Mapping[PoolName, frozenset[str]]] = {}


class NoPlace(StrEnum):
    """Why a job cannot be placed now. The values are what `pending_reason` shows."""

    NO_POOL = "no_pool_mapping"
    NO_WORKERS = "no_workers"
    OVERLOADED = "pool_overloaded"
    TENANT_LIMIT = "tenant_limit"
    TIER_LIMIT = "tier_limit_exceeded"


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """What a job asks of its worker; `requires` is folded for comparison."""

    topic: Topic
    tenant: TenantId
    constraints: Mapping[str, str] = {}
    requires: frozenset[str] = frozenset()
    preferred_pool: PoolName = PoolName("")
    preferred_worker: WorkerId = WorkerId("")


def need_of(topic: Topic, tenant: TenantId, labels: Mapping[str, str], requires: tuple[str, ...]) -> Need:
    """The need that a job's topic, labels and requirements (its own and its topic's) express."""
    needed = fold_all(requires) if requires else _NOTHING
    if not labels:
        return Need(topic=topic, tenant=tenant, requires=needed)
    return Need(
        topic=topic,
        tenant=tenant,
        constraints={key: value for key, value in labels.items() if key.startswith(CONSTRAINT_PREFIXES)},
        requires=needed,
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
    need: Need,
    pools: tuple[PoolName, ...],
    fleet: Fleet,
    readiness: Readiness,
    now: float,
    turn: int = 0,
    offers: Mapping[PoolName, frozenset[str]] = _NO_OFFERS,
) -> Worker | NoPlace:
    """The worker for a job, or why there is none.

    The least loaded of the eligible ones; the preferred one at once when it is eligible and has a free slot. A worker
    never gets more jobs than it takes in parallel. Only workers with room are looked at: what it costs does not grow
    with the number of those that are busy.

    Args:
        pools: from `pools_of`.
        turn: any rising number; large pools are looked at from another start each time, so that jobs spread.
        offers: what each pool vouches for (`Routes.offers`); needed for jobs that require something.
    """
    if not pools:
        return NoPlace.NO_POOL
    if need.preferred_worker:
        liked = fleet.workers.get(need.preferred_worker)
        free = liked is not None and liked.pool in pools and fleet.load(liked) < liked.slots and not liked.is_hot
        if free and liked is not None and _fits(liked, need, fleet, readiness, now, offers):
            return liked
    since = fleet.alive_since(now)
    slots = fleet.slots
    picky = bool(need.requires or need.constraints)
    best: Worker | None = None
    best_score = 0.0
    seen = 0
    for pool in pools:
        open_ones = fleet.with_room(pool)
        count = len(open_ones)
        start = turn % count if count > LOOKED_AT else 0
        for index in range(count):
            worker = open_ones[(start + index) % count] if start else open_ones[index]
            if worker.heartbeat_at is None or worker.heartbeat_at < since:
                continue
            if not readiness.admits(worker, need.topic, now):
                continue
            if picky and not _matches(worker, need, offers):
                continue
            active = len(slots.held_by(worker.id)) + worker.unknown_jobs
            if active >= worker.slots:
                continue
            report = worker.last
            score = active + report.cpu_load / 100 + report.gpu_utilization / 100
            if best is None or score < best_score:
                best, best_score = worker, score
            seen += 1
            if seen >= LOOKED_AT:
                return best
    if best is not None:
        return best
    some_fit = any(
        _fits(worker, need, fleet, readiness, now, offers) for pool in pools for worker in fleet.in_pool(pool)
    )
    return NoPlace.OVERLOADED if some_fit else NoPlace.NO_WORKERS


def _fits(
    worker: Worker,
    need: Need,
    fleet: Fleet,
    readiness: Readiness,
    now: float,
    offers: Mapping[PoolName, frozenset[str]],
) -> bool:
    """Whether a worker could do the job, were it not busy."""
    return (
        worker.heartbeat_at is not None
        and worker.heartbeat_at >= fleet.alive_since(now)
        and readiness.admits(worker, need.topic, now)
        and _matches(worker, need, offers)
    )


def _matches(worker: Worker, need: Need, offers: Mapping[PoolName, frozenset[str]]) -> bool:
    if need.requires and not worker.offers(need.requires, offers.get(worker.pool, _NOTHING)):
        return False
    labels = worker.last.labels
    return all(labels.get(key) == value for key, value in need.constraints.items())
