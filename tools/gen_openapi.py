"""docs/reference/api.md and openapi.json, made from the route table; `tools/gen_docs.py` writes both."""

import json
from collections.abc import Callable, Iterable

from cordum.core.access.permissions import Permission, Role, permissions_of
from cordum.services.gateway.errors import RETRY_AFTER, TABLE
from cordum.services.gateway.openapi import document
from cordum.services.gateway.route import Open, Route
from cordum.services.gateway.routes import ROUTES

NOTE = "<!-- Written by tools/gen_docs.py; run `make docs` instead of changing it by hand. -->\n\n"
TITLES = {
    "jobs": "Jobs",
    "dlq": "Dead letters",
    "approvals": "Approvals",
    "policy": "Policy",
    "workers": "Workers and topics",
    "system": "The gateway itself",
}
WHO = {
    Open.PUBLIC: "anybody, limited per address",
    Open.PROBE: "anybody",
    Open.ANY_CALLER: "any API key",
}
INTRODUCTION = """# HTTP and gRPC API

The machine-readable form is [openapi.json](openapi.json), served at `/api/v1/openapi.json`. Both come from the route
table `src/cordum/services/gateway/routes.py`.

## Conventions

* **Credentials**: `X-API-Key: <key>` or `Authorization: Bearer <key>`. A key belongs to a tenant and has a role.
* **Tenant**: `X-Tenant-ID`, or the key's own tenant. Another tenant's jobs do not exist (404).
* **Principal**: the key's own; outside production `X-Principal-Id` where the key names none.
* **Errors**: `{"error": <for people>, "code": <for programs>, "error_code": <the same>, "status": <HTTP status>}`.
* **Limits**: 429 carries `Retry-After` and `RateLimit-*`. JSON bodies up to `GATEWAY_MAX_JSON_BODY_BYTES`.
* **Lists**: `limit` (at most 500) and `cursor`; `next_cursor` is null at the end, `Link` names the next page.
* **Times** of jobs are integers, microseconds since the epoch. Cursors are taken in s, ms, µs or ns.
* **Idempotency**: `Idempotency-Key` (or `idempotency_key` in the body) makes a repeated submit answer like the first.
* `X-Request-Id` is kept when it is 1 to 128 of `A-Z a-z 0-9 . _ -`, else made up; every answer has one.

gRPC: `cordum.v1.CordumApi` (`SubmitJob`, `GetJobStatus`, see `proto/cordum/v1/api.proto`) with the same rules;
credentials in the metadata `x-api-key` or `authorization`, tenant in `x-tenant-id`. `grpc.health.v1.Health` needs none.
"""


def openapi_page() -> str:
    """The OpenAPI document as text."""
    return json.dumps(document(ROUTES), indent=2, ensure_ascii=False) + "\n"


def api_page() -> str:
    """Every route, role and error code."""
    parts = [NOTE, INTRODUCTION]
    for tag, title in TITLES.items():
        parts += [f"\n## {title}\n\n", _routes(route for route in ROUTES if route.tag == tag)]
    parts += ["\n## Roles\n\n", _roles(), "\n## Error codes\n\n", _errors()]
    return "".join(parts)


def _routes(routes: Iterable[Route]) -> str:
    lines = ["| Route | Needs | Does |\n", "|---|---|---|\n"]
    for route in routes:
        need = f"`{route.permission}`" if isinstance(route.permission, Permission) else WHO[_open(route)]
        text = f"{route.summary}. {route.notes}".strip().replace("|", "\\|")
        lines.append(f"| `{route.method} {route.path}` | {need} | {text} |\n")
    return "".join(lines)


def _open(route: Route) -> Open:
    assert isinstance(route.permission, Open)
    return route.permission


def _roles() -> str:
    lines = [f"| Permission | {' | '.join(Role)} |\n", f"|---|{'---|' * len(Role)}\n"]
    for permission in Permission:
        marks = " | ".join("yes" if permission in permissions_of(role) else "" for role in Role)
        lines.append(f"| `{permission}` | {marks} |\n")
    return "".join(lines)


def _errors() -> str:
    lines = ["| Code | HTTP | gRPC | Message | Retry after |\n", "|---|---|---|---|---|\n"]
    for code, (failure, message) in TABLE.items():
        wait = f"{RETRY_AFTER[code]} s" if code in RETRY_AFTER else ""
        lines.append(f"| `{code}` | {failure.http} | {failure.grpc.name} | {message} | {wait} |\n")
    lines.append(
        "\nWhere a message has no code of its own, the code is the message in lower case with `_` between words.\n"
    )
    return "".join(lines)


PAGES: dict[str, Callable[[], str]] = {
    "docs/reference/api.md": api_page,
    "docs/reference/openapi.json": openapi_page,
}
