"""What is said about workers that cannot prove their name: in words operators look for, and not with every heartbeat.

The guide has operators look for `attestation failed` in the logs before they enforce anything (section 5).
"""

from enum import StrEnum
from typing import Final

import msgspec

from cordum.core.ids import WorkerId
from cordum.runtime import boundary
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.runtime.settings import Rigour

log = get_logger(__name__)

EVERY: Final = 60.0
"""Seconds between two lines about the same worker and reason."""

MAX_TOLD: Final = 1_000
"""Workers and reasons told apart within a minute; what goes beyond is only counted."""

_LONGEST: Final = 128


class Refusal(StrEnum):
    """Why a worker is not believed (spec-scheduler 11.3)."""

    SENDER_ID_MISMATCH = "sender_id_mismatch"
    CREDENTIAL_CACHE_UNAVAILABLE = "credential_cache_unavailable"
    AUTH_TOKEN_MISSING = "auth_token_missing"
    CREDENTIAL_VERIFY_ERROR = "credential_verify_error"
    CREDENTIAL_INVALID = "credential_invalid"
    POOL_NOT_ALLOWED = "pool_not_allowed"


class _Told(msgspec.Struct):
    at: float
    unsaid: int = 0


class Refusals:
    """Logs once a minute for each worker and reason, and counts all."""

    def __init__(self, rigour: Rigour, clock: Clock) -> None:
        self._rigour = rigour
        self._clock = clock
        self._told: dict[tuple[str, Refusal], _Told] = {}

    def tell(self, worker_id: WorkerId, why: Refusal, what: str, pool: str = "") -> None:
        """One packet was not believed.

        Args:
            what: `heartbeat` or `handshake`.
            pool: the pool that is not allowed, for that reason.
        """
        name = worker_id[:_LONGEST]
        boundary.record(boundary.Event.ATTESTATION_FAILED, name)
        now = self._clock.monotonic()
        told = self._told.get((name, why))
        if told is not None and now - told.at < EVERY:
            told.unsaid += 1
            return
        if told is None and len(self._told) >= MAX_TOLD:
            self._told = {key: entry for key, entry in self._told.items() if now - entry.at < EVERY}
            if len(self._told) >= MAX_TOLD:
                return
        self._told[name, why] = _Told(now)
        unsaid = told.unsaid if told is not None else 0
        say = log.error if self._rigour is Rigour.ENFORCE else log.warning
        say(
            _MESSAGES[self._rigour, what],
            event=boundary.Event.ATTESTATION_FAILED.value,
            worker_id=name,
            reason=why.value,
            unsaid=unsaid,
            **({"pool": pool[:_LONGEST]} if pool else {}),
        )


_MESSAGES: Final = {
    (Rigour.WARN, "heartbeat"): "worker heartbeat accepted without attestation",
    (Rigour.WARN, "handshake"): "worker handshake accepted without attestation",
    (Rigour.ENFORCE, "heartbeat"): "worker heartbeat rejected: attestation failed",
    (Rigour.ENFORCE, "handshake"): "worker handshake rejected: attestation failed",
}
