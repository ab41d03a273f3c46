import asyncio
from collections.abc import Callable

import pytest
from bench.http import Connection, Endpoint, HttpError, build_request, parse_head
from bench.load import Client, ClosedLoop


def test_a_head_gives_status_and_length_whatever_the_case() -> None:
    assert parse_head(b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\nserver: x") == (200, 12)
    assert parse_head(b"HTTP/1.1 404 Not Found\r\nServer: x\r\nContent-Length:3") == (404, 3)
    assert parse_head(b"HTTP/1.1 204 No Content\r\nserver: x") == (204, 0)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"SSH-2.0-OpenSSH",
        b"HTTP/1.1 abc OK",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1",
    ],
)
def test_a_head_it_cannot_read_is_an_error(head: bytes) -> None:
    with pytest.raises(HttpError):
        parse_head(head)


def test_endpoints_are_plain_http_only() -> None:
    assert Endpoint.parse("http://127.0.0.1:8081") == Endpoint("127.0.0.1", 8081)
    assert Endpoint.parse("localhost:80") == Endpoint("localhost", 80)
    for bad in ("https://x:1", "ftp://x", ""):
        with pytest.raises(ValueError):
            Endpoint.parse(bad)


def test_a_request_carries_its_body_and_length() -> None:
    request = build_request("POST", "/x", Endpoint("h", 1), {"X-API-Key": "k"}, b"{}")
    assert request == (
        b"POST /x HTTP/1.1\r\nHost: h:1\r\nX-API-Key: k\r\n"
        b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    )


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_answers_arrive_in_any_pieces(size: int) -> None:
    seen: list[tuple[int, bytes]] = []
    connection = Connection(lambda _c, status, body: seen.append((status, body)), lambda _c, _e: None)
    stream = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello" + b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n"
    for at in range(0, len(stream), size):
        connection.data_received(stream[at : at + size])
    connection.data_received(b"")
    assert seen[0] == (200, b"hello")


class _Server(asyncio.Protocol):
    """Answers every request; hangs up instead at those whose number `drops` names."""

    count = 0
    drops: Callable[[int], bool] = staticmethod(lambda _number: False)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        type(self).count += 1
        if type(self).drops(type(self).count):
            self._transport.abort()
            return
        self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")


async def _serve(protocol: type[_Server]) -> tuple[asyncio.Server, Endpoint]:
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    return server, Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])


async def test_a_counted_loop_sends_exactly_its_count() -> None:
    class Server(_Server):
        pass

    server, endpoint = await _serve(Server)
    async with server:
        request = build_request("GET", "/", endpoint)
        outcome = await ClosedLoop(endpoint, lambda _: request, connections=4, count=50, keep_bodies=50).run()
    assert (outcome.good, Server.count, len(outcome.bodies), len(outcome.latencies)) == (50, 50, 50, 50)
    assert outcome.faults() == ()


async def test_a_connection_the_server_drops_is_said_and_does_not_hang_the_loop() -> None:
    class Server(_Server):
        drops = staticmethod(lambda number: number == 10)

    server, endpoint = await _serve(Server)
    async with server:
        request = build_request("GET", "/", endpoint)
        outcome = await ClosedLoop(endpoint, lambda _: request, connections=2, count=40).run()
    assert outcome.lost == 1
    assert outcome.faults() == ("1 requests got no answer",)
    assert outcome.good == 39


async def test_the_client_gives_the_answer_or_says_that_the_connection_went() -> None:
    class Server(_Server):
        drops = staticmethod(lambda number: number == 2)

    server, endpoint = await _serve(Server)
    async with server:
        client = Client(endpoint)
        request = build_request("GET", "/", endpoint)
        assert await client(request) == (200, b"{}")
        with pytest.raises(HttpError):
            await client(request)
        assert await client(request) == (200, b"{}")
        client.close()
