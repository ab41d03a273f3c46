"""The route table: everything the gateway serves over HTTP, and who may call it.

The router (`app.build`) and the OpenAPI document (`openapi.document`) are both made from it.
"""

from typing import Any, Final

from cordum.core.access.permissions import Permission
from cordum.core.audit.verify import Report
from cordum.services.gateway import health, status
from cordum.services.gateway.approvals import handlers as approvals
from cordum.services.gateway.dlq.table import DLQ_ROUTES
from cordum.services.gateway.governance import audit as audit
from cordum.services.gateway.governance import decisions as governance
from cordum.services.gateway.jobs import handlers as jobs
from cordum.services.gateway.jobs import output_handlers as outputs
from cordum.services.gateway.jobs.remediation import RemediationChoice
from cordum.services.gateway.openapi_route import show_document
from cordum.services.gateway.policy import handlers as policy
from cordum.services.gateway.policy.question import PolicyCheck, PolicyCheckBatch
from cordum.services.gateway.policy_admin.table import POLICY_ADMIN_ROUTES
from cordum.services.gateway.route import Body, Open, Route
from cordum.services.gateway.routing_admin.table import ROUTING_ROUTES
from cordum.services.gateway.schemas.table import SCHEMA_ROUTES
from cordum.services.gateway.stream.table import STREAM_ROUTES
from cordum.services.gateway.submit.submission import Submission
from cordum.services.gateway.workers.table import WORKER_ROUTES

_API: Final = "/api/v1"
_Object = dict[str, Any]
_P = Permission

_ON_SUBMIT: Final = (
    *("unknown_topic", "schema_validation_failed", "schema_not_found", "schema_registry_unavailable"),
    *("policy_denied", "body_too_large", "policy_throttled"),
)

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
    Route(
        method="POST",
        path=f"{_API}/jobs/{{job_id}}/remediate",
        permission=_P.JOBS_WRITE,
        handler=outputs.remediate,
        summary="Try a denied job again in a way its policy offers",
        body=Body(RemediationChoice, required=False),
        answers={200: outputs.Remedied},
        failures=("job_not_found", "remediation_not_found", "no_remediation", "dlq_not_retryable", "unknown_topic"),
        tag="jobs",
        notes="`remediation_id` may be left out where one is offered (`safety_remediations` of the job). The new job "
        "is decided by the policy of today.",
    ),
    Route(
        method="POST",
        path=f"{_API}/jobs/{{job_id}}/release-output",
        permission=_P.OUTPUT_RELEASE,
        handler=outputs.release,
        summary="Let a redacted or quarantined result be read",
        body=Body(outputs.ReleaseWord),
        answers={200: outputs.Released},
        failures=("job_not_found", "output_not_held", "output_confirmed", "output_changing"),
        tag="jobs",
        notes="Administrators only, with a reason, which is written to the audit log. A quarantined job then ends as "
        "its worker had ended it. `DELETE /dlq/{job_id}` confirms a quarantine instead.",
    ),
    Route(
        method="GET",
        path=f"{_API}/jobs/{{job_id}}/held-output",
        permission=_P.OUTPUT_RELEASE,
        handler=outputs.show_held,
        summary="Show the original of a redacted or quarantined result",
        answers={200: _Object},
        failures=("job_not_found", "output_not_held"),
        tag="jobs",
        notes="Administrators only; looking is written to the audit log.",
    ),
    *DLQ_ROUTES,
    # Approvals
    Route(
        method="GET",
        path=f"{_API}/approvals",
        permission=_P.JOBS_READ,
        handler=approvals.list_approvals,
        summary="List jobs that wait for approval, then the resolved ones",
        query=approvals.ApprovalsQuery,
        answers={200: _Object},
        tag="approvals",
        notes="`next_cursor` leads through those that wait and then through those resolved, the latest first.",
    ),
    Route(
        method="POST",
        path=f"{_API}/approvals/{{job_id}}/approve",
        permission=_P.JOBS_APPROVE,
        handler=approvals.approve,
        summary="Approve a job",
        body=Body(approvals.Word, required=False),
        answers={200: approvals.Approved},
        failures=("self_approval_denied", "approval_role_required", "approval_not_found", "approval_not_actionable"),
        tag="approvals",
        notes="Not by the API key or the principal that submitted the job. Where the rule asks for several people, "
        "`status` is `approval_recorded` until the last of them has approved.",
    ),
    Route(
        method="POST",
        path=f"{_API}/approvals/{{job_id}}/reject",
        permission=_P.JOBS_APPROVE,
        handler=approvals.reject,
        summary="Reject a job",
        body=Body(approvals.Word, required=False),
        answers={200: approvals.Rejected},
        failures=("self_approval_denied", "approval_role_required", "approval_not_found", "approval_not_actionable"),
        tag="approvals",
        notes="One person is enough, however many would have to approve.",
    ),
    Route(
        method="GET",
        path=f"{_API}/approvals/{{job_id}}/context",
        permission=_P.JOBS_READ,
        handler=approvals.show_context,
        summary="Show everything somebody needs to decide about a job",
        answers={200: _Object},
        failures=("approval_not_found",),
        tag="approvals",
        notes="The job and its input without secrets, what it may touch, earlier approvals, and the time that is left.",
    ),
    Route(
        method="POST",
        path=f"{_API}/approvals/{{job_id}}/repair",
        permission=_P.JOBS_APPROVE,
        handler=approvals.repair,
        summary="Find out what is wrong with an approval, and mend it",
        body=Body(approvals.RepairWish, required=False),
        answers={200: _Object},
        failures=("approval_not_found", "not_repairable"),
        tag="approvals",
        notes="Without `apply` nothing is changed: `plan` says what would be done.",
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
        path=f"{_API}/policy/evaluate-batch",
        permission=_P.POLICY_EVALUATE,
        handler=policy.evaluate_batch,
        summary="Ask what the policy says about several jobs",
        body=Body(PolicyCheckBatch),
        answers={200: _Object},
        tag="policy",
        notes="At most 1,024 `requests`. `items` has one answer for each, in their order; one that could not be "
        "answered has `error` and `code`, and its `decision` is `DENY`.",
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
    *POLICY_ADMIN_ROUTES,
    Route(
        method="GET",
        path=f"{_API}/policy/audit",
        permission=_P.POLICY_READ,
        handler=audit.list_audit,
        summary="List who did what to policy, approvals and jobs, newest first",
        query=audit.AuditQuery,
        answers={200: _Object},
        failures=("INVALID_FROM", "INVALID_TO"),
        tag="governance",
        notes="`{items, total, has_more, offset}`. With `type=output` the items are quarantined results.",
    ),
    Route(
        method="GET",
        path=f"{_API}/audit/verify",
        permission=_P.AUDIT_VERIFY,
        handler=audit.verify,
        summary="Check that nobody has changed the audit log",
        query=audit.VerifyQuery,
        answers={200: Report},
        failures=("INVALID_RANGE",),
        tag="governance",
        notes="Every event carries the hash of the one before it. `gaps` says where one is missing or was changed; "
        "`retention_trimmed` only says that older events have run out.",
    ),
    Route(
        method="GET",
        path=f"{_API}/governance/decisions",
        permission=_P.GOVERNANCE_READ,
        handler=governance.list_decisions,
        summary="List what policy decided, newest first",
        query=governance.DecisionsQuery,
        answers={200: _Object},
        failures=("INVALID_FROM", "INVALID_TO", "INVALID_RANGE", "INVALID_CURSOR", "INVALID_CATEGORY"),
        tag="governance",
        notes="The last 24 hours, unless `since` and `until` say otherwise.",
    ),
    # Workers, topics, pools, schemas
    *STREAM_ROUTES,
    *WORKER_ROUTES,
    *ROUTING_ROUTES,
    *SCHEMA_ROUTES,
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
