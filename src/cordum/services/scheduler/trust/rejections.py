"""Why a handshake is refused, as the protocol numbers it (spec-scheduler 11.4)."""

from enum import Enum

from cap.pb.cordum.agent.v1 import handshake_pb2


class Rejection(Enum):
    """The reason in the answer; `label` is the word for logs, metrics and the audit trail."""

    INVALID_REQUEST = handshake_pb2.WORKER_HANDSHAKE_REJECTION_REASON_INVALID_REQUEST
    AUTHENTICATION_FAILED = handshake_pb2.WORKER_HANDSHAKE_REJECTION_REASON_AUTHENTICATION_FAILED
    REPLAY_DETECTED = handshake_pb2.WORKER_HANDSHAKE_REJECTION_REASON_REPLAY_DETECTED
    CLOCK_SKEW = handshake_pb2.WORKER_HANDSHAKE_REJECTION_REASON_CLOCK_SKEW
    CHALLENGE_EXPIRED = handshake_pb2.WORKER_HANDSHAKE_REJECTION_REASON_CHALLENGE_EXPIRED
    SESSION_REQUIRED = handshake_pb2.WORKER_HANDSHAKE_REJECTION_REASON_SESSION_REQUIRED
    SESSION_INVALID = handshake_pb2.WORKER_HANDSHAKE_REJECTION_REASON_SESSION_INVALID
    UNSUPPORTED_VERSION = handshake_pb2.WORKER_HANDSHAKE_REJECTION_REASON_UNSUPPORTED_VERSION
    INTERNAL_ERROR = handshake_pb2.WORKER_HANDSHAKE_REJECTION_REASON_INTERNAL_ERROR

    @property
    def label(self) -> str:
        return self.name.lower()
