"""The workers of one moment: who lives, in which pool, how loaded (spec-scheduler 11.1)."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import Enum
from typing import Final

from cordum.core.ids import PoolName, Topic, WorkerId
from cordum.core.routing.slots import Hold, Slots
from cordum.core.routing.workers import Worker, WorkerReport

WORKER_TTL: Final = 30.0
"""Seconds of silence after which a worker counts as gone."""

SETTLED: Final = 3.0
"""Seconds after a dispatch from which a worker's report must know of it."""

MAX_WORKERS: Final = 10_000
"""More than these are not taken in: names come from the bus, and a registry must not grow without bound."""

_NO_WORKERS: Final[tuple[Worker, ...]] = ()


class _Members:
    """The workers of one pool, and which of them may have room, in no order: placing looks at no others."""

    __slots__ = ("all", "open")

    def __init__(self) -> None:
        self.all: dict[WorkerId, Worker] = {}
        self.open: list[Worker] = []

    def add(self, worker: Worker) -> None:
        self.all[worker.id] = worker

    def remove(self, worker: Worker) -> None:
        self.all.pop(worker.id, None)
        self.shut(worker)

    def let_in(self, worker: Worker) -> None:
        """Jobs may go to this worker."""
        if worker.open_at < 0:
            worker.open_at = len(self.open)
            self.open.append(worker)

    def shut(self, worker: Worker) -> None:
        """No jobs go to this worker. Its place in the list goes to the last one."""
        at = worker.open_at
        if at < 0:
            return
        last = self.open.pop()
        if last is not worker:
            self.open[at] = last
            last.open_at = at
        worker.open_at = -1


class Arrival(Enum):
    """What hearing from a worker meant."""

    KNOWN = "known"
    NEW = "new"
    REFUSED = "refused"


class Fleet:
    """The registry of one process.

    All moments are seconds of one steady clock, handed in by the caller.
    """

    def __init__(self, ttl: float = WORKER_TTL) -> None:
        self.ttl = ttl
        self.slots = Slots(self._load_changed)
        self._workers: dict[WorkerId, Worker] = {}
        self._pools: dict[PoolName, _Members] = {}
        self._interrupted_at = float("-inf")

    def __len__(self) -> int:
        return len(self._workers)

    @property
    def workers(self) -> Mapping[WorkerId, Worker]:
        return self._workers

    @property
    def pools(self) -> Mapping[PoolName, Collection[Worker]]:
        """The workers with a heartbeat, by pool."""
        return {name: members.all.values() for name, members in self._pools.items()}

    def in_pool(self, pool: PoolName) -> Collection[Worker]:
        """A pool's workers that have sent a heartbeat."""
        members = self._pools.get(pool)
        return members.all.values() if members is not None else _NO_WORKERS

    def with_room(self, pool: PoolName) -> Sequence[Worker]:
        """A pool's workers that have a free slot, as far as that is known without looking at the clock."""
        members = self._pools.get(pool)
        return members.open if members is not None else _NO_WORKERS

    def heartbeat(self, report: WorkerReport, now: float) -> Arrival:
        """Takes in a heartbeat. NEW: this worker can get jobs from now on and could not before."""
        worker = self._workers.get(report.worker_id)
        if worker is None:
            if len(self._workers) >= MAX_WORKERS:
                return Arrival.REFUSED
            worker = self._workers[report.worker_id] = Worker(report.worker_id, now)
        pool_before = worker.pool if worker.heartbeat_at is not None else None
        worker.heartbeat(report, len(self.slots.held_by(worker.id)), now)
        if pool_before == worker.pool:
            self._sort_in(worker)
            return Arrival.KNOWN
        if pool_before is not None:
            self._take_out(worker, pool_before)
        self._pools.setdefault(worker.pool, _Members()).add(worker)
        self._sort_in(worker)
        return Arrival.NEW

    def handshake(self, worker_id: WorkerId, topics: Iterable[Topic], agent_name: str, now: float) -> Arrival:
        """Takes in a worker's handshake; alone it makes no worker dispatchable."""
        worker = self._workers.get(worker_id)
        arrival = Arrival.KNOWN
        if worker is None:
            if len(self._workers) >= MAX_WORKERS:
                return Arrival.REFUSED
            worker = self._workers[worker_id] = Worker(worker_id, now)
            arrival = Arrival.NEW
        worker.handshake(frozenset(topics), agent_name, now)
        return arrival

    def interrupted(self, now: float) -> None:
        """The bus was away: what was sent meanwhile may not have arrived, and workers may not be listening again yet.

        Each gets jobs again once it has been heard.
        """
        self._interrupted_at = now

    def alive_since(self, now: float) -> float:
        """The oldest last heartbeat with which a worker still gets jobs; a handshake alone is not enough."""
        return max(now - self.ttl, self._interrupted_at)

    def sweep(self, now: float) -> list[Worker]:
        """Forgets the workers that have been silent for longer than the time to live, and returns them."""
        gone = [worker for worker in self._workers.values() if now - worker.heard_at > self.ttl]
        for worker in gone:
            del self._workers[worker.id]
            self._take_out(worker, worker.pool)
        return gone

    def finished_unknown(self, worker_id: WorkerId) -> None:
        """A job ended at a worker that we did not know it had."""
        worker = self._workers.get(worker_id)
        if worker is not None:
            worker.finished_unknown()
            self._sort_in(worker)

    def handles(self, pools: Iterable[PoolName], topic: Topic) -> bool:
        """Whether some worker of these pools takes jobs of a topic at all, busy or not."""
        return any(worker.takes(topic) for pool in pools for worker in self.in_pool(pool))

    def dismiss(self, worker_ids: Iterable[WorkerId]) -> list[Worker]:
        """Forgets these workers at once, whatever they say of themselves, and returns those that were here."""
        gone = [self._workers.pop(worker_id) for worker_id in worker_ids if worker_id in self._workers]
        for worker in gone:
            self._take_out(worker, worker.pool)
        return gone

    def is_alive(self, worker_id: WorkerId, now: float) -> bool:
        """Whether a worker was heard within the time to live."""
        worker = self._workers.get(worker_id)
        return worker is not None and now - worker.heard_at <= self.ttl

    def load(self, worker: Worker) -> int:
        """Jobs a worker has: those it holds, and those it reports beyond them."""
        return len(self.slots.held_by(worker.id)) + worker.unknown_jobs

    def free_slots(self, pool: PoolName, now: float) -> int:
        """How many more jobs the living workers of a pool can take."""
        since = self.alive_since(now)
        return sum(
            max(0, worker.slots - self.load(worker))
            for worker in self.with_room(pool)
            if not worker.is_hot and worker.heartbeat_at is not None and worker.heartbeat_at >= since
        )

    def forgotten(self, hold: Hold) -> bool:
        """Whether a worker plainly does not have a job it was given.

        It has reported twice in a row, and not too soon after the dispatch, that it has no job at all; and this is to
        be believed, for it was restarted since, or the bus was interrupted since, or it has counted its jobs before.
        """
        worker = self._workers.get(hold.worker_id)
        if worker is None or worker.idle_beats < 2 or worker.idle_before - hold.since < SETTLED:
            return False
        restarted = worker.started_at is not None and worker.started_at > hold.since
        return restarted or hold.since < self._interrupted_at or worker.counts_jobs

    def forgotten_holds(self) -> list[Hold]:
        """The holds of living workers that plainly do not have these jobs."""
        return [
            hold
            for worker in self._workers.values()
            if worker.idle_beats >= 2
            for hold in self.slots.held_by(worker.id).values()
            if self.forgotten(hold)
        ]

    def doubtful_holds(self, now: float, limit: int) -> list[Hold]:
        """Holds whose end may have escaped us; the record knows.

        Those that two reports in a row contradict, and those of workers we do not know: no report will ever tell.
        """
        found: list[Hold] = []
        for worker in self._workers.values():
            if worker.short_beats >= 2:
                found += self._settled(worker.id, now)
                if len(found) >= limit:
                    return found[:limit]
        for worker_id in self.slots.holders():
            if worker_id not in self._workers:
                found += self._settled(worker_id, now)
                if len(found) >= limit:
                    break
        return found[:limit]

    def _settled(self, worker_id: WorkerId, now: float) -> list[Hold]:
        return [hold for hold in self.slots.held_by(worker_id).values() if now - hold.since > SETTLED]

    def _load_changed(self, worker_id: WorkerId) -> None:
        worker = self._workers.get(worker_id)
        if worker is not None:
            self._sort_in(worker)

    def _sort_in(self, worker: Worker) -> None:
        members = self._pools.get(worker.pool)
        if members is None or worker.id not in members.all:
            return
        if worker.is_hot or self.load(worker) >= worker.slots:
            members.shut(worker)
        else:
            members.let_in(worker)

    def _take_out(self, worker: Worker, pool: PoolName) -> None:
        members = self._pools.get(pool)
        if members is None:
            return
        members.remove(worker)
        if not members.all:
            del self._pools[pool]
