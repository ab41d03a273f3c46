"""The packets of the trust handshake: read strictly, written signed (spec-scheduler 11.4).

What a packet must look like is CAP's business, and its own validators and signatures are used; a packet they refuse is
looked at once more only to tell its sender why.
"""

import hashlib
from typing import Final

import msgspec
from cap.pb.cordum.agent.v1 import handshake_pb2
from cap.pb.cordum.agent.v1.buspacket_pb2 import BusPacket
from cap.trust_signing import TrustSigningError, sign_trust_packet, verify_trust_packet
from cap.worker_trust import (
    WORKER_HANDSHAKE_AUDIENCE,
    WORKER_HANDSHAKE_MAX_PACKET_SIZE,
    WORKER_HANDSHAKE_PROTOCOL_VERSION,
    WorkerHandshakePacketError,
)
from cap.worker_trust_codec import marshal_worker_trust_packet, unmarshal_worker_trust_packet
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.message import DecodeError

from cordum.bus import BadSubjectError, envelope, subjects
from cordum.core.access.worker_credential import WorkerCredential
from cordum.core.ids import WorkerId
from cordum.core.signing import BadKeyError, read_public_key
from cordum.runtime.session_keys import TrustKey
from cordum.services.scheduler.trust.rejections import Rejection

REQUEST: Final = "worker_handshake_challenge_request"
AUTHENTICATE: Final = "worker_handshake_authenticate"

SKEW: Final = 60.0
"""Seconds by which a worker's clock may differ from ours."""

MAX_TEXT: Final = 256
NONCE_BYTES: Final = 32

_TEXTS: Final = ("request_id", "trace_id", "worker_id", "proof_key_id", "audience", "sdk_version")
_PLACEHOLDER: Final = "-"
"""Stands in an answer for what its request did not say: CAP lets no field be empty, not even when it refuses."""


class Refused(msgspec.Struct, frozen=True):
    """A handshake that goes no further.

    Attributes:
        why: the reason told to the worker.
        detail: for the log, never for the worker.
    """

    why: Rejection
    detail: str


class Asked(msgspec.Struct, frozen=True):
    """A request, as far as it could be read.

    Attributes:
        packet: what came, or as much of it as could be read.
        said: its fields that both phases have: the request itself, or the copy of the challenge.
        refused: set when the packet is not as it must be.
    """

    packet: BusPacket
    said: "handshake_pb2.WorkerHandshakeChallengeRequest | handshake_pb2.WorkerHandshakeChallenge"
    refused: Refused | None = None

    @property
    def worker_id(self) -> WorkerId:
        return WorkerId(self.said.worker_id)

    @property
    def renews(self) -> bool:
        return bool(self.said.purpose == handshake_pb2.WORKER_HANDSHAKE_PURPOSE_RENEW)


def read(data: bytes, phase: str, now: float) -> Asked | None:
    """Reads one phase.

    Args:
        phase: REQUEST or AUTHENTICATE.
        now: Unix seconds.

    Returns:
        The request; with `refused` set where it must not be granted. None: nothing that could be answered.
    """
    try:
        packet = unmarshal_worker_trust_packet(data)
    except WorkerHandshakePacketError as error:
        return _unsound(data, phase, str(error))
    if packet.WhichOneof("payload") != phase:
        return None
    asked = Asked(packet, _said(packet, phase))
    return msgspec.structs.replace(asked, refused=_fault(asked, now))


def _fault(asked: Asked, now: float) -> Refused | None:
    said = asked.said
    if any(not _canonical(getattr(said, name)) for name in _TEXTS):
        return Refused(Rejection.INVALID_REQUEST, "an id or a version that is too long or not printable")
    if said.audience != WORKER_HANDSHAKE_AUDIENCE:
        return Refused(Rejection.INVALID_REQUEST, "meant for another audience")
    if abs(asked.packet.created_at.ToMicroseconds() / 1_000_000 - now) > SKEW:
        return Refused(Rejection.CLOCK_SKEW, "the worker's clock differs from ours by more than a minute")
    try:
        subjects.worker_jobs(asked.worker_id)
    except BadSubjectError as error:
        return Refused(Rejection.AUTHENTICATION_FAILED, error.message)
    return None


def _unsound(data: bytes, phase: str, why: str) -> Asked | None:
    """What can still be said about a packet that CAP's validator refuses."""
    packet = BusPacket()
    try:
        if not 0 < len(data) <= WORKER_HANDSHAKE_MAX_PACKET_SIZE:
            return None
        packet.ParseFromString(data)
    except (DecodeError, ValueError):
        return None
    if packet.WhichOneof("payload") != phase:
        return None
    said = _said(packet, phase)
    renews = said.purpose == handshake_pb2.WORKER_HANDSHAKE_PURPOSE_RENEW
    reason = Rejection.INVALID_REQUEST
    if {said.protocol_version, packet.protocol_version} != {WORKER_HANDSHAKE_PROTOCOL_VERSION}:
        reason = Rejection.UNSUPPORTED_VERSION
    elif phase == AUTHENTICATE and renews and not packet.auth_token:
        reason = Rejection.SESSION_REQUIRED
    return Asked(packet, said, Refused(reason, why))


def _said(
    packet: BusPacket, phase: str
) -> "handshake_pb2.WorkerHandshakeChallengeRequest | handshake_pb2.WorkerHandshakeChallenge":
    return (
        packet.worker_handshake_challenge_request
        if phase == REQUEST
        else packet.worker_handshake_authenticate.challenge
    )


def _canonical(text: str) -> bool:
    return 0 < len(text) <= MAX_TEXT and all("!" <= char <= "~" for char in text)


def proven(asked: Asked, credential: WorkerCredential | None) -> Refused | None:
    """Whether the worker has signed the packet with a proof key of its credential; None: it has.

    Whoever asks learns only that it failed, never whether there is such a worker.
    """
    if credential is None:
        return Refused(Rejection.AUTHENTICATION_FAILED, "the worker has no credential")
    if credential.is_revoked:
        return Refused(Rejection.AUTHENTICATION_FAILED, "the worker's credential is revoked")
    known = credential.proof_key(asked.said.proof_key_id)
    if known is None:
        return Refused(Rejection.AUTHENTICATION_FAILED, "the worker has no such proof key")
    try:
        key = read_public_key(known.public_key)
    except BadKeyError as error:
        return Refused(Rejection.INTERNAL_ERROR, f"the worker's proof key: {error.message}")
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return Refused(Rejection.INTERNAL_ERROR, "the worker's proof key is not on P-256")
    try:
        verify_trust_packet(asked.packet, {known.id: key})
    except TrustSigningError as error:
        return Refused(Rejection.AUTHENTICATION_FAILED, str(error))
    return None


def agent_of(credential: WorkerCredential) -> str:
    """The agent a worker speaks for: its own id where the credential names none, since CAP wants a name."""
    return credential.agent_id or credential.worker_id


def digest(challenge: "handshake_pb2.WorkerHandshakeChallenge") -> str:
    """What tells two challenges apart."""
    return hashlib.sha256(challenge.SerializeToString(deterministic=True)).hexdigest()


def answer(trace_id: str, now: float) -> BusPacket:
    """An envelope for the answer."""
    return envelope.packet(subjects.SCHEDULER_ID, trace_id, now)


def sealed(packet: BusPacket, key: TrustKey) -> bytes:
    """The packet's bytes, signed and checked as the worker will check them.

    Raises:
        WorkerHandshakePacketError: a worker would not accept it.
    """
    sign_trust_packet(packet, key.key)
    data: bytes = marshal_worker_trust_packet(packet)
    return data


def rejection(asked: Asked, refused: Refused, key: TrustKey, now: float) -> bytes | None:
    """The signed refusal; None where the request said too little for CAP to have an answer to it."""
    said = asked.said
    packet = answer(said.trace_id[:MAX_TEXT] or asked.packet.trace_id[:MAX_TEXT], now)
    result = packet.worker_handshake_result
    if isinstance(said, handshake_pb2.WorkerHandshakeChallenge):
        result.challenge.CopyFrom(said)
    else:
        _stand_in(result.challenge, said, now)
    result.challenge.server_key_id = key.key_id
    result.accepted = False
    result.rejection_reason = refused.why.value
    result.issued_at.FromMicroseconds(int(now * 1_000_000))
    try:
        return sealed(packet, key)
    except (WorkerHandshakePacketError, TrustSigningError, ValueError):
        return None


def _stand_in(
    challenge: "handshake_pb2.WorkerHandshakeChallenge",
    request: "handshake_pb2.WorkerHandshakeChallengeRequest",
    now: float,
) -> None:
    """A refusal repeats the challenge; where there has been none yet it repeats the request."""
    for name in _TEXTS:
        setattr(challenge, name, getattr(request, name)[:MAX_TEXT] or _PLACEHOLDER)
    challenge.challenge_id = challenge.agent_id = challenge.tenant_id = _PLACEHOLDER
    challenge.purpose = request.purpose
    challenge.proof_algorithm = handshake_pb2.WORKER_HANDSHAKE_PROOF_ALGORITHM_ECDSA_P256_SHA256
    challenge.client_nonce = request.client_nonce if len(request.client_nonce) == NONCE_BYTES else bytes(NONCE_BYTES)
    challenge.server_nonce = bytes(NONCE_BYTES)
    challenge.protocol_version = WORKER_HANDSHAKE_PROTOCOL_VERSION
    challenge.issued_at.FromMicroseconds(int(now * 1_000_000))
    challenge.expires_at.FromMicroseconds(int((now + 1) * 1_000_000))
