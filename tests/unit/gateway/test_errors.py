"""Failures: one table, one envelope."""

import json

import grpc
import pytest

from cordum.bus import PublishError
from cordum.rpc.kernel_client import KernelUnavailableError
from cordum.services.gateway.errors import RETRY_AFTER, TABLE, ApiError, Failure, from_exception, invalid, slug
from cordum.store import StoreReplyError, StoreUnavailableError


def test_the_envelope_has_a_message_a_code_and_the_status() -> None:
    body = json.loads(ApiError("job_not_found").body())
    assert body == {"error": "job not found", "code": "job_not_found", "error_code": "job_not_found", "status": 404}


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (StoreUnavailableError(), 503, "store_unavailable"),
        (PublishError(), 503, "bus_unavailable"),
        (KernelUnavailableError(), 503, "safety_unavailable"),
        (StoreReplyError("WRONGTYPE secret detail"), 500, "internal_error"),
        (ValueError("secret detail"), 500, "internal_error"),
    ],
)
def test_what_fails_below_is_told_without_details(error: Exception, status: int, code: str) -> None:
    failure = from_exception(error)
    assert (failure.status, failure.slug) == (status, code)
    assert b"secret" not in failure.body()


def test_a_message_becomes_its_own_code() -> None:
    assert slug("Tenant access: denied!") == "tenant_access_denied"
    assert invalid("prompt is required").slug == "prompt_is_required"


def test_whoever_may_try_again_is_told_when() -> None:
    for code, (failure, _) in TABLE.items():
        if failure in (Failure.LIMITED, Failure.UNAVAILABLE):
            assert RETRY_AFTER[code] > 0


def test_grpc_has_a_status_for_each() -> None:
    assert ApiError("policy_denied").failure.grpc is grpc.StatusCode.PERMISSION_DENIED
    assert ApiError("IDEMPOTENCY_CONFLICT").failure.grpc is grpc.StatusCode.ALREADY_EXISTS
    assert ApiError("policy_throttled").failure.grpc is grpc.StatusCode.RESOURCE_EXHAUSTED
