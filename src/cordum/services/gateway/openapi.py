"""The OpenAPI 3.1 document, made from the route table."""

import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from cordum import __version__
from cordum.core.access.permissions import Permission
from cordum.services.gateway.errors import TABLE
from cordum.services.gateway.route import Open, Route

REF: Final = "#/components/schemas/{name}"
_PARAM: Final = re.compile(r"\{(\w+)(?::path)?\}")
_EVERY_CALL: Final = (400, 429, 500, 503)
_WITH_CREDENTIALS: Final = (401, 403)
_WORDS: Final = {
    400: "The request is wrong; the message says what to mend",
    401: "No valid API key",
    403: "Not allowed",
    404: "Not found",
    409: "The state of things does not allow it",
    413: "The body is too large",
    426: "This is a stream; the message says how to ask for it",
    429: "Too many requests; `Retry-After` says when to come back",
    500: "Our fault",
    503: "Something we depend on is away; try again after `Retry-After` seconds",
}
_ERROR: Final = {
    "type": "object",
    "required": ["error", "code", "status"],
    "properties": {
        "error": {"type": "string", "description": "For a person"},
        "code": {"type": "string", "description": "For a program"},
        "error_code": {"type": "string", "description": "The same as `code`"},
        "status": {"type": "integer", "description": "The HTTP status"},
    },
    "additionalProperties": True,
}
_ERROR_REF: Final = {"$ref": "#/components/schemas/Error"}


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """The whole document; equal for equal tables."""
    types = list(dict.fromkeys(_types(routes)))
    schemas, components = msgspec.json.schema_components(types, ref_template=REF)
    by_type: dict[Any, dict[str, Any]] = dict(zip(types, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(_path(route), {})[route.method.lower()] = _operation(route, by_type, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Cordum API gateway",
            "version": __version__,
            "description": "Every action an agent wants to take is a job, decided by policy before it runs.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in dict.fromkeys(route.tag for route in routes)],
        "paths": paths,
        "components": {
            "schemas": {**dict(sorted(components.items())), "Error": _ERROR},
            "securitySchemes": {
                "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "Bearer": {"type": "http", "scheme": "bearer", "description": "The API key as a bearer token"},
            },
        },
    }


def _types(routes: Iterable[Route]) -> Iterable[Any]:
    for route in routes:
        if route.body is not None:
            yield route.body.type
        if route.query is not None:
            yield route.query
        yield from (answer for answer in route.answers.values() if answer is not None)


def _operation(route: Route, schemas: Mapping[Any, Any], components: Mapping[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": _parameters(route, schemas, components),
        "responses": _responses(route, schemas),
        "security": [] if _is_public(route) else [{"ApiKey": []}, {"Bearer": []}],
    }
    if route.notes:
        operation["description"] = route.notes
    if isinstance(route.permission, Permission):
        operation["x-cordum-permission"] = route.permission.value
    if route.body is not None:
        operation["requestBody"] = {
            "required": route.body.required,
            "content": {"application/json": {"schema": schemas[route.body.type]}},
        }
    if not operation["parameters"]:
        del operation["parameters"]
    return operation


def _parameters(route: Route, schemas: Mapping[Any, Any], components: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1, "maxLength": 512},
        }
        for name in _PARAM.findall(route.path)
    ]
    if route.query is not None:
        # Two structs of one name are told apart by their modules, so only the reference says which one it is.
        properties = components[schemas[route.query]["$ref"].rpartition("/")[2]]["properties"]
        for name, schema in properties.items():
            schema = _plain(copy.deepcopy(schema))
            described = {"name": name, "in": "query", "required": False, "schema": schema}
            if text := schema.pop("description", None):
                described["description"] = text
            found.append(described)
    if not _is_public(route):
        found.append(_header("X-Tenant-ID", "The tenant; the API key's own when absent"))
    if route.path.endswith("/jobs") and route.method == "POST":
        found.append(_header("Idempotency-Key", "A repetition under the same key is not a second job"))
    return found


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """A query parameter cannot be null: an optional one is simply absent."""
    choices = [choice for choice in schema.get("anyOf", ()) if choice.get("type") != "null"]
    if len(choices) == 1:
        return dict(choices[0])
    return schema


def _header(name: str, text: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "schema": {"type": "string"}, "description": text}


def _responses(route: Route, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, answer in sorted(route.answers.items()):
        response: dict[str, Any] = {"description": "Done" if status < 300 else _WORDS.get(status, "Failed")}
        if answer is not None:
            response["content"] = {"application/json": {"schema": schemas[answer]}}
        responses[str(status)] = response
    statuses = {TABLE[code][0].http for code in route.failures if code in TABLE}
    statuses |= set(_EVERY_CALL)
    if not _is_public(route):
        statuses |= set(_WITH_CREDENTIALS)
    if route.body is not None:
        statuses.add(413)
    for status in sorted(statuses):
        failure = responses.setdefault(str(status), {"description": _WORDS[status]})
        failure.setdefault("content", {"application/json": {"schema": _ERROR_REF}})
        if str(status) == "503" and 503 in route.answers:
            failure["content"]["application/json"]["schema"] = {"anyOf": [schemas[route.answers[503]], _ERROR_REF]}
    return responses


def _operation_id(route: Route) -> str:
    words = [word for word in re.split(r"[^A-Za-z0-9]+", _path(route)) if word not in ("", "api", "v1")]
    prefix = "root_" if not route.path.startswith("/api/") else ""
    return prefix + "_".join([route.method.lower(), *words])


def _path(route: Route) -> str:
    """The path without the router's own marks."""
    return _PARAM.sub(r"{\1}", route.path)


def _is_public(route: Route) -> bool:
    return route.permission in (Open.PUBLIC, Open.PROBE)
