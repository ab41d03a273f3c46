"""From the route table to the ASGI application."""

from collections.abc import Sequence
from typing import Any

import falcon
import falcon.asgi

from cordum.core.access.permissions import Permission
from cordum.core.errors import CordumError
from cordum.services.gateway.edge import Edge, Request, answer_failure
from cordum.services.gateway.origins import Origins
from cordum.services.gateway.parts import Parts
from cordum.services.gateway.pipeline import Pipeline
from cordum.services.gateway.route import METHODS, Open, Route


class UngatedRouteError(CordumError):
    """A route does not say who may call it."""

    code = "route_without_permission"


class DoubleRouteError(CordumError):
    """Two routes have the same method and path."""

    code = "route_declared_twice"


class _Resource:
    """A path; its responders are set by method."""


def check_routes(routes: Sequence[Route]) -> None:
    """Raises UngatedRouteError or DoubleRouteError: nothing is served whose gate nobody has declared."""
    seen: set[tuple[str, str]] = set()
    for route in routes:
        if not isinstance(route.permission, Permission | Open) or route.method not in METHODS:
            raise UngatedRouteError(f"{route.method} {route.path} declares no permission")
        if (route.method, route.path) in seen:
            raise DoubleRouteError(f"{route.method} {route.path} is declared twice")
        seen.add((route.method, route.path))


def build(parts: Parts, routes: Sequence[Route]) -> "falcon.asgi.App[Any, Any]":
    """The application that serves these routes and nothing else.

    Raises:
        UngatedRouteError: a route declares no permission.
        DoubleRouteError: a route is declared twice.
    """
    check_routes(routes)
    edge = Edge(Origins(parts.settings.allowed_origins), parts.ids, parts.settings.trusted_proxies)
    app: falcon.asgi.App[Any, Any] = falcon.asgi.App(
        media_type="application/json", request_type=Request, middleware=[edge]
    )
    app.req_options.keep_blank_qs_values = False
    app.req_options.strip_url_path_trailing_slash = True
    for error in (Exception, falcon.HTTPError, falcon.HTTPStatus):
        app.add_error_handler(error, answer_failure)
    resources: dict[str, _Resource] = {}
    for route in routes:
        resource = resources.setdefault(route.path, _Resource())
        respond = Pipeline(route, parts).respond
        setattr(resource, f"on_{route.method.lower()}", respond)
        if route.method == "GET" and isinstance(route.permission, Open):
            resource.on_head = respond  # type: ignore[attr-defined]
    for path, resource in resources.items():
        app.add_route(path, resource)
    return app
