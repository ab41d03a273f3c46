"""A Redis server, as far as the store asks one: the commands, expiry by virtual time, and the store's own scripts.

`test_conformance` runs the same commands here and on a real server and compares every reply.
"""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from tests.simulation.lua import Lua
from tests.simulation.redis_collections import COLLECTIONS
from tests.simulation.redis_commands import Keyspace
from tests.simulation.redis_values import RedisError, SimReply, integer
from tests.simulation.redis_zsets import ZSETS

from cordum.store import scripts

Arguments = Sequence[str | bytes | int]
V = TypeVar("V")

_NO_SCRIPT: Final = "NOSCRIPT No matching script. Please use EVAL."
_encoded: dict[str | bytes | int, bytes] = {}


def encoded(part: str | bytes | int) -> bytes:
    """One argument as it goes over the wire."""
    if type(part) is str:
        return part.encode()
    return part if isinstance(part, bytes) else b"%d" % part if isinstance(part, int) else part.encode()


class SimRedis:
    """One server. `execute` answers one command, or raises RedisError."""

    def __init__(self, now: Callable[[], float]) -> None:
        """`now` gives Unix seconds."""
        self.keys = Keyspace(now)
        self.commands = 0
        self.unknown: set[str] = set()
        self._known: set[bytes] = set()
        self._table = {**self.keys.table(), **COLLECTIONS, **ZSETS}

    def execute(self, command: Arguments) -> SimReply:
        """Runs one command."""
        self.commands += 1
        name = command[0]
        if name == "EVALSHA" or name == "EVAL":
            return self._script(command)
        return self.call([encoded(part) for part in command])

    def call(self, parts: list[bytes]) -> SimReply:
        """Runs one command whose parts are bytes already, as scripts do."""
        handler = self._table.get(parts[0].upper())
        if handler is None:
            self.unknown.add(parts[0].decode())
            raise RedisError(f"ERR unknown command '{parts[0].decode()}'")
        return handler(self.keys, parts)

    @property
    def known_scripts(self) -> set[str]:
        """The digests of the scripts that were run, unless they were forgotten."""
        return {sha.decode() for sha in self._known}

    def forget_scripts(self) -> None:
        """What a restart or a failover does."""
        self._known.clear()

    def _script(self, command: Arguments) -> SimReply:
        sha, count = encoded(command[1]), integer(encoded(command[2]))
        if command[0] == "EVAL":
            sha = _SHAS[sha.decode()]
            self._known.add(sha)
        elif sha not in self._known:
            raise RedisError(_NO_SCRIPT)
        rest = [encoded(part) for part in command[3:]]
        return Lua.shared().run(sha.decode(), rest[:count], rest[count:], self.call)


_SHAS: Final = {text: sha.encode() for sha, text in scripts.TEXTS.items()}
