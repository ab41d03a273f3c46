"""Free ports."""

import socket

from cordum.embedded import ports


def test_a_port_somebody_listens_on_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not ports.is_free(server.getsockname()[1])


def test_free_ports_are_free_and_below_the_ephemeral_range() -> None:
    for _ in range(50):
        port = ports.free_port()
        assert 1024 < port < 32768 and ports.is_free(port)
