"""JSON Schemas that operators register for the payloads of a topic's jobs: bounded, compiled, applied."""

from cordum.core.schemas.compiled import CompiledSchema, compile_schema
from cordum.core.schemas.document import SchemaDocument, read_document
from cordum.core.schemas.errors import BadSchemaError, MissingReferenceError, SchemaError
from cordum.core.schemas.faults import SchemaFault
from cordum.core.schemas.payload import payload_of
from cordum.core.schemas.violation import Violation

__all__ = (
    "BadSchemaError",
    "CompiledSchema",
    "MissingReferenceError",
    "SchemaDocument",
    "SchemaError",
    "SchemaFault",
    "Violation",
    "compile_schema",
    "payload_of",
    "read_document",
)
