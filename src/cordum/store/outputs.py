"""Results under the output policy: read within bounds, copied without their secrets, held where no pointer leads."""

import hashlib
from typing import Final

import msgspec

from cordum.core.ids import JobId
from cordum.store import keys
from cordum.store.batch import Batcher
from cordum.store.errors import StoreReplyError
from cordum.store.link import Command, Payload, Reply
from cordum.store.options import StoreOptions

_HELD_FIELDS: Final = ("content", "message", "code", "state", "original_ptr", "complete")


class Output(msgspec.Struct, frozen=True):
    """What is at a result pointer: the first bytes, and how many there are in all."""

    content: bytes
    size: int

    @property
    def complete(self) -> bool:
        """Whether `content` is all of it."""
        return len(self.content) == self.size


class HeldOutput(msgspec.Struct, frozen=True, kw_only=True):
    """The original of a result that was redacted or quarantined.

    Attributes:
        content: what the worker wrote; b"" when it wrote nothing, or it could not be read.
        message: the worker's words about a failure, and `code` its code.
        state: how the job would have ended: SUCCEEDED or FAILED.
        original_ptr: where the result was.
        complete: False: it is too long to be moved, and still where it was, with no pointer to it.
    """

    content: bytes
    message: str = ""
    code: str = ""
    state: str = ""
    original_ptr: str = ""
    complete: bool = True


class Outputs:
    """Contents of results. Raises StoreUnavailableError when Redis does not answer in time."""

    def __init__(self, batcher: Batcher, options: StoreOptions) -> None:
        self._batcher = batcher
        self._meta_ttl = options.meta_ttl
        self._data_ttl = options.data_ttl

    async def load(self, ptr: str, most: int) -> Output | None:
        """At most `most` bytes of a result.

        None: there is nothing at the pointer, or nothing that can be read, or it is none a worker may point at.
        """
        key = keys.output_key(ptr)
        if not key:
            return None
        commands: list[Command] = [("EXISTS", key), ("STRLEN", key), Payload(("GETRANGE", key, 0, most - 1))]
        try:
            exists, size, content = await self._batcher.submit(commands)
        except StoreReplyError:
            return None  # not a string: no result is anything else
        if exists != 1 or not isinstance(size, int) or not isinstance(content, bytes):
            return None
        return Output(content, size)

    async def put_redacted(self, ptr: str, content: bytes) -> str:
        """Writes the copy that may be read, and answers the pointer to it."""
        key = f"{keys.output_key(ptr)}:redacted:{hashlib.sha256(content).hexdigest()[:16]}"
        await self._batcher.submit([("SET", key, content, "EX", self._data_ttl)])
        return keys.pointer(key)

    async def put_released(self, job_id: JobId, content: bytes) -> str:
        """Writes an original that a person let go, and answers the pointer to it."""
        key = f"{keys.result(job_id)}:released:{hashlib.sha256(content).hexdigest()[:16]}"
        await self._batcher.submit([("SET", key, content, "EX", self._data_ttl)])
        return keys.pointer(key)

    async def hold(self, job_id: JobId, held: HeldOutput) -> None:
        """Keeps an original for as long as the job's record lives, under a key that no pointer can name."""
        key = keys.held_output(job_id)
        fields: tuple[str | bytes, ...] = (
            *(held.content, held.message, held.code, held.state, held.original_ptr),
            "1" if held.complete else "",
        )
        pairs: list[str | bytes] = [part for pair in zip(_HELD_FIELDS, fields, strict=True) for part in pair]
        await self._batcher.submit([("HSET", key, *pairs), ("EXPIRE", key, self._meta_ttl)])

    async def held(self, job_id: JobId) -> HeldOutput | None:
        """The original that is held of a job's result, if one is."""
        command = Payload(("HMGET", keys.held_output(job_id), *_HELD_FIELDS))
        found = (await self._batcher.submit([command]))[0]
        if not isinstance(found, list) or found[-2] is None:
            return None
        content, *texts = found
        message, code, state, original_ptr, complete = map(_text, texts)
        return HeldOutput(
            content=content if isinstance(content, bytes) else b"",
            message=message,
            code=code,
            state=state,
            original_ptr=original_ptr,
            complete=complete == "1",
        )

    async def drop_held(self, job_id: JobId) -> None:
        await self._batcher.submit([("DEL", keys.held_output(job_id))])

    async def drop_original(self, ptr: str) -> None:
        """Takes a result away from where its worker had put it."""
        if key := keys.output_key(ptr):
            await self._batcher.submit([("DEL", key)])

    async def record_decision(self, job_id: JobId, decision: bytes) -> None:
        """Keeps the decision about a result as JSON, `job:<id>:output_decision`."""
        await self._batcher.submit([("SET", keys.job_output_decision(job_id), decision, "EX", self._meta_ttl)])


def _text(value: Reply) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else ""
