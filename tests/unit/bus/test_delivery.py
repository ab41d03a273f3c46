"""Deliveries: where they stand in their stream, and their headers."""

import pytest

from cordum.bus.delivery import Delivery, position
from cordum.bus.errors import PublishError
from cordum.bus.headers import parse_headers, write_headers


@pytest.mark.parametrize(
    ("ack_to", "expected"),
    [
        ("$JS.ACK.CORDUM_SYS.dur_q__s.3.42.7.1795432422928962000.5", (3, 42)),
        ("$JS.ACK.hub.Xy12.CORDUM_SYS.dur_q__s.3.42.7.1795432422928962000.5", (3, 42)),
        ("$JS.ACK.hub.Xy12.CORDUM_SYS.dur_q__s.3.42.7.1795432422928962000.5.r4nd0m", (3, 42)),
        ("$JS.ACK.CORDUM_SYS.dur_q__s.3.42.7.1795432422928962000", None),
        ("$JS.ACK.CORDUM_SYS.dur_q__s.x.42.7.1795432422928962000.5", None),
        ("$JS.API.CORDUM_SYS.dur_q__s.3.42.7.1795432422928962000.5", None),
        ("_INBOX.a.b", None),
        ("", None),
    ],
)
def test_the_reply_subject_tells_delivery_count_and_sequence(ack_to: str, expected: tuple[int, int] | None) -> None:
    assert position(ack_to) == expected


def test_headers_are_read_when_asked_for() -> None:
    delivery = Delivery("s", b"", b"NATS/1.0\r\nNats-Msg-Id: a: b\r\ntraceparent:00-x\r\n\r\n")
    assert delivery.headers == {"Nats-Msg-Id": "a: b", "traceparent": "00-x"}
    assert Delivery("s", b"").headers == {}


@pytest.mark.parametrize(
    ("raw", "status", "description", "fields"),
    [
        (b"NATS/1.0 503\r\n\r\n", 503, "", {}),
        (
            b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Stream: 4\r\n\r\n",
            100,
            "Idle Heartbeat",
            {"Nats-Last-Stream": "4"},
        ),
        (b"NATS/1.0\r\nA:\r\n nonsense\r\n: x\r\n\r\n", 0, "", {"A": ""}),
        (b"NATS/1.0\r\nA: \xff\r\n\r\n", 0, "", {"A": "\ufffd"}),
        (b"", 0, "", {}),
    ],
)
def test_a_header_block_is_read(raw: bytes, status: int, description: str, fields: dict[str, str]) -> None:
    headers = parse_headers(raw)
    assert (headers.status, headers.description, headers.fields) == (status, description, fields)


def test_a_header_block_is_written() -> None:
    assert write_headers("", None) == b""
    assert write_headers("m", None) == b"NATS/1.0\r\nNats-Msg-Id: m\r\n\r\n"
    assert write_headers("m", {"A": "b"}) == b"NATS/1.0\r\nNats-Msg-Id: m\r\nA: b\r\n\r\n"
    assert write_headers("", {"A": "ü"}) == "NATS/1.0\r\nA: ü\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("msg_id", "fields"),
    [("a\r\nB: c", None), ("a\nb", None), ("", {"A": "b\r\nC: d"}), ("", {"A b": "c"}), ("", {"": "c"})],
)
def test_nothing_breaks_out_of_a_header_line(msg_id: str, fields: dict[str, str] | None) -> None:
    with pytest.raises(PublishError):
        write_headers(msg_id, fields)
