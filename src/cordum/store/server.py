"""One Redis server, reached directly or through Sentinel.

redis-py opens the connections (TLS, passwords, Sentinel's master); reading and writing on them is ours, since a client
call per command costs ten times the command: a batch is packed by hiredis, written at once, and its replies are read
in order by a hiredis reader of our own.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import hiredis
from redis.asyncio import connection as redis_connection

from cordum.store.errors import AnswerLostError, NotRunError, StoreError
from cordum.store.link import CONNECTION_FAULTS, Command, Outcome, Payload, refusal

_READ_SIZE: Final = 1 << 18  # bytes
_PENDING: Final = object()
"""What the reader answers while a reply is not complete."""

_pack = cast("Callable[[Command], bytes]", hiredis.pack_command)


class Lane:
    """One connection, used for one batch at a time."""

    def __init__(self, connection: redis_connection.AbstractConnection) -> None:
        self.connection = connection
        self._replies = hiredis.Reader(encoding="utf-8", errors="replace", replyError=refusal, notEnoughData=_PENDING)

    async def is_stale(self) -> bool:
        """Whether the server has hung up since the last batch (or sent something nobody asked for)."""
        return not self.connection.is_connected or await self.connection.can_read()

    async def exchange(self, commands: Sequence[Command], outcomes: list[Outcome]) -> None:
        """Writes the batch and appends each reply to `outcomes` as it comes."""
        await self.connection.send_packed_command(
            b"".join([_pack(command) for command in commands]), check_health=False
        )
        # redis-py has no public way to read many replies at the cost of one; the stream is what its own parsers read.
        stream: asyncio.StreamReader | None = self.connection._reader
        if stream is None:
            raise EOFError("the connection is closed")
        replies = self._replies
        next_reply = replies.gets
        for command in commands:
            decode = type(command) is not Payload
            reply = next_reply(decode)
            while reply is _PENDING:
                data = await stream.read(_READ_SIZE)
                if not data:
                    raise EOFError("Redis closed the connection")
                replies.feed(data)
                reply = next_reply(decode)
            outcomes.append(reply)


class ServerLink:
    """A server and the few connections to it that are in use.

    Args:
        pool: where connections come from; the link closes it.
        dial_timeout: seconds one attempt to connect may take, handshake included.
    """

    def __init__(self, pool: Any, *, dial_timeout: float) -> None:
        self._pool = pool
        self._dial_timeout = dial_timeout
        self._idle: list[Lane] = []
        self._closed = False

    async def execute(self, commands: Sequence[Command], deadline: float) -> list[Outcome]:
        """See Link. One attempt to connect, one to send: repeating is the caller's decision."""
        try:
            lane = await self._idle_lane() or await self._dial(deadline)
        except CONNECTION_FAULTS as fault:
            return [NotRunError(f"Redis cannot be reached: {_reason(fault)}")] * len(commands)
        outcomes: list[Outcome] = []
        lost: StoreError
        try:
            async with asyncio.timeout_at(deadline):
                await lane.exchange(commands, outcomes)
        except CONNECTION_FAULTS as fault:
            lost = AnswerLostError(f"Redis did not answer: {_reason(fault)}")
            outcomes.extend([lost] * (len(commands) - len(outcomes)))
        except hiredis.HiredisError as fault:
            lost = AnswerLostError(f"Redis sent something that is not its protocol: {fault}")
            outcomes.extend([lost] * (len(commands) - len(outcomes)))
        except BaseException:
            await self._drop(lane)
            raise
        else:
            # A server that is loading, or was demoted, says so to every command: the next batch dials anew.
            if self._closed or type(outcomes[0]) is NotRunError:
                await self._drop(lane)
            else:
                self._idle.append(lane)
            return outcomes
        await self._drop(lane)
        return outcomes

    async def _idle_lane(self) -> Lane | None:
        while self._idle:
            lane = self._idle.pop()
            if not await lane.is_stale():
                return lane
            await self._drop(lane)
        return None

    async def _dial(self, deadline: float) -> Lane:
        async with asyncio.timeout_at(min(deadline, asyncio.get_running_loop().time() + self._dial_timeout)):
            return Lane(await self._pool.get_connection())

    async def _drop(self, lane: Lane) -> None:
        await lane.connection.disconnect(nowait=True)
        await self._pool.release(lane.connection)

    async def aclose(self) -> None:
        """Closes every connection."""
        self._closed = True
        while self._idle:
            lane = self._idle.pop()
            await lane.connection.disconnect()
            await self._pool.release(lane.connection)
        await self._pool.aclose()


def _reason(fault: BaseException) -> str:
    return str(fault) or type(fault).__name__
