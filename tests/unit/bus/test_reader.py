"""Reading from the wire: however the bytes are cut, the same messages come out."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.errors import ProtocolError

from cordum.bus.wire import Wire

SID = 7
Heard = tuple[bytes, bytes, bytes, bytes | None]

words = st.text("abcXYZ019.-_$", min_size=1, max_size=20).map(str.encode)
payloads = st.one_of(st.binary(max_size=60), st.just(b"MSG a 7 3\r\n"), st.just(b"\r\n\r\n"))
header_blocks = st.one_of(
    st.none(), st.just(b"NATS/1.0 408 Request Timeout\r\n\r\n"), st.just(b"NATS/1.0\r\nA: b\r\n\r\n")
)
messages = st.tuples(words, st.one_of(st.just(b""), words), payloads, header_blocks)


def on_the_wire(message: Heard) -> bytes:
    subject, reply, data, headers = message
    to = b"%s %d %s" % (subject, SID, reply + b" " if reply else b"")
    if headers is None:
        return b"MSG %s%d\r\n%s\r\n" % (to, len(data), data)
    return b"HMSG %s%d %d\r\n%s%s\r\n" % (to, len(headers), len(headers) + len(data), headers, data)


async def read(chunks: list[bytes]) -> tuple[list[Heard], Wire]:
    wire = Wire()
    heard: list[Heard] = []
    wire._listeners[SID] = lambda *message: heard.append(message)
    for chunk in chunks:
        await wire._ps.parse(chunk)
    return heard, wire


@given(st.lists(messages, max_size=6), st.lists(st.integers(1, 40), max_size=60), st.booleans())
def test_messages_survive_any_cut(sent: list[Heard], cuts: list[int], between: bool) -> None:
    stream = (b"+OK\r\nPONG\r\n" if between else b"").join([b"", *map(on_the_wire, sent), b""])
    chunks = []
    for size in cuts:
        chunks.append(stream[:size])
        stream = stream[size:]
    heard, wire = asyncio.run(read([*chunks, stream]))
    assert heard == sent
    assert bytes(wire._ps.buf) == b""


async def test_a_large_message_may_come_in_many_pieces() -> None:
    big = (b"s", b"", b"x" * 1_000_000, None)
    stream = on_the_wire(big)
    heard, _ = await read([stream[at : at + 4096] for at in range(0, len(stream), 4096)])
    assert heard == [big]


@pytest.mark.parametrize(
    "line",
    [
        b"MSG a\r\n",
        b"MSG a 7 x\r\n",
        b"MSG a b 3\r\nxyz\r\n",
        b"MSG a 7 -9\r\n",
        b"HMSG a 7 9 3\r\nxyz\r\n",
        b"HMSG a 7 3\r\n",
        b"HMSG a 7 r s 1 2\r\n",
        b"HELLO\r\n",
        b"x" * 70_000,
    ],
)
async def test_nonsense_is_a_protocol_error(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        await read([line])


async def test_a_reset_forgets_half_a_message() -> None:
    _, wire = await read([b"MSG a 7 100\r\nhalf"])
    wire._ps.reset()
    heard: list[Heard] = []
    wire._listeners[SID] = lambda *message: heard.append(message)
    await wire._ps.parse(b"MSG a 7 2\r\nhi\r\n")
    assert heard == [(b"a", b"", b"hi", None)]


async def test_a_listener_that_fails_does_not_end_the_reading() -> None:
    wire = Wire()
    seen: list[bytes] = []

    def fail_once(_subject: bytes, _reply: bytes, data: bytes, _headers: bytes | None) -> None:
        seen.append(data)
        if len(seen) == 1:
            raise ValueError("cannot take this")

    wire._listeners[SID] = fail_once
    await wire._ps.parse(b"MSG a 7 1\r\n1\r\nMSG a 7 1\r\n2\r\n")
    assert seen == [b"1", b"2"]


async def test_an_answer_to_a_ping_that_nobody_waits_for_any_more_does_no_harm() -> None:
    _, wire = await read([])
    given_up = asyncio.get_running_loop().create_future()
    waiting = asyncio.get_running_loop().create_future()
    wire._pongs = [given_up, waiting]
    given_up.cancel()
    await wire._ps.parse(b"PONG\r\nPONG\r\nPONG\r\n")
    assert waiting.result() is True
