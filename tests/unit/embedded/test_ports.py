"""Free ports."""

import socket

import pytest

from cordum.embedded import ports


def test_a_port_somebody_listens_on_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not ports.is_free(server.getsockname()[1])


def test_free_ports_are_free_and_below_the_ephemeral_range() -> None:
    for _ in range(50):
        port = ports.free_port()
        assert 1024 < port < 32768 and ports.is_free(port)


def test_no_port_is_given_twice_in_a_row() -> None:
    given = [ports.free_port() for _ in range(300)]
    assert len(set(given)) == len(given)


def test_shares_of_processes_side_by_side_do_not_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_share", ports._share)
    shares = []
    for number in range(3):
        ports.keep_to_share(number, 3)
        shares.append(ports._share)
        assert ports.free_port() in ports._share
    assert len(set().union(*shares)) == sum(len(share) for share in shares) > 10_000
