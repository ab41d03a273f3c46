"""What is remembered of handshakes: each outcome in the log, in the metrics and in the audit trail."""

from typing import Final

from cordum.bus import subjects
from cordum.core.audit.event import AuditEvent, EventType, Severity
from cordum.core.ids import TenantId
from cordum.core.sessions import Claims
from cordum.runtime import metrics
from cordum.runtime.clock import Clock, unix_micros
from cordum.runtime.ids import Ids
from cordum.runtime.logging import get_logger
from cordum.runtime.service_tokens import SYSTEM_TENANT
from cordum.services.scheduler.trust.handshake_packets import Asked, Refused
from cordum.services.scheduler.trust.rejections import Rejection
from cordum.store.audit_outbox import AuditOutbox

log = get_logger(__name__)

MAX_REFUSALS: Final = 120
"""Refusals written down in a minute; anybody on the bus can cause them, so the rest is only counted."""

_MINUTE: Final = 60.0
_LONGEST: Final = 128


class HandshakeTrail:
    """Nobody waits for it."""

    def __init__(self, outbox: AuditOutbox, clock: Clock, ids: Ids) -> None:
        self._outbox = outbox
        self._clock = clock
        self._ids = ids
        self._minute = 0.0
        self._refusals = 0

    def challenged(self, asked: Asked) -> None:
        """A worker got a challenge; whether it can answer it is to be seen."""
        metrics.WORKER_HANDSHAKES.labels(_purpose(asked), "challenged").inc()

    def accepted(self, asked: Asked, claims: Claims) -> None:
        metrics.WORKER_HANDSHAKES.labels(_purpose(asked), "accepted").inc()
        log.info(
            "worker shook hands",
            event="worker_handshake",
            outcome="accepted",
            purpose=_purpose(asked),
            worker_id=claims.sub,
            tenant=claims.tenant,
            sdk_version=claims.sdk_ver,
            session=claims.jti,
        )
        self._note(asked, claims.tenant, "accepted", Severity.INFO, "")

    def refused(self, asked: Asked, refused: Refused, tenant: TenantId | None) -> None:
        """`tenant` is that of the worker's credential, where there is one."""
        word = refused.why.label
        metrics.WORKER_HANDSHAKES.labels(_purpose(asked), word).inc()
        if self._is_too_much():
            return
        log.warning(
            "a worker's handshake is refused",
            event="worker_handshake",
            outcome="rejected",
            purpose=_purpose(asked),
            reason=word,
            detail=refused.detail,
            worker_id=asked.worker_id[:_LONGEST],
        )
        harmless = refused.why in (Rejection.CLOCK_SKEW, Rejection.CHALLENGE_EXPIRED, Rejection.INTERNAL_ERROR)
        severity = Severity.MEDIUM if harmless else Severity.HIGH
        self._note(asked, tenant or SYSTEM_TENANT, word, severity, refused.detail)

    def unreadable(self, size: int) -> None:
        """Something came that is no handshake."""
        metrics.WORKER_HANDSHAKES.labels("unknown", "unreadable").inc()
        log.debug("a handshake that cannot be read", event="worker_handshake_unreadable", size=size)

    def _is_too_much(self) -> bool:
        now = self._clock.monotonic()
        if now - self._minute >= _MINUTE:
            self._minute, self._refusals = now, 0
        self._refusals += 1
        if self._refusals == MAX_REFUSALS:
            log.error(
                "too many refused handshakes: until the minute is over the rest is only counted",
                event="worker_handshake_flood",
            )
        return self._refusals > MAX_REFUSALS

    def _note(self, asked: Asked, tenant: TenantId, outcome: str, severity: Severity, reason: str) -> None:
        worker_id = asked.worker_id[:_LONGEST]
        self._outbox.note(
            AuditEvent(
                id=self._ids.new(),
                event_type=EventType.WORKER_HANDSHAKE.value,
                tenant=tenant,
                action="worker_handshake",
                created_at=unix_micros(self._clock),
                severity=severity,
                resource_type="worker",
                resource_id=worker_id,
                actor_id=worker_id,
                role="worker",
                auth_source=subjects.SCHEDULER_ID,
                decision=outcome,
                reason=reason,
                extra={
                    "purpose": _purpose(asked),
                    "proof_key_id": asked.said.proof_key_id[:_LONGEST],
                    "sdk_version": asked.said.sdk_version[:_LONGEST],
                },
            )
        )


def _purpose(asked: Asked) -> str:
    return "renew" if asked.renews else "issue"
