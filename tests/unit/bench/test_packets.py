from typing import Any

import pytest
from bench import packets
from cap.validate import validate_bus_packet
from google.protobuf.message import DecodeError


def _parse(data: bytes) -> Any:
    return packets.buspacket_pb2.BusPacket.FromString(data)


def _dispatch(job_id: str, attempt: int = 0) -> bytes:
    packet = packets.buspacket_pb2.BusPacket(trace_id=f"trace-{job_id}", sender_id="cordum-scheduler")
    packet.job_request.job_id = job_id
    if attempt:
        packet.job_request.dispatch.dispatch_id = f"dispatch-{job_id}"
        packet.job_request.dispatch.attempt = attempt
    return bytes(packet.SerializeToString())


def test_what_the_bench_sends_is_valid_cap() -> None:
    sent = [
        packets.handshake("w", ["job.bench"]),
        packets.heartbeat("w", "bench", 512, 0, ["job.bench"]),
        packets.SubmitWriter("job.bench", "default", "bench", "api-gateway-http").packet("j1"),
        packets.ResultWriter("w").answer(_dispatch("j1"))[1],
    ]
    assert [validate_bus_packet(_parse(data)) for data in sent] == [[], [], [], []]


def test_an_answer_belongs_to_its_job_and_to_nothing_before_it() -> None:
    writer = packets.ResultWriter("w")
    first_id, first = writer.answer(_dispatch("j1", attempt=2))
    second_id, second = writer.answer(_dispatch("j2"))
    assert (first_id, second_id) == ("j1", "j2")
    assert _parse(first).job_result.dispatch.dispatch_id == "dispatch-j1"
    assert not _parse(second).job_result.HasField("dispatch")
    assert _parse(second).trace_id == "trace-j2"
    assert _parse(second).job_result.status == packets.job_pb2.JOB_STATUS_SUCCEEDED


@pytest.mark.parametrize("payload", [b"\xff\xff", b"", packets.handshake("w", [])])
def test_what_is_no_job_is_refused(payload: bytes) -> None:
    with pytest.raises((DecodeError, ValueError)):
        packets.ResultWriter("w").answer(payload)


def test_the_policy_checks_are_all_different() -> None:
    assert len(set(packets.policy_checks(300, "job.bench", "default"))) == 300
