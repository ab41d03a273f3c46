"""The routes about workers (spec-gateway section 6)."""

from typing import Any, Final

from cordum.core.access.permissions import Permission
from cordum.services.gateway.route import Body, Route
from cordum.services.gateway.workers import boundary, credentials, handlers

_API: Final = "/api/v1"
_Object = dict[str, Any]
_P = Permission

WORKER_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="GET",
        path=f"{_API}/workers",
        permission=_P.WORKERS_READ,
        handler=handlers.list_workers,
        summary="List workers",
        answers={200: handlers.WorkerList},
        tag="workers",
        notes="While `WORKER_ATTESTATION=enforce`, only workers whose token is good. `attestation` says what became of "
        "a worker's last token.",
    ),
    # Before `/workers/{worker_id}`, as a worker of that name could not be asked for anyway.
    Route(
        method="GET",
        path=f"{_API}/workers/credentials",
        permission=_P.WORKER_CREDENTIALS_READ,
        handler=credentials.list_credentials,
        summary="List worker credentials",
        answers={200: credentials.CredentialList},
        tag="workers",
    ),
    Route(
        method="POST",
        path=f"{_API}/workers/credentials",
        permission=_P.WORKER_CREDENTIALS_WRITE,
        handler=credentials.issue_credential,
        summary="Issue a worker's credential, or a new token for it",
        body=Body(credentials.CredentialBody),
        answers={200: _Object, 201: _Object},
        failures=(
            "WORKER_CRED_BINDING_INVALID",
            "WORKER_PROOF_KEY_INVALID",
            "WORKER_CRED_LIMIT",
            "tenant_access_denied",
        ),
        tag="workers",
        notes="`token` is shown in this answer and never again. 201: the worker had no credential; 200: the token it "
        "had stops working at once, and what the body leaves out stays as it was. Empty lists mean any.",
    ),
    Route(
        method="DELETE",
        path=f"{_API}/workers/credentials/{{worker_id}}",
        permission=_P.WORKER_CREDENTIALS_WRITE,
        handler=credentials.revoke_credential,
        summary="Revoke a worker's credential",
        answers={204: None},
        failures=("WORKER_CRED_NOT_FOUND", "tenant_access_denied"),
        tag="workers",
        notes="It stays listed as revoked. Under `WORKER_ATTESTATION=enforce` the worker is gone at once, and the jobs "
        "it holds are tried again elsewhere.",
    ),
    Route(
        method="GET",
        path=f"{_API}/workers/{{worker_id}}",
        permission=_P.WORKERS_READ,
        handler=handlers.show_worker,
        summary="Show a worker",
        answers={200: _Object},
        failures=("worker_not_found",),
        tag="workers",
    ),
    Route(
        method="GET",
        path=f"{_API}/workers/{{worker_id}}/jobs",
        permission=_P.WORKERS_READ,
        handler=handlers.list_worker_jobs,
        summary="List the tenant's jobs that a worker has or had, newest change first",
        query=handlers.WorkerJobsQuery,
        answers={200: _Object},
        tag="workers",
        notes="Looked for among the tenant's 4,000 newest jobs.",
    ),
    Route(
        method="POST",
        path=f"{_API}/workers/{{worker_id}}/revoke-session",
        permission=_P.WORKERS_WRITE,
        handler=handlers.revoke_session,
        summary="End a worker's session",
        answers={200: _Object},
        failures=("tenant_access_denied",),
        tag="workers",
        notes="The worker has to shake hands anew, which its credential's proof key lets it do.",
    ),
    Route(
        method="GET",
        path=f"{_API}/boundary/events",
        permission=_P.STATUS_ADMIN,
        handler=boundary.list_events,
        summary="How often workers, topics and payloads were refused lately",
        query=boundary.EventsQuery,
        answers={200: boundary.EventList},
        tag="workers",
        notes="What the log lines `attestation failed`, `unknown_topic` and `schema_validation_failed` of all gateways "
        "and schedulers add up to, also where the check only warns.",
    ),
)
