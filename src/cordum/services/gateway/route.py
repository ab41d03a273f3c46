"""One line of the route table (spec-auth section 4: nothing is served that does not say who may call it)."""

from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import msgspec

from cordum.core.access.permissions import Permission
from cordum.services.gateway.answer import Answer
from cordum.services.gateway.call import Call

if TYPE_CHECKING:
    from cordum.services.gateway.parts import Parts

Handler = Callable[["Parts", Call], Awaitable[Answer]]


class Open(Enum):
    """Routes that ask for no permission say so."""

    PUBLIC = "public"
    """Anybody may call; slowed down per client address."""
    PROBE = "probe"
    """Anybody may call, as often as they like: for the probes of the platform."""
    ANY_CALLER = "any caller"
    """Whoever has proven who they are."""


class Body(msgspec.Struct, frozen=True):
    """What a route takes.

    Attributes:
        type: the struct the body is decoded to.
        required: whether an empty body is refused; else it is None.
        limit: name of the setting with the largest size, in bytes.
    """

    type: type[msgspec.Struct]
    required: bool = True
    limit: str = "max_json_body_bytes"


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A path with a method, what it takes, what it answers and who may call it.

    Attributes:
        path: with variable parts in braces, below the root.
        permission: what the caller needs; `None` stands for a mistake and is refused when the app is built.
        answers: status -> type of the answer, for the OpenAPI document.
        failures: machine codes of the error answers beyond those every route can give.
        query: struct of the query parameters.
        tag: group in the documentation.
    """

    method: str
    path: str
    permission: Permission | Open | None
    handler: Handler
    summary: str
    answers: Mapping[int, Any]
    body: Body | None = None
    query: type[msgspec.Struct] | None = None
    failures: tuple[str, ...] = ()
    tag: str = ""
    notes: str = ""
    """What a reader of the reference should know beyond the summary."""


METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
