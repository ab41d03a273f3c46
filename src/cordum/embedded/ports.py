"""Free TCP ports on the loopback interface.

Ports are taken from below the ephemeral range (Linux 32768+, macOS 49152+): a client that keeps reconnecting to a dead
server there could be given that very port as its own and connect to itself.
"""

import collections
import random
import socket

from cordum.embedded.errors import PortTakenError

LOOPBACK = "127.0.0.1"
_LOWEST, _HIGHEST = 15_000, 32_000
_TRIES = 200
_NOT_AGAIN = 500
_random = random.SystemRandom()
_recent: collections.deque[int] = collections.deque(maxlen=_NOT_AGAIN)
_share = range(_LOWEST, _HIGHEST)


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen on `port` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Servers set this too: a port whose old connections only linger in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def keep_to_share(number: int, of: int) -> None:
    """From now on this process takes its ports from share `number` (from 0) of `of` equal ones.

    For processes that run side by side and would take each other's ports between asking for one and listening there.
    """
    global _share
    size = (_HIGHEST - _LOWEST) // of
    _share = range(_LOWEST + number * size, _LOWEST + (number + 1) * size)


def free_port() -> int:
    """A port nobody listens on at this moment, and not one this process got lately.

    Another process may take it meanwhile: whoever binds it must be ready to lose the race and ask again.

    Raises:
        PortTakenError: none was found.
    """
    for _ in range(_TRIES):
        port = _random.choice(_share)
        if port not in _recent and is_free(port):
            _recent.append(port)
            return port
    raise PortTakenError(f"no free port found between {_share.start} and {_share.stop}")
