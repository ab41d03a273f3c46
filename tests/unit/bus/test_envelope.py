"""The CAP envelope: strict out, tolerant in."""

import pytest
from cap.pb.cordum.agent.v1 import heartbeat_pb2, job_pb2
from cap.pb.cordum.agent.v1.buspacket_pb2 import BusPacket
from cap.validate import validate_bus_packet
from hypothesis import given
from hypothesis import strategies as st

from cordum.bus import BadPacketError, envelope, subjects

NOW = 1_795_432_422.25


def submit() -> BusPacket:
    packet = envelope.packet(subjects.GATEWAY_ID, "trace-1", NOW)
    packet.job_request.CopyFrom(job_pb2.JobRequest(job_id="j1", topic="job.default", labels={"b": "2", "a": "1"}))
    return packet


def test_a_packet_survives_the_way_there_and_back() -> None:
    back = envelope.decode(envelope.encode(submit()))
    assert back == submit()
    assert back.created_at.ToMicroseconds() == int(NOW * 1_000_000)
    assert validate_bus_packet(back) == []


def test_equal_packets_give_equal_bytes() -> None:
    other = submit()
    other.job_request.labels.clear()
    other.job_request.labels.update({"a": "1", "b": "2"})
    assert envelope.encode(other) == envelope.encode(submit())


def test_a_packet_that_workers_would_drop_is_not_sent() -> None:
    result = envelope.packet(subjects.SCHEDULER_ID, "trace-1", NOW)
    result.job_result.CopyFrom(job_pb2.JobResult(job_id="j1", status=5, worker_id="somebody else"))
    with pytest.raises(BadPacketError, match=r"job_result\.worker_id must equal sender_id"):
        envelope.encode(result)


def test_a_packet_without_payload_is_not_sent() -> None:
    with pytest.raises(BadPacketError, match="payload"):
        envelope.encode(envelope.packet(subjects.SCHEDULER_ID, "trace-1", NOW))


def test_old_workers_may_leave_out_what_new_ones_must_say() -> None:
    packet = BusPacket(trace_id="w1", sender_id="w1", heartbeat=heartbeat_pb2.Heartbeat(worker_id="w1"))
    assert envelope.decode(packet.SerializeToString()).heartbeat.worker_id == "w1"


@pytest.mark.parametrize("field", ["trace_id", "sender_id"])
def test_a_blank_trace_or_sender_is_refused(field: str) -> None:
    packet = submit()
    setattr(packet, field, " \t")
    with pytest.raises(BadPacketError, match=field):
        envelope.decode(packet.SerializeToString())


def test_a_packet_without_payload_is_refused() -> None:
    with pytest.raises(BadPacketError, match="payload"):
        envelope.decode(BusPacket(trace_id="t", sender_id="s").SerializeToString())


@given(st.binary(max_size=512))
def test_random_bytes_are_a_packet_or_a_bad_packet(data: bytes) -> None:
    try:
        packet = envelope.decode(data)
    except BadPacketError:
        return
    assert packet.trace_id and packet.sender_id and packet.WhichOneof("payload")


@given(st.binary(max_size=8), st.integers(0, 200), st.integers(0, 200))
def test_a_damaged_packet_is_a_packet_or_a_bad_packet(patch: bytes, at: int, cut: int) -> None:
    good = envelope.encode(submit())
    damaged = good[: at % len(good)] + patch + good[at % len(good) + cut :]
    try:
        envelope.decode(damaged)
    except BadPacketError:
        pass
