"""Every way a request can fail: one table from machine code to HTTP and gRPC status (spec-gateway section 2.8).

The answer is always `{"error": <for a person>, "code": <for a program>, "status": <HTTP status>}`, `error_code` being
the name under which some clients look for `code`.
"""

import re
from collections.abc import Mapping
from enum import Enum
from typing import Final

import grpc
import msgspec

from cordum.core.errors import CordumError


class Failure(Enum):
    """The kinds of failure, each with its HTTP and its gRPC status."""

    INVALID = (400, grpc.StatusCode.INVALID_ARGUMENT)
    UNAUTHENTICATED = (401, grpc.StatusCode.UNAUTHENTICATED)
    FORBIDDEN = (403, grpc.StatusCode.PERMISSION_DENIED)
    NOT_FOUND = (404, grpc.StatusCode.NOT_FOUND)
    WRONG_METHOD = (405, grpc.StatusCode.UNIMPLEMENTED)
    CONFLICT = (409, grpc.StatusCode.ABORTED)
    DUPLICATE = (409, grpc.StatusCode.ALREADY_EXISTS)
    NOT_READY = (409, grpc.StatusCode.FAILED_PRECONDITION)
    TOO_LARGE = (413, grpc.StatusCode.INVALID_ARGUMENT)
    WRONG_MEDIA_TYPE = (415, grpc.StatusCode.INVALID_ARGUMENT)
    WRONG_PROTOCOL = (426, grpc.StatusCode.UNIMPLEMENTED)
    LIMITED = (429, grpc.StatusCode.RESOURCE_EXHAUSTED)
    INTERNAL = (500, grpc.StatusCode.INTERNAL)
    UPSTREAM = (502, grpc.StatusCode.UNAVAILABLE)
    UNAVAILABLE = (503, grpc.StatusCode.UNAVAILABLE)

    @property
    def http(self) -> int:
        return self.value[0]

    @property
    def grpc(self) -> grpc.StatusCode:
        return self.value[1]


TABLE: Final[Mapping[str, tuple[Failure, str]]] = {
    "invalid_json": (Failure.INVALID, "invalid json"),
    "invalid_request": (Failure.INVALID, "invalid request"),
    "invalid_cursor": (Failure.INVALID, "cursor is not a number this list has given out"),
    "unknown_topic": (Failure.INVALID, "unknown topic"),
    "dlq_nothing_named": (Failure.INVALID, "name job_ids, or filters, or all: true"),
    "invalid_bundle_id": (Failure.INVALID, "not a bundle id"),
    "POLICY_VALIDATION_FAILED": (Failure.INVALID, "not a policy that can be loaded"),
    "POLICY_BUNDLE_READ_ONLY": (Failure.INVALID, "this bundle is not written by hand"),
    "too_many_shadows": (Failure.INVALID, "as many shadow policies as a tenant may have"),
    "policy_trial_refused": (Failure.INVALID, "more than the safety kernel tries at once"),
    "topic_disabled": (Failure.INVALID, "topic is disabled"),
    "schema_validation_failed": (Failure.INVALID, "the payload does not match the topic's input schema"),
    "TOPIC_SCHEMA_VIOLATION": (Failure.INVALID, "not a topic registration"),
    "POOL_INVALID_CONFIG": (Failure.INVALID, "not a pool"),
    "CONFIG_SCHEMA_VIOLATION": (Failure.INVALID, "not a JSON Schema that can be used"),
    "unauthorized": (Failure.UNAUTHENTICATED, "unauthorized"),
    "access_denied": (Failure.FORBIDDEN, "access denied"),
    "tenant_access_denied": (Failure.FORBIDDEN, "tenant access denied"),
    "principal_access_denied": (Failure.FORBIDDEN, "the API key belongs to another principal"),
    "origin_not_allowed": (Failure.FORBIDDEN, "origin not allowed"),
    "policy_denied": (Failure.FORBIDDEN, "denied by policy"),
    "approval_role_required": (Failure.FORBIDDEN, "the rule leaves this decision to other roles"),
    "self_approval_denied": (
        Failure.FORBIDDEN,
        "nobody approves or rejects their own job: use an API key and a principal of another person",
    ),
    "upgrade_required": (
        Failure.WRONG_PROTOCOL,
        "this is a stream: connect with a WebSocket, or ask for text/event-stream",
    ),
    "not_found": (Failure.NOT_FOUND, "there is nothing at this path"),
    "job_not_found": (Failure.NOT_FOUND, "job not found"),
    "approval_not_found": (Failure.NOT_FOUND, "approval not found"),
    "dlq_entry_not_found": (Failure.NOT_FOUND, "dlq entry not found"),
    "policy_bundle_not_found": (Failure.NOT_FOUND, "policy bundle not found"),
    "policy_snapshot_not_found": (Failure.NOT_FOUND, "policy snapshot not found"),
    "policy_rule_not_found": (Failure.NOT_FOUND, "policy rule not found"),
    "policy_shadow_not_found": (Failure.NOT_FOUND, "shadow policy not found"),
    "remediation_not_found": (Failure.NOT_FOUND, "the job's policy offers no such remediation"),
    "WORKER_CRED_BINDING_INVALID": (Failure.NOT_FOUND, "there is no such pool or topic"),
    "WORKER_CRED_NOT_FOUND": (Failure.NOT_FOUND, "the worker has no credential"),
    "WORKER_CRED_LIMIT": (Failure.NOT_READY, "as many workers have credentials as there can be"),
    "WORKER_PROOF_KEY_INVALID": (Failure.INVALID, "not a public key on P-256"),
    "TOPIC_NOT_FOUND": (Failure.NOT_FOUND, "no topic of this name is registered"),
    "POOL_NOT_FOUND": (Failure.NOT_FOUND, "there is no pool of this name"),
    "CONFIG_SCHEMA_NOT_FOUND": (Failure.NOT_FOUND, "no schema of this id is registered"),
    "worker_not_found": (Failure.NOT_FOUND, "worker not found"),
    "method_not_allowed": (Failure.WRONG_METHOD, "method not allowed"),
    "IDEMPOTENCY_CONFLICT": (Failure.DUPLICATE, "another submit with this idempotency key is under way: try again"),
    "POLICY_VERSION_CONFLICT": (Failure.CONFLICT, "the policy has changed meanwhile: read it again"),
    "POLICY_TESTS_FAILED": (Failure.CONFLICT, "the policy's own tests fail"),
    "POLICY_RELAXED": (
        Failure.CONFLICT,
        "requests would get through that are stopped now: look at the differences, then repeat with "
        "acknowledge_relaxed: true",
    ),
    "POLICY_BUNDLE_UNREADABLE": (Failure.CONFLICT, "a stored bundle cannot be read"),
    "POLICY_RULE_NOT_TOGGLEABLE": (Failure.CONFLICT, "the rule cannot be switched by itself: edit its bundle"),
    "POLICY_RULE_EXISTS": (Failure.DUPLICATE, "there is a rule with this id already"),
    "POOL_NAME_CONFLICT": (Failure.DUPLICATE, "there is a pool of this name already"),
    "POOL_IN_USE": (Failure.CONFLICT, "the pool is in use"),
    "POOL_VERSION_CONFLICT": (Failure.CONFLICT, "pools and topics are being changed by others: try again"),
    "schema_in_use": (Failure.CONFLICT, "topics check their payloads against this schema"),
    "schema_url_taken": (Failure.CONFLICT, "another schema has this $id"),
    "schema_limit_reached": (Failure.CONFLICT, "there are as many schemas as an installation may have"),
    "topic_limit_reached": (Failure.CONFLICT, "there are as many topics as an installation may have"),
    "schema_not_found": (Failure.NOT_READY, "the topic's input schema is not registered"),
    "schema_invalid": (Failure.NOT_READY, "the topic's input schema cannot be used"),
    "approval_already_resolved": (Failure.CONFLICT, "the approval is already resolved otherwise"),
    "approval_retryable_lock": (Failure.CONFLICT, "the job is changing at this moment: try again"),
    "approval_stale_snapshot": (Failure.CONFLICT, "the policy has changed and no longer lets this job pass"),
    "approval_stale_request": (Failure.CONFLICT, "the job is not what was to be approved"),
    "approval_terminal_run": (Failure.CONFLICT, "the workflow run this belongs to has ended"),
    "not_repairable": (Failure.CONFLICT, "nothing is wrong with this approval that could be repaired"),
    "approval_not_actionable": (Failure.CONFLICT, "the job does not wait for an approval"),
    "no_remediation": (Failure.NOT_READY, "the job is not denied, or its policy offers no remediation"),
    "output_not_held": (Failure.NOT_READY, "no result of this job is held, or it is no longer kept"),
    "output_confirmed": (Failure.NOT_READY, "the quarantine of this result was confirmed: it is not released"),
    "output_changing": (Failure.CONFLICT, "the job is changing at this moment: try again"),
    "dlq_not_retryable": (Failure.NOT_READY, "what the job needs to run again is no longer kept"),
    "body_too_large": (Failure.TOO_LARGE, "the body is too large"),
    "unsupported_media_type": (Failure.WRONG_MEDIA_TYPE, "send JSON: Content-Type: application/json"),
    "rate_limited": (Failure.LIMITED, "rate limited"),
    "BACKPRESSURE": (Failure.LIMITED, "too many jobs of this tenant are under way"),
    "policy_throttled": (Failure.LIMITED, "throttled by policy"),
    "internal_error": (Failure.INTERNAL, "internal error"),
    "job_record_unreadable": (Failure.INTERNAL, "internal error"),
    "safety_error": (Failure.UPSTREAM, "the safety kernel could not answer"),
    "safety_unavailable": (Failure.UNAVAILABLE, "the safety kernel cannot be reached: try again shortly"),
    "store_unavailable": (Failure.UNAVAILABLE, "the store cannot be reached: try again shortly"),
    "schema_registry_unavailable": (Failure.UNAVAILABLE, "the schema registry cannot be read: try again shortly"),
    "bus_unavailable": (Failure.UNAVAILABLE, "the bus cannot be reached: try again shortly"),
    "POLICY_SIGNING_REQUIRED": (
        Failure.UNAVAILABLE,
        "policies must be signed here and the gateway has no key: set CORDUM_POLICY_SIGNING_KEY or ..._PATH",
    ),
    "audit_unavailable": (Failure.UNAVAILABLE, "the audit log cannot be written, so nothing is changed: try again"),
    "overloaded": (Failure.UNAVAILABLE, "too much work is waiting: try again shortly"),
    "shutting_down": (Failure.UNAVAILABLE, "this instance is going down: try again"),
}

RETRY_AFTER: Final[Mapping[str, int]] = {
    "rate_limited": 1,
    "BACKPRESSURE": 5,
    "policy_throttled": 30,
    "safety_unavailable": 2,
    "store_unavailable": 2,
    "bus_unavailable": 2,
    "schema_registry_unavailable": 2,
    "audit_unavailable": 2,
    "POLICY_SIGNING_REQUIRED": 60,
    "overloaded": 1,
    "shutting_down": 1,
}
"""Seconds of the `Retry-After` header."""

_WORDS: Final = re.compile(r"[^a-z0-9]+")


class ApiError(CordumError):
    """The request failed."""

    def __init__(
        self,
        code: str,
        message: str | None = None,
        *,
        failure: Failure | None = None,
        extra: Mapping[str, object] | None = None,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """A failure with a code of the table; `failure` is only for codes made from a message.

        Args:
            extra: further members of the answer's body.
            retry_after: seconds; the table's value when None.
        """
        kind, default = TABLE.get(code, (failure or Failure.INTERNAL, "internal error"))
        super().__init__(message or default)
        self.slug = code
        self.failure = kind
        self.extra = extra or {}
        self.retry_after = RETRY_AFTER.get(code) if retry_after is None else retry_after
        self.headers = headers or {}

    @property
    def status(self) -> int:
        return self.failure.http

    def body(self) -> bytes:
        """The JSON envelope."""
        return msgspec.json.encode(
            {"error": self.message, "code": self.slug, "error_code": self.slug, "status": self.status, **self.extra}
        )


def slug(message: str) -> str:
    """The code of a failure that has only a message: lower case, everything else than letters and digits a `_`."""
    return _WORDS.sub("_", message.lower()).strip("_")


def invalid(message: str, code: str | None = None, **extra: object) -> ApiError:
    """400 with a message that says what to mend."""
    return ApiError(code or slug(message), message, failure=Failure.INVALID, extra=extra)


_FOREIGN: Final[Mapping[str, str]] = {
    "store_unavailable": "store_unavailable",
    "publish_failed": "bus_unavailable",
    "bus_unavailable": "bus_unavailable",
    "bus_disconnected": "bus_unavailable",
    "safety_unavailable": "safety_unavailable",
    "overloaded": "overloaded",
}


def from_exception(error: BaseException) -> ApiError:
    """What a caller is told about an error that reached the edge; details stay in the log."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, CordumError) and (code := _FOREIGN.get(error.code)) is not None:
        return ApiError(code)
    return ApiError("internal_error")
