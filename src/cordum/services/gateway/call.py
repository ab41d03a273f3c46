"""One request, as a handler sees it: checked, allowed, decoded."""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from cordum.core.access.caller import Caller
from cordum.core.access.permissions import Role
from cordum.core.ids import TenantId


class Headers(Protocol):
    """The request's headers, names in any case."""

    def __call__(self, name: str) -> str | None: ...


NOBODY = Caller(tenant=TenantId(""), role=Role.VIEWER, fingerprint="")
"""The caller of public routes."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What a handler works with.

    Attributes:
        tenant: the tenant the request acts for; every look-up is within it.
        path: as it was called, without the query.
        params: the variable parts of the path.
        query: the route's query struct, None when the route has none.
        raw_query: the query as it was sent, for links.
        body: the route's body struct, None when the route has none or the body was empty.
        header: looks a header up.
        request_id: of the `X-Request-Id` header, also in the log.
    """

    caller: Caller
    tenant: TenantId
    path: str
    header: Headers
    request_id: str
    params: Mapping[str, str] = {}
    query: Any = None
    raw_query: Mapping[str, Any] = {}
    body: Any = None
