"""Registered JSON Schemas: `schema:<id>`, their `$id` as another way to them, an index (spec-scheduler section 4)."""

from collections.abc import Sequence
from typing import Final

from cordum.core.errors import CordumError
from cordum.runtime.clock import Clock, unix_micros
from cordum.store import keys
from cordum.store.batch import Batcher
from cordum.store.link import Command, Payload

MOST: Final = 500
"""Schemas an installation may have."""


class SchemaLimitError(CordumError):
    """There are as many schemas as an installation may have."""

    code = "schema_limit_reached"


class UrlTakenError(CordumError):
    """Another schema has this $id.

    Attributes:
        owner: the schema's id.
    """

    code = "schema_url_taken"

    def __init__(self, url: str, owner: str) -> None:
        super().__init__(f"the schema {owner} has the $id {url} already")
        self.owner = owner


class Schemas:
    """The texts. Every method raises StoreUnavailableError when Redis does not answer in time."""

    def __init__(self, batcher: Batcher, clock: Clock) -> None:
        self._batcher = batcher
        self._clock = clock

    async def get(self, schema_id: str) -> bytes | None:
        """The text of one schema, None when there is none."""
        return (await self._texts([schema_id]))[0]

    async def by_url(self, url: str) -> bytes | None:
        """The text of the schema with this `$id`, None when there is none."""
        owner = await self._owner(url)
        return await self.get(owner) if owner else None

    async def put(self, schema_id: str, text: bytes, url: str) -> bool:
        """Writes a schema; True when it is a new one. Doing it again changes nothing.

        Args:
            url: its absolute `$id`, "" for none.

        Raises:
            UrlTakenError: another schema has that `$id`.
            SchemaLimitError: there are MOST already.
        """
        known = set(await self.ids())
        if schema_id not in known and len(known) >= MOST:
            raise SchemaLimitError(f"there are {len(known)} schemas; {MOST} are the most")
        if url:
            owner = await self._owner(url)
            if owner and owner != schema_id and owner in known:
                raise UrlTakenError(url, owner)
        await self._batcher.submit([("ZADD", keys.SCHEMA_INDEX, unix_micros(self._clock), schema_id)])
        writes: list[Command] = [("SET", keys.schema(schema_id), text)]
        if url:
            writes.append(("SET", keys.schema_url(url), schema_id))
        await self._batcher.submit(writes)
        return schema_id not in known

    async def delete(self, schema_id: str, url: str) -> bool:
        """Takes a schema away; False when there was none. `url` is its `$id`, "" for none."""
        commands: list[Command] = [("DEL", keys.schema(schema_id))]
        if url and await self._owner(url) == schema_id:
            commands.append(("DEL", keys.schema_url(url)))
        found = (await self._batcher.submit(commands))[0]
        # Last, so that what a crash leaves behind is still listed and can be deleted again.
        listed = (await self._batcher.submit([("ZREM", keys.SCHEMA_INDEX, schema_id)]))[0]
        return bool(found) or bool(listed)

    async def ids(self) -> list[str]:
        """The ids of all schemas, sorted."""
        found = (await self._batcher.submit([("ZRANGE", keys.SCHEMA_INDEX, 0, -1)]))[0]
        return sorted(str(item) for item in found) if isinstance(found, list) else []

    async def known(self, schema_ids: Sequence[str]) -> set[str]:
        """Those of the ids that a schema has."""
        texts = await self._texts(schema_ids)
        return {schema_id for schema_id, text in zip(schema_ids, texts, strict=True) if text is not None}

    async def texts(self) -> dict[str, bytes]:
        """Every schema by id."""
        ids = await self.ids()
        return {name: text for name, text in zip(ids, await self._texts(ids), strict=True) if text is not None}

    async def _texts(self, schema_ids: Sequence[str]) -> list[bytes | None]:
        if not schema_ids:
            return []
        found = await self._batcher.submit([Payload(("GET", keys.schema(name))) for name in schema_ids])
        return [item if isinstance(item, bytes) else None for item in found]

    async def _owner(self, url: str) -> str:
        found = (await self._batcher.submit([("GET", keys.schema_url(url))]))[0]
        return found if isinstance(found, str) else ""
