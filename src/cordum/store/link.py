"""What a connection to Redis looks like to the rest of the store: commands in, replies out, one trip.

Three topologies stand behind it: one server, a master found through Sentinel (`server`), and a cluster (`cluster`).
"""

from collections.abc import Sequence
from typing import Final, Protocol, TypeAlias, TypeGuard

from redis import exceptions

from cordum.store.errors import NotRunError, StoreError, StoreReplyError

Command: TypeAlias = tuple[str | bytes | int, ...]
Reply: TypeAlias = "int | str | bytes | list[Reply] | None"
Outcome: TypeAlias = "Reply | StoreError"
"""What became of one command: the server's reply, or why there is none. Errors are values here, so that one command's
fault is not its neighbours'."""


READS: Final = frozenset(
    (
        *("GET", "GETRANGE", "STRLEN", "EXISTS", "HGETALL", "HMGET", "PING", "ZCARD", "ZCOUNT", "SCARD", "SMEMBERS"),
        *("LRANGE", "ZRANGE", "ZRANGEBYSCORE", "ZREVRANGEBYSCORE"),
        *("XRANGE", "XREVRANGE", "XLEN"),
    )
)
"""What is sent again when its answer was lost. No write is: repeated late, even a ZREM could undo what another client
wrote in between."""


class Payload(tuple[str | bytes | int, ...]):
    """A command whose reply stays bytes, because it is somebody's content and not ours to decode."""

    __slots__ = ()


class UnknownScriptError(NotRunError):
    """The server does not know this script yet."""


class MovedError(NotRunError):
    """The key lives on another node of the cluster now (`slot host:port`)."""


class AskError(NotRunError):
    """The key is on its way to another node of the cluster; this one time, ask there (`slot host:port`)."""


_REFUSALS: Final[dict[str, type[StoreError]]] = {
    "NOSCRIPT": UnknownScriptError,
    "MOVED": MovedError,
    "ASK": AskError,
    # The server cannot take this command now, and did not run it.
    "LOADING": NotRunError,
    "READONLY": NotRunError,
    "MASTERDOWN": NotRunError,
    "CLUSTERDOWN": NotRunError,
    "TRYAGAIN": NotRunError,
    "NOREPLICAS": NotRunError,
    "BUSY": NotRunError,
    "MISCONF": NotRunError,
    "OOM": NotRunError,
}


def refusal(message: str) -> StoreError:
    """An error reply of the server, as one of ours."""
    word, _, rest = message.partition(" ")
    kind = _REFUSALS.get(word, StoreReplyError)
    return kind(rest if kind in (MovedError, AskError) else message)


def key_of(command: Command) -> str | bytes:
    """The one key a command touches, or "" for a command about the server itself."""
    at = 3 if command[0] in ("EVALSHA", "EVAL") else 1
    key = command[at] if len(command) > at else ""
    return key if isinstance(key, str | bytes) else str(key)


def is_text(reply: Outcome) -> TypeGuard[str]:
    return isinstance(reply, str)


CONNECTION_FAULTS: Final = (exceptions.RedisError, OSError, TimeoutError, EOFError)
"""What redis-py and the event loop raise when a server cannot be reached or goes away."""


class Link(Protocol):
    """One topology of Redis."""

    async def execute(self, commands: Sequence[Command], deadline: float) -> list[Outcome]:
        """Sends the commands in one write per server and answers with one outcome each, in order.

        Never raises for what happens to Redis and is over by `deadline` (event loop time): what could not be sent comes
        back as NotRunError, what was sent and never answered as AnswerLostError.
        """

    async def aclose(self) -> None:
        """Closes every connection."""
