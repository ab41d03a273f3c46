"""Heartbeats and handshakes: who is there to work (spec-scheduler 11)."""

import asyncio
from collections.abc import Callable
from typing import Final

from cap.pb.cordum.agent.v1 import handshake_pb2, heartbeat_pb2
from cap.pb.cordum.agent.v1.buspacket_pb2 import BusPacket

from cordum.bus import Bus, CoreMessage, Subscription, envelope, subjects
from cordum.bus.errors import BadPacketError, BadSubjectError
from cordum.core.ids import PoolName, Topic, WorkerId
from cordum.core.routing.fleet import Arrival, Fleet
from cordum.core.routing.workers import Worker, WorkerReport
from cordum.runtime import metrics
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.services.scheduler.announcements import Announcements
from cordum.services.scheduler.parking import Parking
from cordum.services.scheduler.trust.gate import WorkerGate

log = get_logger(__name__)

MAX_LABELS: Final = 100
MAX_TEXT: Final = 256
MAX_TOPICS: Final = 1_000
"""What is kept of one worker's words about itself."""

STALL: Final = 2.0
"""Seconds by which a sweep may be late; beyond that we slept ourselves and have not read what arrived meanwhile."""

OnGone = Callable[[list[Worker]], None]


class Registry:
    """Keeps the fleet up to date from what workers say."""

    def __init__(self, bus: Bus, fleet: Fleet, parking: Parking, gate: WorkerGate, clock: Clock) -> None:
        self._bus = bus
        self._gate = gate
        self._fleet = fleet
        self._parking = parking
        self._clock = clock
        self._subscriptions: list[Subscription] = []
        self._on_gone: list[OnGone] = []
        self._refused: set[str] = set()
        self._announcements = Announcements()
        self._trusted_from = clock.monotonic() + fleet.ttl
        self.changed = asyncio.Event()
        """Set whenever a worker came or went; whoever waits for it clears it."""
        gate.on_retake(self._take_heartbeat, self._admit_announcement)

    def on_gone(self, call: OnGone) -> None:
        """Calls back with workers that have fallen silent or were sent away."""
        self._on_gone.append(call)

    @property
    def ttl(self) -> float:
        """Seconds a worker may be silent."""
        return self._fleet.ttl

    @property
    def knows_the_absent(self) -> bool:
        """Whether silence means absence: we have listened, undisturbed, for as long as a worker may be silent."""
        return self._bus.connected and self._clock.monotonic() >= self._trusted_from

    def listen_anew(self) -> None:
        """We may have missed heartbeats (start, reconnect, stall): nobody is absent until we have listened again."""
        self._trusted_from = self._clock.monotonic() + self._fleet.ttl

    async def start(self) -> None:
        """Listens from here on."""
        self._subscriptions = [
            await self._bus.subscribe(subjects.HEARTBEAT, self._on_heartbeat),
            await self._bus.subscribe(subjects.HANDSHAKE, self._on_handshake),
        ]

    async def stop(self) -> None:
        for subscription in self._subscriptions:
            await subscription.unsubscribe()

    async def sweep(self) -> None:
        """Drops silent workers for as long as the process runs."""
        period = min(1.0, self._fleet.ttl / 4)
        expected = self._clock.monotonic() + period
        while True:
            await self._clock.sleep(period)
            now = self._clock.monotonic()
            if now - expected > STALL or not self._bus.connected:
                self.listen_anew()
            expected = now + period
            if not self.knows_the_absent:
                continue
            gone = self._fleet.sweep(now)
            if not gone:
                continue
            self._announcements.keep(gone, now)
            self.changed.set()
            for worker in gone:
                log.warning(
                    "worker gone: silent for too long", event="worker_offline", worker_id=worker.id, pool=worker.pool
                )
            for call in self._on_gone:
                call(gone)

    def credentials_changed(self) -> None:
        """Sends workers away whose credential was revoked, and gives no more jobs to those with an old token."""
        gone = self._fleet.dismiss([worker_id for worker_id in self._fleet.workers if self._gate.dismisses(worker_id)])
        for worker in self._fleet.workers.values():
            worker.allowed_topics = self._gate.allowed_topics(worker.id)
        if not gone:
            return
        self.changed.set()
        for worker in gone:
            log.warning(
                "worker sent away: its credential was revoked",
                event="worker_dismissed",
                worker_id=worker.id,
                pool=worker.pool,
            )
        for call in self._on_gone:
            call(gone)

    async def _on_heartbeat(self, message: CoreMessage) -> None:
        packet = self._decode(message)
        if packet is not None and packet.WhichOneof("payload") == "heartbeat":
            self._take_heartbeat(packet)

    def _take_heartbeat(self, packet: BusPacket) -> None:
        if not self._gate.heartbeat(packet):
            return
        heartbeat = packet.heartbeat
        if not self._may_be_worker(heartbeat.worker_id, packet.sender_id):
            return
        now = self._clock.monotonic()
        worker_id = WorkerId(heartbeat.worker_id)
        if worker_id not in self._fleet.workers:
            self._recall(worker_id, now)
        arrival = self._fleet.heartbeat(report_of(heartbeat), now)
        if arrival is Arrival.REFUSED:
            self._refuse_once(worker_id, "too many workers are registered")
            return
        worker = self._fleet.workers[worker_id]
        worker.allowed_topics = self._gate.allowed_topics(worker_id)
        metrics.LAST_HEARTBEAT.labels(worker.pool).set(self._clock.now())
        if arrival is Arrival.NEW:
            self.changed.set()
            log.info(
                "worker ready for jobs",
                event="worker_online",
                worker_id=worker_id,
                pool=worker.pool,
                slots=worker.slots,
            )
        self._offer(worker)

    def _recall(self, worker_id: WorkerId, now: float) -> None:
        """A worker is heard again that had fallen silent: what it announced still holds, though it did not restart."""
        topics = self._announcements.take(worker_id, now)
        if topics is not None and self._fleet.handshake(worker_id, topics, "", now) is not Arrival.REFUSED:
            self._fleet.workers[worker_id].started_at = None

    def _offer(self, worker: Worker) -> None:
        self._parking.offered(worker.pool, worker.slots - self._fleet.load(worker))

    async def _on_handshake(self, message: CoreMessage) -> None:
        packet = self._decode(message)
        if packet is None or packet.WhichOneof("payload") != "handshake":
            return
        if packet.handshake.role != handshake_pb2.COMPONENT_ROLE_WORKER:
            return
        if self._gate.handshake(packet):
            self._admit_announcement(packet)

    def announced(self, packet: BusPacket) -> None:
        """Takes what a worker has announced in its trust handshake, as one it has broadcast."""
        if self._gate.handshake(packet):
            self._admit_announcement(packet)

    def _admit_announcement(self, packet: BusPacket) -> None:
        handshake = packet.handshake
        if not self._may_be_worker(handshake.component_id, packet.sender_id):
            return
        worker_id = WorkerId(handshake.component_id)
        self._announcements.take(worker_id, self._clock.monotonic())
        topics = [Topic(topic) for topic in handshake.ready_topics[:MAX_TOPICS] if len(topic) <= MAX_TEXT]
        arrival = self._fleet.handshake(worker_id, topics, handshake.agent_name[:MAX_TEXT], self._clock.monotonic())
        if arrival is Arrival.REFUSED:
            self._refuse_once(worker_id, "too many workers are registered")
            return
        self.changed.set()
        log.info("worker shook hands", event="worker_handshake", worker_id=worker_id, ready_topics=topics)
        worker = self._fleet.workers[worker_id]
        if worker.heartbeat_at is not None:
            self._offer(worker)

    def _decode(self, message: CoreMessage) -> BusPacket | None:
        try:
            return envelope.decode(message.data)
        except BadPacketError:
            metrics.BUS_UNMARSHAL_FAILURES.labels(message.subject, "bad_packet").inc()
            return None

    def _may_be_worker(self, worker_id: str, sender_id: str) -> bool:
        """A worker speaks for itself, under a name that is one token of a subject and not the control plane's."""
        if worker_id != sender_id:
            self._refuse_once(worker_id, "it speaks in another's name")
            return False
        try:
            subjects.worker_jobs(worker_id)
        except BadSubjectError as error:
            self._refuse_once(worker_id, error.message)
            return False
        return True

    def _refuse_once(self, worker_id: str, why: str) -> None:
        if worker_id in self._refused or len(self._refused) >= MAX_TOPICS:
            return
        self._refused.add(worker_id)
        log.warning("worker refused", event="worker_refused", worker_id=worker_id[:MAX_TEXT], reason=why)


def report_of(heartbeat: heartbeat_pb2.Heartbeat) -> WorkerReport:
    """A heartbeat as the fleet reads it, cut to what is kept."""
    labels = {
        name: value
        for name, value in list(heartbeat.labels.items())[:MAX_LABELS]
        if len(name) <= MAX_TEXT and len(value) <= MAX_TEXT
    }
    return WorkerReport(
        worker_id=WorkerId(heartbeat.worker_id),
        pool=PoolName(heartbeat.pool[:MAX_TEXT]),
        active_jobs=max(0, heartbeat.active_jobs),
        max_parallel=max(0, heartbeat.max_parallel_jobs),
        cpu_load=heartbeat.cpu_load,
        gpu_utilization=heartbeat.gpu_utilization,
        memory_load=heartbeat.memory_load,
        region=heartbeat.region[:MAX_TEXT],
        kind=heartbeat.type[:MAX_TEXT],
        capabilities=tuple(name[:MAX_TEXT] for name in heartbeat.capabilities[:MAX_LABELS]),
        labels=labels,
        agent_name=heartbeat.agent_name[:MAX_TEXT],
    )
