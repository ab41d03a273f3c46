"""The workers as this gateway knows them: the scheduler's snapshot, and the heartbeats it hears itself."""

from typing import Any, Final

import msgspec

from cordum.bus import BadPacketError, Bus, CoreMessage, Subscription, envelope, subjects
from cordum.core.ids import PoolName, WorkerId
from cordum.core.routing.snapshot import FleetSnapshot, WorkerEntry
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.services.gateway.times import from_rfc3339, rfc3339
from cordum.store import Store
from cordum.store.sessions import StoredSession

log = get_logger(__name__)

WORKER_TTL: Final = 30.0
"""Seconds of silence after which a worker is offline."""
REMEMBERED_SECONDS: Final = 15 * 60.0
"""How long a silent worker is still listed."""
MAX_WORKERS: Final = 10_000
_SNAPSHOT_AGE: Final = 1.0  # seconds a snapshot is used before it is read again


class _Heard(msgspec.Struct, frozen=True):
    entry: WorkerEntry
    at: float


class Fleet:
    """Answers who is there."""

    def __init__(self, store: Store, bus: Bus, clock: Clock) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock
        self._heard: dict[str, _Heard] = {}
        self._snapshot = FleetSnapshot()
        self._read_at = float("-inf")
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        """Listens to heartbeats from here on."""
        self._subscription = await self._bus.subscribe(subjects.HEARTBEAT, self._on_heartbeat)

    async def aclose(self) -> None:
        if self._subscription is not None:
            await self._subscription.unsubscribe()

    async def snapshot(self) -> FleetSnapshot:
        """What the schedulers last wrote; empty when they have not. Raises StoreUnavailableError."""
        if self._clock.monotonic() - self._read_at > _SNAPSHOT_AGE:
            stored = await self._store.workers.load()
            self._read_at = self._clock.monotonic()
            if stored is not None:
                try:
                    self._snapshot = msgspec.json.decode(stored, type=FleetSnapshot)
                except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                    log.warning("worker snapshot not readable", event="worker_snapshot_unreadable", error=str(error))
        return self._snapshot

    async def workers(self) -> list[dict[str, Any]]:
        """Every known worker as the API shows it, by name.

        Where workers must prove their names, only the schedulers know who has: what we hear ourselves counts for
        nothing then.
        """
        now = self._clock.now()
        self._forget(now)
        snapshot = await self.snapshot()
        known: dict[str, _Heard] = {
            entry.worker_id: _Heard(entry, from_rfc3339(entry.last_seen)) for entry in snapshot.workers
        }
        for worker_id, heard in () if snapshot.attested else self._heard.items():
            other = known.get(worker_id)
            if other is None:
                known[worker_id] = heard
            elif heard.at > other.at:
                ready = msgspec.structs.replace(
                    heard.entry, ready_topics=other.entry.ready_topics, attestation=other.entry.attestation
                )
                known[worker_id] = _Heard(ready, heard.at)
        names = [WorkerId(name) for name in sorted(known)]
        sessions = await self._store.sessions.get_many(names)
        return [_shown(known[name], session, now) for name, session in zip(names, sessions, strict=True)]

    def _forget(self, now: float) -> None:
        for worker_id in [key for key, heard in self._heard.items() if now - heard.at > REMEMBERED_SECONDS]:
            del self._heard[worker_id]

    async def _on_heartbeat(self, message: CoreMessage) -> None:
        try:
            packet = envelope.decode(message.data)
        except BadPacketError:
            return
        beat = packet.heartbeat
        if not beat.worker_id or packet.sender_id != beat.worker_id:
            return
        if beat.worker_id not in self._heard and len(self._heard) >= MAX_WORKERS:
            return
        entry = WorkerEntry(
            worker_id=WorkerId(beat.worker_id),
            pool=PoolName(beat.pool),
            active_jobs=beat.active_jobs,
            max_parallel_jobs=beat.max_parallel_jobs,
            capabilities=tuple(beat.capabilities),
            cpu_load=round(beat.cpu_load, 3),
            gpu_utilization=round(beat.gpu_utilization, 3),
            memory_load=round(beat.memory_load, 3),
            region=beat.region,
            type=beat.type,
            labels=dict(beat.labels),
            agent_name=beat.agent_name,
        )
        self._heard[beat.worker_id] = _Heard(entry, self._clock.now())


def _shown(heard: _Heard, session: StoredSession | None, now: float) -> dict[str, Any]:
    entry = heard.entry
    age = max(0.0, now - heard.at)
    last = rfc3339(heard.at) if heard.at > 0 else ""
    return {
        "worker_id": entry.worker_id,
        "pool": entry.pool,
        "active_jobs": entry.active_jobs,
        "max_parallel_jobs": entry.max_parallel_jobs,
        "capabilities": entry.capabilities,
        "cpu_load": entry.cpu_load,
        "gpu_utilization": entry.gpu_utilization,
        "memory_load": entry.memory_load,
        "region": entry.region,
        "type": entry.type,
        "labels": entry.labels,
        "agent_name": entry.agent_name,
        "ready_topics": entry.ready_topics or (),
        "last_heartbeat": last,
        "last_heartbeat_at": last,
        "heartbeat_age_seconds": int(age),
        "online": age <= WORKER_TTL,
        "attestation": entry.attestation,
        **_session(session, now),
    }


def _session(session: StoredSession | None, now: float) -> dict[str, Any]:
    if session is None:
        return {"session_state": "no_session", "session_valid": False}
    valid = session.exp_unix > now
    return {
        "session_state": "active" if valid else "expired",
        "session_valid": valid,
        "session_exp_ms": session.exp_unix * 1000,
    }
