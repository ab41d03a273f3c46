"""A worker, as its heartbeats and handshakes describe it (spec-scheduler 11)."""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from cordum.core.ids import PoolName, Topic, WorkerId

HOT: Final = 90.0
"""Per cent of processor or graphics load from which a worker gets no new jobs."""

UNNAMED_POOL: Final = PoolName("default")
"""The pool of a worker that names none, which is how the SDK's own defaults leave it."""


def fold(capability: str) -> str:
    """Capabilities are compared without regard to case and surrounding blanks."""
    return capability.strip().casefold()


def fold_all(capabilities: Iterable[str]) -> frozenset[str]:
    """Capabilities for comparison; blank ones are none."""
    return frozenset(folded for capability in capabilities if (folded := fold(capability)))


class WorkerReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one heartbeat says. Loads are per cent."""

    worker_id: WorkerId
    pool: PoolName = PoolName("")
    active_jobs: int = 0
    max_parallel: int = 0
    cpu_load: float = 0.0
    gpu_utilization: float = 0.0
    memory_load: float = 0.0
    region: str = ""
    kind: str = ""
    capabilities: tuple[str, ...] = ()
    labels: Mapping[str, str] = {}
    agent_name: str = ""


class Worker:
    """What is known of one worker. Moments are seconds of the caller's steady clock; None means never.

    Attributes:
        ready_topics: what it said it handles; None when it never said.
        allowed_topics: what its credential lets it have; None when nothing limits it.
        capabilities: what it says it can do, folded for comparison.
        heard_at: its last sign of life of either kind; heartbeat_at: its last heartbeat, without which it gets no jobs.
        started_at: its last handshake, which workers send when they start.
        unknown_jobs: jobs it reports beyond those we know it holds, confirmed by two heartbeats in a row.
        idle_beats, idle_before: heartbeats in a row that reported no job, and when the last but one of them came.
        counts_jobs: whether it has ever reported a job, so that reporting none means something.
        short_beats: heartbeats in a row that reported fewer jobs than it holds.
        open_at: where it stands in the fleet's list of workers with room, -1 when it does not.
    """

    __slots__ = (
        "_unknown_before",
        "allowed_topics",
        "capabilities",
        "counts_jobs",
        "heard_at",
        "heartbeat_at",
        "id",
        "idle_beats",
        "idle_before",
        "last",
        "open_at",
        "ready_at",
        "ready_topics",
        "short_beats",
        "slots",
        "started_at",
        "unknown_jobs",
    )

    def __init__(self, worker_id: WorkerId, now: float) -> None:
        self.id = worker_id
        self.last = WorkerReport(worker_id=worker_id)
        self.slots = 1
        self.heard_at = now
        self.heartbeat_at: float | None = None
        self.ready_topics: frozenset[Topic] | None = None
        self.allowed_topics: frozenset[Topic] | None = None
        self.capabilities: frozenset[str] = frozenset()
        self.ready_at: float | None = None
        self.started_at: float | None = None
        self.unknown_jobs = 0
        self.idle_beats = 0
        self.idle_before = now
        self.counts_jobs = False
        self.short_beats = 0
        self.open_at = -1
        self._unknown_before = 0

    @property
    def pool(self) -> PoolName:
        return self.last.pool

    @property
    def is_hot(self) -> bool:
        return self.last.cpu_load >= HOT or self.last.gpu_utilization >= HOT

    def takes(self, topic: Topic) -> bool:
        """Whether jobs of a topic may go here: its handshake and its credential both decide."""
        return (self.ready_topics is None or topic in self.ready_topics) and (
            self.allowed_topics is None or topic in self.allowed_topics
        )

    def offers(self, needed: frozenset[str], words: frozenset[str]) -> bool:
        """Whether a worker has the capabilities a job needs.

        Args:
            needed: folded.
            words: what its pool vouches for, folded. Only a worker that uses one of these words speaks of them at all;
                then it has what it names and nothing else. Of one that does not, the pool's word holds.
        """
        return needed <= self.capabilities or self.capabilities.isdisjoint(words)

    def heartbeat(self, report: WorkerReport, held: int, now: float) -> None:
        """Takes in a heartbeat.

        Args:
            held: jobs we know it holds at this moment. A report differs by what is on its way in either direction, so
                one disagreement means nothing and two in a row count.
        """
        if not report.pool or not report.agent_name:
            pool, name = report.pool or UNNAMED_POOL, report.agent_name or self.last.agent_name
            report = msgspec.structs.replace(report, pool=pool, agent_name=name)
        if report.capabilities != self.last.capabilities:
            self.capabilities = fold_all(report.capabilities)
        self.last = report
        self.slots = max(1, report.max_parallel)
        last_beat = self.heartbeat_at
        self.heard_at = self.heartbeat_at = now
        if self.ready_topics is not None:
            self.ready_at = now
        unknown = max(0, report.active_jobs - held)
        self.unknown_jobs = min(unknown, self._unknown_before)
        self._unknown_before = unknown
        if report.active_jobs:
            self.counts_jobs = True
            self.idle_beats = 0
        else:
            self.idle_beats += 1
            self.idle_before = last_beat if last_beat is not None else now
        self.short_beats = self.short_beats + 1 if report.active_jobs < held else 0

    def handshake(self, topics: frozenset[Topic], agent_name: str, now: float) -> None:
        """Takes in a handshake; an empty list of topics says nothing about topics."""
        self.heard_at = self.started_at = now
        self.ready_topics = topics or None
        self.ready_at = now if topics else None
        self.idle_beats = 0
        if agent_name:
            self.last = msgspec.structs.replace(self.last, agent_name=agent_name)

    def finished_unknown(self) -> None:
        """A job ended here that we did not know of."""
        self.unknown_jobs = max(0, self.unknown_jobs - 1)
        self._unknown_before = max(0, self._unknown_before - 1)


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a worker must have announced a topic before it gets its jobs (`WORKER_READINESS_REQUIRED`, `_TTL`)."""

    required: bool = False
    ttl: float = 60.0

    def admits(self, worker: Worker, topic: Topic, now: float) -> bool:
        """What a worker said it does not handle, it never gets: the SDK drops such a job without a word.

        Freshness counts from the last handshake or from a later heartbeat of a worker that shook hands: SDKs send one
        handshake, when they start.
        """
        if not worker.takes(topic):
            return False
        if not self.required:
            return True
        return worker.ready_topics is not None and worker.ready_at is not None and now - worker.ready_at <= self.ttl
