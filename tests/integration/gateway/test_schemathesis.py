"""What the OpenAPI document promises, tried with made-up requests: no answer is our fault, each has its form."""

import asyncio
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from .conftest import CROSSING, World

CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
EXAMPLES = 25
"""Requests made up per operation."""


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_made_up_requests_never_break_the_gateway(world: World) -> None:
    await world.register(job_default="active")
    failures = await asyncio.to_thread(_try_out, world.url)
    assert failures == []


def _try_out(url: str) -> list[str]:
    """Sends made-up requests for every operation of the served document; answers what was wrong."""
    document = schemathesis.openapi.from_url(f"{url}/api/v1/openapi.json")
    failures: list[str] = []
    seen: set[int] = set()
    for result in document.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()

        @given(case=operation.as_strategy())
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def attempt(case: Any) -> None:
            case.headers = {**(case.headers or {}), "X-API-Key": CROSSING}
            if case.query and "wait" in case.query:
                case.query["wait"] = "10ms"
            response = case.call(timeout=20)
            seen.add(response.status_code)
            if response.status_code >= 500:
                failures.append(f"{case.method} {case.formatted_path}: {response.status_code} {response.text}")
            case.validate_response(response, checks=CHECKS)

        try:
            attempt()
        except Exception as error:
            failures.append(f"{operation.label}: {error}")
    if not {200, 400, 404} <= seen:
        failures.append(f"only {sorted(seen)} were seen: the requests are not made up well")
    return failures
