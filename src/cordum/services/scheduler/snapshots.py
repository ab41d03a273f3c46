"""Writes `sys:workers:snapshot`: regularly, and soon after a worker came or went (spec-scheduler 11.5)."""

import asyncio
from typing import Final

import msgspec
from cap.pb.cordum.agent.v1 import handshake_pb2

from cordum.bus import envelope
from cordum.core.errors import CordumError
from cordum.core.routing.fleet import Fleet
from cordum.core.routing.snapshot import FleetSnapshot, WorkerEntry, restore, take_snapshot
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.services.scheduler.registry import Registry
from cordum.services.scheduler.routing import LiveRoutes
from cordum.services.scheduler.trust.attestation import VERIFIED, Attestation
from cordum.store import Store
from cordum.store.keys import SNAPSHOT_LOCK

log = get_logger(__name__)

LOCK_TTL: Final = 30.0
"""Seconds the writer's lock lasts should the writer die; otherwise it is released after each write."""

SETTLE: Final = 0.3
"""Seconds in which several workers coming and going make one write."""

WARM_START_LIMIT: Final = 5.0
"""Seconds the snapshot may take to be read at the start; without it the fleet is learnt from heartbeats."""

_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(FleetSnapshot)


class Snapshots:
    """Reads the snapshot at the start and writes it from then on."""

    def __init__(
        self,
        store: Store,
        fleet: Fleet,
        registry: Registry,
        routes: LiveRoutes,
        attestation: Attestation,
        clock: Clock,
        writer_id: str,
    ) -> None:
        self._store = store
        self._fleet = fleet
        self._registry = registry
        self._routes = routes
        self._attestation = attestation
        self._clock = clock
        self._writer_id = writer_id

    async def warm_start(self) -> None:
        """Fills the fleet from the last snapshot, so that the first jobs need not wait for heartbeats."""
        try:
            stored = await asyncio.wait_for(self._store.workers.load(), WARM_START_LIMIT)
            if stored is not None:
                snapshot = _DECODER.decode(stored)
                known = tuple(entry for entry in snapshot.workers if self._is_believed(entry))
                snapshot = msgspec.structs.replace(snapshot, workers=known)
                restore(snapshot, self._fleet, self._clock.monotonic())
                for worker in self._fleet.workers.values():
                    worker.allowed_topics = self._attestation.allowed_topics(worker.id)
                log.info("workers known from the last snapshot", event="workers_restored", workers=len(self._fleet))
        except (CordumError, msgspec.MsgspecError, TimeoutError) as error:
            log.warning("the last snapshot of workers is not used", event="workers_not_restored", error=str(error))

    def _is_believed(self, entry: WorkerEntry) -> bool:
        """Whether a worker of the snapshot may be one of ours.

        Of one that first has to prove its name we keep what it announced, which it would not announce again.
        """
        attestation = self._attestation
        if not attestation.enforced:
            return True
        if entry.attestation == VERIFIED and attestation.restore(entry.worker_id, entry.pool):
            return True
        if entry.ready_topics:
            packet = envelope.packet(entry.worker_id, "", self._clock.now())
            packet.handshake.component_id = entry.worker_id
            packet.handshake.role = handshake_pb2.COMPONENT_ROLE_WORKER
            packet.handshake.ready_topics.extend(entry.ready_topics)
            attestation.announce(packet)
        return False

    async def run(self, interval: float) -> None:
        """Writes every `interval` seconds and shortly after a change, as long as the process runs."""
        while True:
            try:
                await asyncio.wait_for(self._registry.changed.wait(), interval)
                await asyncio.sleep(SETTLE)
            except TimeoutError:
                pass
            self._registry.changed.clear()
            try:
                await self.write()
            except CordumError as error:
                log.warning("the snapshot of workers was not written", event="snapshot_failed", error=error.message)

    async def write(self) -> bool:
        """Writes the snapshot unless another scheduler is just doing so."""
        lease = await self._store.leases.acquire(SNAPSHOT_LOCK, LOCK_TTL)
        if lease is None:
            return False
        try:
            snapshot = take_snapshot(
                self._fleet,
                self._routes.now,
                writer_id=self._writer_id,
                now=self._clock.monotonic(),
                wall=self._clock.now(),
                standings=self._attestation.standings,
                attested=self._attestation.enforced,
            )
            await self._store.workers.save(_ENCODER.encode(snapshot))
        finally:
            await self._store.leases.release(lease)
        return True
