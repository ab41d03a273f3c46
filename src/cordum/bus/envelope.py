"""The CAP envelope: strict about what we send, tolerant about what we take (spec-scheduler section 3.1)."""

from cap.constants import DEFAULT_PROTOCOL_VERSION
from cap.pb.cordum.agent.v1.buspacket_pb2 import BusPacket
from cap.validate import validate_bus_packet
from google.protobuf.message import DecodeError, EncodeError

from cordum.bus.errors import BadPacketError

_SHOWN_FAULTS = 5


def packet(sender: str, trace_id: str, now: float) -> BusPacket:
    """An envelope without payload: set one of the payload fields, then `encode`.

    Args:
        sender: identity of who speaks (`subjects.SCHEDULER_ID`, ...).
        trace_id: goes from the request to the worker and back.
        now: Unix seconds.
    """
    envelope = BusPacket(trace_id=trace_id, sender_id=sender, protocol_version=DEFAULT_PROTOCOL_VERSION)
    envelope.created_at.FromMicroseconds(int(now * 1_000_000))
    return envelope


def encode(envelope: BusPacket) -> bytes:
    """The bytes of a packet; the same packet always gives the same bytes.

    Raises:
        BadPacketError: a worker would drop it, for it breaks a rule of CAP.
    """
    try:
        faults = validate_bus_packet(envelope)
        if not faults:
            encoded: bytes = envelope.SerializeToString(deterministic=True)
            return encoded
    except (EncodeError, ValueError, TypeError) as error:
        raise BadPacketError(f"packet cannot be encoded: {error}") from error
    told = "; ".join(f"{fault.field} {fault.message}" for fault in faults[:_SHOWN_FAULTS])
    raise BadPacketError(f"packet breaks CAP: {told}")


def decode(data: bytes) -> BusPacket:
    """Reads a packet as older workers send it: a trace, a sender and a payload must be there, no more is asked.

    Raises:
        BadPacketError: the bytes are no packet, or one of the three is missing.
    """
    envelope = BusPacket()
    try:
        envelope.ParseFromString(data)
    except (DecodeError, ValueError, TypeError) as error:
        raise BadPacketError(f"packet cannot be decoded: {error}") from error
    missing = [
        name
        for name, found in (
            ("trace_id", envelope.trace_id.strip()),
            ("sender_id", envelope.sender_id.strip()),
            ("payload", envelope.WhichOneof("payload")),
        )
        if not found
    ]
    if missing:
        raise BadPacketError(f"packet has no {', no '.join(missing)}")
    return envelope
