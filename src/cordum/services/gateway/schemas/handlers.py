"""`/api/v1/schemas`: the schema registry (spec-gateway section 9, spec-workflow section 16)."""

import re
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from cordum.core.schemas import BadSchemaError, SchemaDocument, SchemaError, read_document
from cordum.services.gateway.answer import NO_CONTENT, Answer, answer
from cordum.services.gateway.call import Call
from cordum.services.gateway.config_changes import announce_change
from cordum.services.gateway.errors import ApiError, invalid
from cordum.services.gateway.parts import Parts
from cordum.services.gateway.policy_admin.platform import is_platform
from cordum.services.gateway.profiles import Profile, profile_of
from cordum.store.payload_checks import compiled
from cordum.store.schemas import SchemaLimitError, UrlTakenError

SCOPE_ID: Final = "schemas"
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]*(?:/[A-Za-z0-9][A-Za-z0-9._@-]*)*")
_RESERVED: Final = ("url", "index")
MAX_ID: Final = 256  # characters


class SchemaBody(msgspec.Struct, forbid_unknown_fields=True):
    """A schema to register. `schema`: a JSON Schema, 2020-12 unless its `$schema` names an older one."""

    id: Annotated[str, Meta(min_length=1, max_length=MAX_ID)]
    schema: msgspec.Raw


class DeleteQuery(msgspec.Struct):
    """Query of a deletion."""

    force: Annotated[bool, Meta(description="true: even if topics name it")] = False


class SchemaIds(msgspec.Struct):
    """The ids of all schemas; to the published SDK each is an object with the schema in it."""

    schemas: list[Any]


async def register(parts: Parts, call: Call) -> Answer:
    """Registers a schema, or replaces one."""
    _demand_platform(parts, call)
    body: SchemaBody = call.body
    schema_id = _id(body.id)
    text = bytes(body.schema)
    document = await _checked(parts, text)
    try:
        is_new = await parts.store.schemas.put(schema_id, text, document.url)
    except (UrlTakenError, SchemaLimitError) as error:
        raise ApiError(error.code, error.message) from error
    await _told(parts, call, "create" if is_new else "update", schema_id)
    return NO_CONTENT


async def list_schemas(parts: Parts, call: Call) -> Answer:
    """The ids of all schemas."""
    if profile_of(call.header("User-Agent"), call.header("Accept")) is not Profile.SDK:
        return answer(SchemaIds(schemas=await parts.store.schemas.ids()))
    texts = await parts.store.schemas.texts()
    return answer(SchemaIds(schemas=[{"id": name, "schema": msgspec.Raw(text)} for name, text in texts.items()]))


async def show_schema(parts: Parts, call: Call) -> Answer:
    """One schema."""
    schema_id = call.params["schema_id"]
    text = await parts.store.schemas.get(schema_id)
    if text is None:
        raise ApiError("CONFIG_SCHEMA_NOT_FOUND")
    return answer({"id": schema_id, "schema": msgspec.Raw(text), "topics": parts.topics.using(schema_id)})


async def delete_schema(parts: Parts, call: Call) -> Answer:
    """Takes a schema out of the registry."""
    _demand_platform(parts, call)
    query: DeleteQuery = call.query
    schema_id = call.params["schema_id"]
    await parts.topics.look()
    if (topics := parts.topics.using(schema_id)) and not query.force:
        raise ApiError("schema_in_use", f"the topic {topics[0]} names this schema", extra={"topics": topics[:20]})
    text = await parts.store.schemas.get(schema_id)
    if not await parts.store.schemas.delete(schema_id, _url_of(text)):
        raise ApiError("CONFIG_SCHEMA_NOT_FOUND")
    await _told(parts, call, "delete", schema_id)
    return NO_CONTENT


async def _checked(parts: Parts, text: bytes) -> SchemaDocument:
    """The document, once it compiles with everything it refers to; raises ApiError 400."""
    try:
        document = read_document(text)
        await compiled(parts.store.schemas, document)
    except SchemaError as error:
        path = error.path if isinstance(error, BadSchemaError) else "$"
        raise invalid(
            f"not a JSON Schema that can be used: {path}: {error.message}",
            "CONFIG_SCHEMA_VIOLATION",
            violations=[{"path": path, "message": error.message}],
        ) from None
    return document


def _url_of(text: bytes | None) -> str:
    try:
        return read_document(text).url if text is not None else ""
    except SchemaError:
        return ""


def _id(text: str) -> str:
    if not _ID.fullmatch(text) or text in _RESERVED:
        raise invalid(
            "not a schema id: parts of letters, digits, '.', '_', '@' and '-', joined by /", "CONFIG_SCHEMA_VIOLATION"
        )
    return text


async def _told(parts: Parts, call: Call, action: str, schema_id: str) -> None:
    parts.submit_gate.changed()
    await announce_change(parts.bus, parts.clock, "system", SCOPE_ID)
    await parts.auditor.record(
        call.caller, action, resource_type="schema", resource_id=schema_id, resource_name=schema_id, tenant=call.tenant
    )


def _demand_platform(parts: Parts, call: Call) -> None:
    if not is_platform(parts, call):
        raise ApiError(
            "tenant_access_denied",
            f"schemas hold for every tenant: use a key of the tenant {parts.settings.tenant_id}, or one with "
            "allow_cross_tenant",
        )
