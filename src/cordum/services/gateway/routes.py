"""The route table: everything the gateway serves over HTTP, and who may call it.

The router (`app.build`) and the OpenAPI document (`openapi.document`) are both made from it.
"""

from typing import Any, Final

from cordum.core.access.permissions import Permission
from cordum.services.gateway import health, status
from cordum.services.gateway.approvals import handlers as approvals
from cordum.services.gateway.dlq import handlers as dlq
from cordum.services.gateway.jobs import handlers as jobs
from cordum.services.gateway.openapi_route import show_document
from cordum.services.gateway.policy import handlers as policy
from cordum.services.gateway.policy.decision import PolicyCheck
from cordum.services.gateway.route import Body, Open, Route
from cordum.services.gateway.submit.submission import Submission
from cordum.services.gateway.workers import handlers as workers

_API: Final = "/api/v1"
_Object = dict[str, Any]
_P = Permission

_ON_SUBMIT: Final = ("unknown_topic", "policy_denied", "body_too_large", "policy_throttled")

ROUTES: Final[tuple[Route, ...]] = (
    # Jobs
    Route(
        method="POST",
        path=f"{_API}/jobs",
        permission=_P.JOBS_SUBMIT,
        handler=jobs.submit,
        summary="Submit a job",
        body=Body(Submission, limit="max_job_payload_bytes"),
        answers={200: jobs.Submitted},
        failures=_ON_SUBMIT,
        tag="jobs",
        notes="The job is decided by policy before it is stored. `status` names the outcome: `accepted`, "
        "`approval_required`, or `duplicate` for a repetition under the same idempotency key (`Idempotency-Key` "
        "header or `idempotency_key`). A denied job is kept and answered with 403, `job_id` and `trace_id`.",
    ),
    Route(
        method="GET",
        path=f"{_API}/jobs",
        permission=_P.JOBS_READ,
        handler=jobs.list_jobs,
        summary="List jobs, newest change first",
        query=jobs.JobsQuery,
        answers={200: _Object},
        failures=("unknown_state",),
        tag="jobs",
        notes="`{items, next_cursor}`; the `Link` header names the next page. Times are microseconds.",
    ),
    Route(
        method="GET",
        path=f"{_API}/jobs/{{job_id}}",
        permission=_P.JOBS_READ,
        handler=jobs.show,
        summary="Show a job with its input and output",
        query=jobs.JobQuery,
        answers={200: _Object},
        failures=("job_not_found",),
        tag="jobs",
        notes="With `?wait=30s` the answer is held until the job has ended or waits for approval, at most 60 s.",
    ),
    Route(
        method="GET",
        path=f"{_API}/jobs/{{job_id}}/decisions",
        permission=_P.JOBS_READ,
        handler=jobs.list_decisions,
        summary="List the safety decisions about a job, newest first",
        query=jobs.DecisionsQuery,
        answers={200: list[_Object]},
        failures=("job_not_found",),
        tag="jobs",
    ),
    Route(
        method="POST",
        path=f"{_API}/jobs/{{job_id}}/cancel",
        permission=_P.JOBS_WRITE,
        handler=jobs.cancel,
        summary="Cancel a job",
        answers={200: jobs.Cancelled},
        failures=("job_not_found",),
        tag="jobs",
        notes="A job that has ended stays as it is; the answer says so.",
    ),
    # Dead letters
    Route(
        method="GET",
        path=f"{_API}/dlq",
        permission=_P.DLQ_READ,
        handler=dlq.list_entries,
        summary="List dead letters, newest first",
        query=dlq.DlqQuery,
        answers={200: _Object},
        tag="dlq",
    ),
    Route(
        method="GET",
        path=f"{_API}/dlq/page",
        permission=_P.DLQ_READ,
        handler=dlq.list_page,
        summary="List dead letters page by page",
        query=dlq.DlqQuery,
        answers={200: _Object},
        tag="dlq",
    ),
    Route(
        method="POST",
        path=f"{_API}/dlq/{{job_id}}/retry",
        permission=_P.DLQ_WRITE,
        handler=dlq.retry,
        summary="Run a dead job again, as a new job",
        answers={200: dlq.Retried},
        failures=("dlq_entry_not_found", "dlq_not_retryable"),
        tag="dlq",
        notes="The new job asks for the same as the old one and is decided by the policy of today.",
    ),
    Route(
        method="DELETE",
        path=f"{_API}/dlq/{{job_id}}",
        permission=_P.DLQ_WRITE,
        handler=dlq.delete,
        summary="Remove a dead letter",
        answers={204: None},
        failures=("dlq_entry_not_found",),
        tag="dlq",
    ),
    # Approvals
    Route(
        method="GET",
        path=f"{_API}/approvals",
        permission=_P.JOBS_READ,
        handler=approvals.list_approvals,
        summary="List jobs that wait for approval, and those resolved lately",
        query=approvals.ApprovalsQuery,
        answers={200: _Object},
        tag="approvals",
    ),
    Route(
        method="POST",
        path=f"{_API}/approvals/{{job_id}}/approve",
        permission=_P.JOBS_APPROVE,
        handler=approvals.approve,
        summary="Approve a job",
        body=Body(approvals.Word, required=False),
        answers={200: approvals.Approved},
        failures=("self_approval_denied", "approval_not_found", "approval_not_actionable"),
        tag="approvals",
        notes="Not by the API key or the principal that submitted the job.",
    ),
    Route(
        method="POST",
        path=f"{_API}/approvals/{{job_id}}/reject",
        permission=_P.JOBS_APPROVE,
        handler=approvals.reject,
        summary="Reject a job",
        body=Body(approvals.Word, required=False),
        answers={200: approvals.Rejected},
        failures=("self_approval_denied", "approval_not_found", "approval_not_actionable"),
        tag="approvals",
    ),
    # Policy
    Route(
        method="POST",
        path=f"{_API}/policy/evaluate",
        permission=_P.POLICY_EVALUATE,
        handler=policy.evaluate,
        summary="Ask what the policy says about a job",
        body=Body(PolicyCheck),
        answers={200: _Object},
        failures=("safety_unavailable",),
        tag="policy",
        notes="`decision` is `ALLOW`, `DENY`, `REQUIRE_APPROVAL` or `THROTTLE`; `decision_type` has the exact type.",
    ),
    Route(
        method="POST",
        path=f"{_API}/policy/simulate",
        permission=_P.POLICY_EVALUATE,
        handler=policy.simulate,
        summary="The same as evaluate, leaving no trace",
        body=Body(PolicyCheck),
        answers={200: _Object},
        failures=("safety_unavailable",),
        tag="policy",
    ),
    Route(
        method="POST",
        path=f"{_API}/policy/explain",
        permission=_P.POLICY_EVALUATE,
        handler=policy.explain,
        summary="The same as simulate, with the rules that were tried",
        body=Body(PolicyCheck),
        answers={200: _Object},
        failures=("safety_unavailable",),
        tag="policy",
    ),
    Route(
        method="GET",
        path=f"{_API}/policy/snapshots",
        permission=_P.POLICY_READ,
        handler=policy.snapshots,
        summary="List the ids of the policies the kernel had, newest first",
        answers={200: policy.Snapshots},
        failures=("safety_unavailable",),
        tag="policy",
    ),
    # Workers and topics
    Route(
        method="GET",
        path=f"{_API}/workers",
        permission=_P.WORKERS_READ,
        handler=workers.list_workers,
        summary="List workers",
        answers={200: workers.WorkerList},
        tag="workers",
    ),
    Route(
        method="GET",
        path=f"{_API}/workers/{{worker_id}}",
        permission=_P.WORKERS_READ,
        handler=workers.show_worker,
        summary="Show a worker",
        answers={200: _Object},
        failures=("worker_not_found",),
        tag="workers",
    ),
    Route(
        method="GET",
        path=f"{_API}/topics",
        permission=_P.TOPICS_READ,
        handler=workers.list_topics,
        summary="List registered topics",
        answers={200: workers.TopicList},
        tag="workers",
    ),
    # The gateway itself
    Route(
        method="GET",
        path=f"{_API}/status",
        permission=Open.ANY_CALLER,
        handler=status.show_status,
        summary="The installation in one look",
        answers={200: _Object},
        tag="system",
        notes="Administrators also see counts and details of the whole installation.",
    ),
    Route(
        method="GET",
        path=f"{_API}/health",
        permission=Open.ANY_CALLER,
        handler=health.health,
        summary="Whether the gateway can do its work",
        answers={200: health.HealthBody, 503: health.HealthBody},
        tag="system",
    ),
    Route(
        method="GET",
        path=f"{_API}/openapi.json",
        permission=Open.PUBLIC,
        handler=show_document,
        summary="This document",
        answers={200: _Object},
        tag="system",
    ),
    Route(
        method="GET",
        path="/health",
        permission=Open.PUBLIC,
        handler=health.health,
        summary="Whether the gateway can do its work",
        answers={200: health.HealthBody, 503: health.HealthBody},
        tag="system",
    ),
    Route(
        method="GET",
        path="/healthz",
        permission=Open.PROBE,
        handler=health.healthz,
        summary="Probe: the process is sane",
        answers={200: health.ProbeBody, 503: health.ProbeBody},
        tag="system",
    ),
    Route(
        method="GET",
        path="/readyz",
        permission=Open.PROBE,
        handler=health.readyz,
        summary="Probe: the gateway can do its work right now",
        answers={200: health.ProbeBody, 503: health.ProbeBody},
        tag="system",
    ),
    Route(
        method="GET",
        path="/livez",
        permission=Open.PROBE,
        handler=health.livez,
        summary="Probe: the process has started",
        answers={200: health.ProbeBody, 503: health.ProbeBody},
        tag="system",
    ),
)
