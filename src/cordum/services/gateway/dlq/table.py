"""The routes of dead letters (spec-gateway section 4, and weakness 12: bulk and filters)."""

from typing import Any, Final

from cordum.core.access.permissions import Permission
from cordum.services.gateway.dlq import bulk, handlers
from cordum.services.gateway.route import Body, Route

_DLQ: Final = "/api/v1/dlq"
_Object = dict[str, Any]
_IN_BULK: Final = (
    "Name `job_ids`, or filters (`reason`, `code`, `topic`), or `all: true`. A call deals with at most `limit`, "
    "the newest first, and stops after some seconds; `left` says how many remain, `next_cursor` goes on with them, "
    "`failed` which could not be dealt with and why. `dry_run: true` only says which they would be. May be repeated."
)

DLQ_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="GET",
        path=_DLQ,
        permission=Permission.DLQ_READ,
        handler=handlers.list_entries,
        summary="List dead letters, newest first",
        query=handlers.DlqQuery,
        answers={200: _Object},
        tag="dlq",
    ),
    Route(
        method="GET",
        path=f"{_DLQ}/page",
        permission=Permission.DLQ_READ,
        handler=handlers.list_page,
        summary="List dead letters page by page",
        query=handlers.DlqQuery,
        answers={200: _Object},
        tag="dlq",
    ),
    Route(
        method="GET",
        path=f"{_DLQ}/triage",
        permission=Permission.DLQ_READ,
        handler=handlers.triage,
        summary="Count dead letters by reason",
        query=handlers.LetterFilters,
        answers={200: handlers.Triage},
        tag="dlq",
        notes="Grouped by the reasons of the runbook, the rest by code; the largest group first. A group's `reason` is "
        "a filter that gives its letters.",
    ),
    Route(
        method="POST",
        path=f"{_DLQ}/retry",
        permission=Permission.DLQ_WRITE,
        handler=bulk.retry_many,
        summary="Run many dead jobs again, each as a new job",
        body=Body(bulk.BulkRequest),
        answers={200: bulk.BulkAnswer},
        failures=("dlq_nothing_named",),
        tag="dlq",
        notes=_IN_BULK,
    ),
    Route(
        method="POST",
        path=f"{_DLQ}/delete",
        permission=Permission.DLQ_WRITE,
        handler=bulk.delete_many,
        summary="Remove many dead letters",
        body=Body(bulk.BulkRequest),
        answers={200: bulk.BulkAnswer},
        failures=("dlq_nothing_named",),
        tag="dlq",
        notes=_IN_BULK,
    ),
    Route(
        method="GET",
        path=f"{_DLQ}/{{job_id}}",
        permission=Permission.DLQ_READ,
        handler=handlers.show,
        summary="Show a dead letter",
        answers={200: _Object},
        failures=("dlq_entry_not_found",),
        tag="dlq",
    ),
    Route(
        method="POST",
        path=f"{_DLQ}/{{job_id}}/retry",
        permission=Permission.DLQ_WRITE,
        handler=handlers.retry,
        summary="Run a dead job again, as a new job",
        body=Body(handlers.RetryWord, required=False),
        answers={200: handlers.Retried},
        failures=("dlq_entry_not_found", "dlq_not_retryable"),
        tag="dlq",
        notes="The new job asks for the same as the old one and is decided by the policy of today.",
    ),
    Route(
        method="DELETE",
        path=f"{_DLQ}/{{job_id}}",
        permission=Permission.DLQ_WRITE,
        handler=handlers.delete,
        summary="Remove a dead letter",
        answers={204: None},
        failures=("dlq_entry_not_found",),
        tag="dlq",
        notes="Where the job's result is in quarantine this confirms the quarantine: it is not released any more.",
    ),
)
