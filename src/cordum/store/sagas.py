"""Sagas in Redis: one stack of compensations per workflow, and the rollbacks that are under way (spec-scheduler 15).

A rollback looks at the top of a stack, publishes it, and only then takes it off. Which rollbacks are not through yet is
written down before the first step, so that somebody goes on with them when their scheduler has died.
"""

from enum import Enum
from typing import Final

import msgspec

from cordum.core.ids import Micros
from cordum.core.jobs.saga import Saga
from cordum.store import keys, scripts
from cordum.store.batch import Batcher
from cordum.store.link import Command, Payload
from cordum.store.options import StoreOptions

MOST_ENTRIES: Final = 10_000
"""Compensations one workflow may leave behind."""

_MEMBER: Final = msgspec.json.Decoder(Saga)


class Pushed(Enum):
    """What became of an entry."""

    NEW = "new"
    KNOWN = "known"
    FULL = "full"
    """It is not kept: the saga has MOST_ENTRIES already."""


class Rollback(msgspec.Struct, frozen=True):
    """A rollback somebody asked for. `asked_at` is the time as Redis spells it, to be given back."""

    saga: Saga
    asked_at: str


class Sagas:
    """Every method raises StoreUnavailableError when Redis does not answer in time."""

    def __init__(self, batcher: Batcher, options: StoreOptions) -> None:
        self._batcher = batcher
        self._ttl = options.meta_ttl
        self._context_ttl = max(options.meta_ttl, options.data_ttl)

    async def push(self, saga: Saga, entry: bytes, context_ptr: str = "") -> Pushed:
        """Puts an entry on top of a saga unless it is in it already; entries of one job are always the same bytes.

        Args:
            context_ptr: what the compensation will read; it is kept as long as the saga is.
        """
        stack = keys.saga_stack(saga)
        commands: list[Command] = [("EVALSHA", scripts.PUSH_COMPENSATION.sha, 1, stack, self._ttl, MOST_ENTRIES, entry)]
        context = keys.payload_key(context_ptr)
        if context.startswith("ctx:"):
            commands.append(("EXPIRE", context, self._context_ttl))
        match (await self._batcher.submit(commands))[0]:
            case 1:
                return Pushed.NEW
            case -1:
                return Pushed.FULL
            case _:
                return Pushed.KNOWN

    async def size(self, saga: Saga) -> int:
        """How many compensations wait in a saga."""
        found = (await self._batcher.submit([("LLEN", keys.saga_stack(saga))]))[0]
        return found if isinstance(found, int) else 0

    async def peek(self, saga: Saga) -> bytes | None:
        """The entry on top, which stays there; None when there is none."""
        found = (await self._batcher.submit([Payload(("LRANGE", keys.saga_stack(saga), 0, 0))]))[0]
        top = found[0] if isinstance(found, list) and found else None
        return top if isinstance(top, bytes) else None

    async def pop(self, saga: Saga, entry: bytes) -> None:
        """Takes this very entry off, and never one that came on top of it meanwhile."""
        await self._batcher.submit([("LREM", keys.saga_stack(saga), 1, entry)])

    async def ask_rollback(self, saga: Saga, now: Micros) -> bool:
        """Writes down that a saga is to be rolled back. False: that was asked before, and is asked anew."""
        added = (await self._batcher.submit([("ZADD", keys.SAGA_ROLLBACKS, now, _member(saga))]))[0]
        return added == 1

    async def asked_rollbacks(self, limit: int) -> list[Rollback]:
        """Rollbacks that are not through, the oldest first."""
        found = (await self._batcher.submit([("ZRANGE", keys.SAGA_ROLLBACKS, 0, limit - 1, "WITHSCORES")]))[0]
        flat = iter(found if isinstance(found, list) else [])
        rollbacks: list[Rollback] = []
        for member, asked_at in zip(flat, flat, strict=True):
            try:
                rollbacks.append(Rollback(_MEMBER.decode(str(member)), str(asked_at)))
            except msgspec.MsgspecError:
                await self._batcher.submit([("ZREM", keys.SAGA_ROLLBACKS, str(member))])
        return rollbacks

    async def asked_at(self, saga: Saga) -> str | None:
        """When the rollback of a saga was asked for last; None when none is."""
        found = (await self._batcher.submit([("ZSCORE", keys.SAGA_ROLLBACKS, _member(saga))]))[0]
        return found if isinstance(found, str) else None

    async def rolled_back(self, rollback: Rollback) -> bool:
        """Forgets a rollback that is through. False: it was asked for again meanwhile."""
        call: Command = (
            "EVALSHA", scripts.FORGET_ROLLBACK.sha, 1, keys.SAGA_ROLLBACKS, _member(rollback.saga), rollback.asked_at
        )  # fmt: skip
        return (await self._batcher.submit([call]))[0] == 1


def _member(saga: Saga) -> bytes:
    return msgspec.json.encode(saga)
