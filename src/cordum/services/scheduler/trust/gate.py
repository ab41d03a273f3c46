"""The gate in front of everything workers say (spec-scheduler 11.3 and 11.4).

Cheap and synchronous: what takes time (a password hash, Redis) has been done before or is done meanwhile, and what was
held back for it is brought to the gate again.
"""

from collections.abc import Awaitable, Callable

from cap.pb.cordum.agent.v1.buspacket_pb2 import BusPacket

from cordum.core.ids import Topic, WorkerId
from cordum.services.scheduler.trust.attestation import Attestation
from cordum.services.scheduler.trust.sessions import SessionGuard

Retake = Callable[[BusPacket], None]


class WorkerGate:
    """Decides what is taken in. True: take it. False: drop it; why has been logged and counted here.

    A packet that was held back is handed to `on_retake`'s callback later, which brings it to the gate again (a
    heartbeat), or takes it at once (an announcement that has been waiting for its worker's heartbeat).
    """

    def __init__(self, attestation: Attestation, sessions: SessionGuard) -> None:
        self._attestation = attestation
        self._sessions = sessions

    def on_retake(self, heartbeat: Retake, announcement: Retake) -> None:
        """Who takes heartbeats whose token has been checked meanwhile, and announcements that count now."""
        self._attestation.on_retake(heartbeat, announcement)
        self._sessions.on_retake(
            heartbeat, lambda packet: announcement(packet) if self._attestation.handshake(packet) else None
        )

    def heartbeat(self, packet: BusPacket) -> bool:
        return self._sessions.heartbeat(packet) and self._attestation.heartbeat(packet)

    def handshake(self, packet: BusPacket) -> bool:
        return self._sessions.handshake(packet) and self._attestation.handshake(packet)

    def asks(self, packet: BusPacket) -> Awaitable[None] | None:
        """What to wait for before `result` or `cancel` knows what to answer; almost always nothing.

        Raises (awaited):
            StoreError: it could not be found out; bring the packet later.
        """
        return self._sessions.asks(packet)

    def result(self, packet: BusPacket) -> bool:
        return self._sessions.result(packet)

    def overheard_result(self, packet: BusPacket) -> bool:
        """As `result`, about one that another scheduler handles: nothing is said or counted."""
        return self._sessions.overheard_result(packet)

    def cancel(self, packet: BusPacket) -> bool:
        return self._sessions.cancel(packet)

    def dismisses(self, worker_id: WorkerId) -> bool:
        """Whether a worker that is here has to go at once: its credential was revoked."""
        return self._attestation.is_revoked(worker_id)

    def allowed_topics(self, worker_id: WorkerId) -> frozenset[Topic] | None:
        """The only topics this worker may have; None: any."""
        return self._attestation.allowed_topics(worker_id)
