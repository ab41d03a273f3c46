"""The routes of the schema registry; `services/gateway/routes.py` takes them in."""

from typing import Any, Final

from cordum.core.access.permissions import Permission
from cordum.services.gateway.route import Body, Route
from cordum.services.gateway.schemas import handlers

_API: Final = "/api/v1/schemas"
_Object = dict[str, Any]

SCHEMA_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="POST",
        path=_API,
        permission=Permission.SCHEMAS_WRITE,
        handler=handlers.register,
        summary="Register a JSON Schema, or replace one",
        body=Body(handlers.SchemaBody),
        answers={204: None},
        failures=("CONFIG_SCHEMA_VIOLATION", "schema_url_taken", "schema_limit_reached", "tenant_access_denied"),
        tag="schemas",
        notes="It may refer to other registered schemas by their absolute `$id`, never to the network. 256 KiB; "
        "patterns without lookaround and backreferences.",
    ),
    Route(
        method="GET",
        path=_API,
        permission=Permission.SCHEMAS_READ,
        handler=handlers.list_schemas,
        summary="List schemas",
        answers={200: handlers.SchemaIds},
        tag="schemas",
    ),
    Route(
        method="GET",
        path=f"{_API}/{{schema_id:path}}",
        permission=Permission.SCHEMAS_READ,
        handler=handlers.show_schema,
        summary="Show a schema",
        answers={200: _Object},
        failures=("CONFIG_SCHEMA_NOT_FOUND",),
        tag="schemas",
    ),
    Route(
        method="DELETE",
        path=f"{_API}/{{schema_id:path}}",
        permission=Permission.SCHEMAS_WRITE,
        handler=handlers.delete_schema,
        summary="Take a schema out of the registry",
        query=handlers.DeleteQuery,
        answers={204: None},
        failures=("CONFIG_SCHEMA_NOT_FOUND", "schema_in_use", "tenant_access_denied"),
        tag="schemas",
        notes="One that topics name only with `force=true`: under `SCHEMA_ENFORCEMENT=enforce` their jobs are refused "
        "from then on.",
    ),
)
