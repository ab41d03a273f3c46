"""The route table: nothing without a gate, and a document that says what is served."""

import json
from typing import Any

import msgspec
import pytest

from cordum.core.access.permissions import Permission
from cordum.services.gateway.openapi import document
from cordum.services.gateway.route import Open
from cordum.services.gateway.router import DoubleRouteError, UngatedRouteError, check_routes
from cordum.services.gateway.routes import ROUTES

PUBLIC = {"/health", "/healthz", "/readyz", "/livez", "/api/v1/openapi.json"}


def test_a_route_without_a_permission_cannot_be_registered() -> None:
    for nothing in (None, "", "jobs.read", True):
        broken = msgspec.structs.replace(ROUTES[0], permission=nothing)
        with pytest.raises(UngatedRouteError, match="declares no permission"):
            check_routes([*ROUTES[1:], broken])


def test_a_route_is_declared_once() -> None:
    with pytest.raises(DoubleRouteError):
        check_routes([*ROUTES, ROUTES[3]])


def test_only_these_paths_are_open_to_anybody() -> None:
    assert {route.path for route in ROUTES if route.permission in (Open.PUBLIC, Open.PROBE)} == PUBLIC


def test_what_changes_something_needs_more_than_reading() -> None:
    for route in ROUTES:
        if route.method != "GET":
            assert isinstance(route.permission, Permission) and not route.permission.value.endswith(".read")


def test_the_document_names_every_route_and_no_other() -> None:
    paths = document(ROUTES)["paths"]
    assert {(path, method.upper()) for path, item in paths.items() for method in item} == {
        (route.path.replace(":path", ""), route.method) for route in ROUTES
    }
    for route in ROUTES:
        operation = paths[route.path.replace(":path", "")][route.method.lower()]
        assert (operation["security"] == []) == (route.path in PUBLIC)


def test_every_reference_of_the_document_leads_somewhere() -> None:
    whole = document(ROUTES)

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if "$ref" in node:
                name = node["$ref"].removeprefix("#/components/schemas/")
                assert name in whole["components"]["schemas"]
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(whole)
    ids = [operation["operationId"] for item in whole["paths"].values() for operation in item.values()]
    assert len(set(ids)) == len(ids)
    assert json.dumps(whole) == json.dumps(document(ROUTES))
