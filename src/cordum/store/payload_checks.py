"""Payloads against registered schemas, with the compiled schemas kept in this process.

A schema is read when the first payload asks for it, and again after half a minute or when somebody says that schemas
changed. What is read again and is the same is not compiled again.
"""

import hashlib
from collections import OrderedDict
from typing import Final

import msgspec

from cordum.core.errors import CordumError
from cordum.core.schemas import (
    CompiledSchema,
    MissingReferenceError,
    SchemaDocument,
    SchemaError,
    SchemaFault,
    Violation,
    compile_schema,
    faults,
    payload_of,
    read_document,
)
from cordum.runtime.clock import Clock
from cordum.store.errors import StoreError
from cordum.store.schemas import Schemas

MAX_AGE: Final = 30.0
"""Seconds a schema is used before it is read again, should the word of a change be lost."""
MAX_KEPT: Final = 256
MAX_REFERENCES: Final = 32
"""Other documents one schema may refer to, directly and through each other."""


class RegistryUnavailableError(CordumError):
    """The schema registry cannot be read."""

    code = faults.UNAVAILABLE


class _Kept(msgspec.Struct):
    digest: bytes
    read_at: float
    schema: CompiledSchema | SchemaFault


class PayloadChecks:
    """Answers what is wrong with a job's payload."""

    def __init__(self, schemas: Schemas, clock: Clock) -> None:
        self._schemas = schemas
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def changed(self) -> None:
        """Schemas have changed: each is read again before it is used again."""
        for kept in self._kept.values():
            kept.read_at = float("-inf")

    async def fault(self, schema_id: str, context: bytes) -> SchemaFault | None:
        """Why a job with this context document does not pass the schema, None when it does.

        Raises:
            RegistryUnavailableError: nobody can tell, the registry cannot be read.
        """
        kept = self._kept.get(schema_id)
        if kept is None or self._clock.monotonic() - kept.read_at > MAX_AGE:
            kept = await self._read(schema_id, kept)
        if isinstance(kept.schema, SchemaFault):
            return kept.schema
        found: tuple[Violation, ...] = kept.schema.violations(payload_of(context))
        return faults.payload_fault(schema_id, found) if found else None

    async def _read(self, schema_id: str, before: _Kept | None) -> _Kept:
        began = self._clock.monotonic()
        try:
            digest, schema = await self._load(schema_id, before)
        except StoreError as error:
            raise RegistryUnavailableError(f"the schema {schema_id} cannot be read: {error.message}") from error
        kept = _Kept(digest, began, schema)
        self._kept[schema_id] = kept
        self._kept.move_to_end(schema_id)
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return kept

    async def _load(self, schema_id: str, before: _Kept | None) -> tuple[bytes, CompiledSchema | SchemaFault]:
        text = await self._schemas.get(schema_id)
        if text is None:
            message = f"the topic's input schema {schema_id} is not registered"
            return b"", SchemaFault(code=faults.NOT_FOUND, schema_id=schema_id, message=message)
        digest = hashlib.sha256(text).digest()
        # A schema with references may change without its own text: it is compiled anew each time.
        if before is not None and before.digest == digest:
            return digest, before.schema
        try:
            document = read_document(text)
            schema, others = await compiled(self._schemas, document)
        except SchemaError as error:
            message = f"the topic's input schema {schema_id} cannot be used: {error.message}"
            return b"", SchemaFault(code=faults.INVALID, schema_id=schema_id, message=message)
        return (b"" if others else digest), schema


async def compiled(schemas: Schemas, document: SchemaDocument) -> tuple[CompiledSchema, int]:
    """A schema made ready with the registered ones it refers to, and how many those are.

    Raises:
        SchemaError: it cannot be used, or refers to what is not registered.
        StoreUnavailableError: the registry cannot be read.
    """
    others: dict[str, SchemaDocument] = {}
    while True:
        try:
            return compile_schema(document, others), len(others)
        except MissingReferenceError as error:
            if len(others) >= MAX_REFERENCES:
                raise SchemaError(f"it refers to more than {MAX_REFERENCES} other schemas") from None
            text = await schemas.by_url(error.url)
            if text is None:
                raise
            others[error.url] = read_document(text)
