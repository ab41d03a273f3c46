"""The fleet as `sys:workers:snapshot` carries it, for gateways and starting schedulers (spec-scheduler 11.5)."""

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

import msgspec

from cordum.core.ids import PoolName, Topic, WorkerId
from cordum.core.routing.fleet import Fleet
from cordum.core.routing.routes import Routes
from cordum.core.routing.workers import Worker, WorkerReport

NO_STANDINGS: Final[Mapping[WorkerId, str]] = MappingProxyType({})


class WorkerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One worker.

    Attributes:
        ready_topics: null when the worker never said.
        last_seen: RFC 3339.
        attestation: `verified`, or why the worker's last heartbeat was not; "" while nothing is checked.
    """

    worker_id: WorkerId
    pool: PoolName = PoolName("")
    active_jobs: int = 0
    max_parallel_jobs: int = 1
    capabilities: tuple[str, ...] = ()
    cpu_load: float = 0.0
    gpu_utilization: float = 0.0
    memory_load: float = 0.0
    region: str = ""
    type: str = ""
    labels: Mapping[str, str] = {}
    ready_topics: tuple[Topic, ...] | None = None
    last_seen: str = ""
    agent_name: str = ""
    attestation: str = ""


class PoolEntry(msgspec.Struct, frozen=True, kw_only=True):
    workers: int = 0
    active_jobs: int = 0
    capacity: int = 0


class TopicEntry(msgspec.Struct, frozen=True, kw_only=True):
    pool: PoolName
    workers: int = 0
    capacity: int = 0
    available: int = 0


class FleetSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything. `attested`: only workers with a good token are in it, and nobody else is a worker."""

    captured_at: str = ""
    writer_id: str = ""
    attested: bool = False
    pools: dict[str, PoolEntry] = {}
    topics: dict[str, TopicEntry] = {}
    workers: tuple[WorkerEntry, ...] = ()


def take_snapshot(
    fleet: Fleet,
    routes: Routes,
    *,
    writer_id: str,
    now: float,
    wall: float,
    standings: Mapping[WorkerId, str] = NO_STANDINGS,
    attested: bool = False,
) -> FleetSnapshot:
    """The fleet of this moment.

    Args:
        now: seconds of the fleet's steady clock; wall: the same moment as seconds since the epoch.
        standings: what became of the workers' last tokens; attested: whether it takes a good one to be in the fleet.
    """
    pools: dict[str, PoolEntry] = {}
    free: dict[str, int] = {}
    for pool, members in fleet.pools.items():
        living = [worker for worker in members if now - worker.heard_at <= fleet.ttl]
        pools[pool] = PoolEntry(
            workers=len(living),
            active_jobs=sum(map(fleet.load, living)),
            capacity=sum(worker.slots for worker in living),
        )
        free[pool] = fleet.free_slots(pool, now)
    for pool in routes.offers:
        pools.setdefault(pool, PoolEntry())
    topics: dict[str, TopicEntry] = {
        topic: TopicEntry(
            pool=names[0],
            workers=sum(pools[name].workers for name in names),
            capacity=sum(pools[name].capacity for name in names),
            available=sum(free.get(name, 0) for name in names),
        )
        for topic, names in routes.by_topic.items()
    }
    return FleetSnapshot(
        captured_at=rfc3339(wall),
        writer_id=writer_id,
        attested=attested,
        pools=pools,
        topics=topics,
        workers=tuple(
            _entry(worker, fleet, wall - now, standings.get(worker.id, "")) for worker in fleet.workers.values()
        ),
    )


def restore(snapshot: FleetSnapshot, fleet: Fleet, now: float) -> None:
    """Fills an empty fleet from the last snapshot, as if everybody had just been heard: the dead will fall silent."""
    for entry in snapshot.workers:
        if entry.ready_topics is not None:
            fleet.handshake(entry.worker_id, entry.ready_topics, entry.agent_name, now)
            fleet.workers[entry.worker_id].started_at = None
        if entry.pool:
            fleet.heartbeat(
                WorkerReport(
                    worker_id=entry.worker_id,
                    pool=entry.pool,
                    active_jobs=entry.active_jobs,
                    max_parallel=entry.max_parallel_jobs,
                    cpu_load=entry.cpu_load,
                    gpu_utilization=entry.gpu_utilization,
                    memory_load=entry.memory_load,
                    region=entry.region,
                    kind=entry.type,
                    capabilities=entry.capabilities,
                    labels=entry.labels,
                    agent_name=entry.agent_name,
                ),
                now,
            )


def rfc3339(wall: float) -> str:
    """Seconds since the epoch as RFC 3339 text in UTC, to the millisecond."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _entry(worker: Worker, fleet: Fleet, epoch: float, attestation: str) -> WorkerEntry:
    report = worker.last
    return WorkerEntry(
        worker_id=worker.id,
        pool=report.pool,
        active_jobs=fleet.load(worker),
        max_parallel_jobs=worker.slots,
        capabilities=report.capabilities,
        cpu_load=round(report.cpu_load, 3),
        gpu_utilization=round(report.gpu_utilization, 3),
        memory_load=round(report.memory_load, 3),
        region=report.region,
        type=report.kind,
        labels=report.labels,
        ready_topics=None if worker.ready_topics is None else tuple(sorted(worker.ready_topics)),
        last_seen=rfc3339(epoch + worker.heard_at),
        agent_name=report.agent_name,
        attestation=attestation,
    )
