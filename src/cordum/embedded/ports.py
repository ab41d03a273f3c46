"""Free TCP ports on the loopback interface.

Ports are taken from below the ephemeral range (Linux 32768+, macOS 49152+): a client that keeps reconnecting to a dead
server there could be given that very port as its own and connect to itself.
"""

import random
import socket

from cordum.embedded.errors import PortTakenError

LOOPBACK = "127.0.0.1"
_LOWEST, _HIGHEST = 15_000, 32_000
_TRIES = 200
_random = random.SystemRandom()


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


def free_port() -> int:
    """A port nobody listens on at this moment; whoever binds it must be ready to lose a race and ask again."""
    for _ in range(_TRIES):
        port = _random.randrange(_LOWEST, _HIGHEST)
        if is_free(port):
            return port
    raise PortTakenError(f"no free port found between {_LOWEST} and {_HIGHEST}")
