"""`CORDUM_SDK_HANDSHAKE`: whoever speaks shows the session of its handshake (spec-scheduler 11.4).

The session is in the packet's envelope (`BusPacket.auth_token`). The token of a worker's credential is another thing
and has another place, `Heartbeat.auth_token`; so both may be enforced together. Where an older worker puts the
credential's token into the envelope, that is a worker without a session.

What the control plane itself sends carries a service token under the reserved name it is sent by.
"""

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Final

import msgspec
from cap.pb.cordum.agent.v1.buspacket_pb2 import BusPacket

from cordum.bus import subjects
from cordum.core.ids import WorkerId
from cordum.core.sessions import Claims, TokenFault, TokenType, is_session_shaped
from cordum.runtime import metrics
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.runtime.service_tokens import SYSTEM_TENANT
from cordum.runtime.settings import Rigour
from cordum.services.scheduler.trust.session_book import SessionBook

log = get_logger(__name__)

Retake = Callable[[BusPacket], None]

MISSING_EVERY: Final = 3600.0
"""Seconds between two lines about a worker that is let in without a session."""

REFUSED_EVERY: Final = 60.0
"""Seconds between two lines about the same sender, kind of packet and reason."""

MAX_TOLD: Final = 2_000
_LONGEST: Final = 128


class SessionFault(StrEnum):
    """What can be wrong with a session, besides its token itself."""

    MISSING = "session_missing"
    OTHER_NAME = "session_of_another"
    OTHER_TENANT = "session_of_another_tenant"
    REVOKED = "session_revoked"


class _Unknown(StrEnum):
    """Neither good nor bad before it has been looked up."""

    UNKNOWN = "unknown"


_Finding = SessionFault | TokenFault | _Unknown | None
"""None: all is well."""


class _Told(msgspec.Struct):
    at: float
    unsaid: int = 0


class SessionGuard:
    """Checks packets; see `WorkerGate` for what the answers mean. Costs a look into memory, never a round trip.

    Args:
        book: None where no sessions are issued; then nothing is checked.
    """

    def __init__(self, rigour: Rigour, book: SessionBook | None, clock: Clock) -> None:
        self._rigour = rigour if book is not None else Rigour.OFF
        self._book = book
        self._clock = clock
        self._told: dict[tuple[str, str, str], _Told] = {}
        self._retake_heartbeat: Retake = _nobody
        self._retake_announcement: Retake = _nobody

    def on_retake(self, heartbeat: Retake, announcement: Retake) -> None:
        """Who takes what was held back because its sender's session had to be looked up."""
        self._retake_heartbeat, self._retake_announcement = heartbeat, announcement

    def heartbeat(self, packet: BusPacket) -> bool:
        """A heartbeat whose session is not known yet counts when it has been looked up."""
        if self._rigour is Rigour.OFF:
            return True
        finding = self._finding(packet, packet.heartbeat.worker_id)
        if finding is _Unknown.UNKNOWN:
            self._later(packet, self._retake_heartbeat)
            return False
        return finding is None or self._tell(packet, "heartbeat", finding)

    def handshake(self, packet: BusPacket) -> bool:
        """An announcement of ready topics; as a heartbeat."""
        if self._rigour is Rigour.OFF:
            return True
        finding = self._finding(packet, packet.handshake.component_id)
        if finding is _Unknown.UNKNOWN:
            self._later(packet, self._take_announcement)
            return False
        return finding is None or self._tell(packet, "handshake", finding)

    def asks(self, packet: BusPacket) -> Awaitable[None] | None:
        """What to wait for before `result` and `cancel`; None: nothing."""
        if self._rigour is Rigour.OFF or self._book is None:
            return None
        claimed = packet.job_cancel.requested_by if packet.HasField("job_cancel") else packet.job_result.worker_id
        if self._finding(packet, claimed) is not _Unknown.UNKNOWN:
            return None
        return self._book.learn(WorkerId(claimed))

    def result(self, packet: BusPacket) -> bool:
        """One that is dropped leaves its job with its worker: timeouts and the worker's loss decide."""
        return self._decided(packet, packet.job_result.worker_id, "result", job_id=packet.job_result.job_id)

    def overheard_result(self, packet: BusPacket) -> bool:
        """One that another scheduler handles, and tells of."""
        if self._rigour is Rigour.OFF:
            return True
        finding = self._finding(packet, packet.job_result.worker_id)
        return finding is None or (finding is SessionFault.MISSING and self._rigour is Rigour.WARN)

    def cancel(self, packet: BusPacket) -> bool:
        """A worker's cancel also has to name the tenant of its session."""
        return self._decided(packet, packet.job_cancel.requested_by, "cancel", job_id=packet.job_cancel.job_id)

    def _decided(self, packet: BusPacket, claimed: str, kind: str, job_id: str) -> bool:
        if self._rigour is Rigour.OFF:
            return True
        finding = self._finding(packet, claimed)
        if finding is _Unknown.UNKNOWN:
            # Another session was issued between the look-up and now: this token is the one before.
            finding = SessionFault.REVOKED
        return finding is None or self._tell(packet, kind, finding, job_id)

    def _finding(self, packet: BusPacket, claimed: str) -> _Finding:
        token = packet.auth_token
        if self._book is None or not is_session_shaped(token):
            return SessionFault.MISSING
        reserved = packet.sender_id in subjects.RESERVED_IDS
        claims = self._book.claims(token, TokenType.SERVICE if reserved else TokenType.SESSION)
        if isinstance(claims, TokenFault):
            return claims
        if claims.sub != claimed or claims.sub != packet.sender_id:
            return SessionFault.OTHER_NAME
        if reserved:
            return None if claims.tenant == SYSTEM_TENANT else SessionFault.OTHER_TENANT
        if packet.HasField("job_cancel") and packet.job_cancel.identity.tenant_id != claims.tenant:
            return SessionFault.OTHER_TENANT
        return self._standing(token, claims)

    def _standing(self, token: str, claims: Claims) -> _Finding:
        assert self._book is not None
        holds = self._book.holds(token, claims)
        if holds is None:
            return _Unknown.UNKNOWN
        return None if holds else SessionFault.REVOKED

    def _later(self, packet: BusPacket, retake: Retake) -> None:
        assert self._book is not None
        self._book.learn_then(WorkerId(packet.sender_id), lambda: retake(packet))

    def _take_announcement(self, packet: BusPacket) -> None:
        if self.handshake(packet):
            self._retake_announcement(packet)

    def _tell(self, packet: BusPacket, kind: str, fault: SessionFault | TokenFault, job_id: str = "") -> bool:
        """Says and counts what is wrong; whether the packet is taken all the same."""
        taken = fault is SessionFault.MISSING and self._rigour is Rigour.WARN
        if not taken:
            metrics.SESSIONS_REFUSED.labels(kind, fault.value).inc()
        sender = packet.sender_id[:_LONGEST]
        key = (sender, "" if taken else kind, fault.value)
        unsaid = self._unsaid(key, MISSING_EVERY if taken else REFUSED_EVERY)
        if unsaid is None:
            return taken
        more = {"job_id": job_id[:_LONGEST]} if job_id else {}
        if taken:
            log.warning(
                "worker accepted without a session",
                event="session_missing",
                worker_id=sender,
                kind=kind,
                unsaid=unsaid,
                **more,
            )
        else:
            log.error(
                "a packet is dropped: its session does not hold",
                event="session_refused",
                worker_id=sender,
                kind=kind,
                reason=fault.value,
                unsaid=unsaid,
                **more,
            )
        return taken

    def _unsaid(self, key: tuple[str, str, str], every: float) -> int | None:
        """How often this went unsaid since it was last said; None: it does so once more."""
        now = self._clock.monotonic()
        told = self._told.get(key)
        if told is not None and now - told.at < every:
            told.unsaid += 1
            return None
        if told is None and len(self._told) >= MAX_TOLD:
            # The longest unsaid goes; what it would have kept quiet is said once too often.
            self._told.pop(next(iter(self._told)))
        self._told.pop(key, None)
        self._told[key] = _Told(now)
        return told.unsaid if told is not None else 0


def _nobody(_packet: BusPacket) -> None:
    """Nobody is waiting."""
