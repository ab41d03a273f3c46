"""`cordum.v1.CordumApi`: the same pipeline as HTTP, in front of gRPC (spec-gateway section 12b)."""

from typing import Any, Final
from urllib.parse import unquote

import grpc

from cordum.core.access.caller import Caller
from cordum.core.access.credentials import credential_of
from cordum.core.access.permissions import Permission
from cordum.core.ids import JobId, TenantId
from cordum.rpc.gen.cordum.v1 import api_pb2, api_pb2_grpc
from cordum.rpc.server import Service
from cordum.runtime.logging import get_logger
from cordum.services.gateway.authentication import tenant_of
from cordum.services.gateway.errors import ApiError, from_exception, invalid
from cordum.services.gateway.parts import Parts
from cordum.services.gateway.submit.outcome import Status
from cordum.services.gateway.submit.service import Submitter
from cordum.services.gateway.submit.submission import Submission, checked_again

log = get_logger(__name__)

SERVICE_NAME: Final = "cordum.v1.CordumApi"
_PRIORITY_PREFIX: Final = "job_priority_"

Context = grpc.aio.ServicerContext[Any, Any]


class CordumApi(api_pb2_grpc.CordumApiServicer):
    """SubmitJob and GetJobStatus."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def SubmitJob(self, request: api_pb2.SubmitJobRequest, context: Context) -> api_pb2.SubmitJobResponse:
        try:
            caller, tenant = self._admit(context, Permission.JOBS_SUBMIT)
            submitter = Submitter(
                caller=caller,
                tenant=tenant,
                trusts_named_principal=self._parts.authenticator.trusts_header_principal,
            )
            outcome = await self._parts.submitter.submit(_submission(request), submitter)
        except Exception as error:
            await _fail(context, error)
            raise
        waits = outcome.status is Status.APPROVAL_REQUIRED
        return api_pb2.SubmitJobResponse(
            job_id=outcome.job_id,
            trace_id=outcome.trace_id,
            status=outcome.status.value if waits or outcome.replayed else Status.ACCEPTED.value,
            reason=outcome.reason,
        )

    async def GetJobStatus(
        self, request: api_pb2.GetJobStatusRequest, context: Context
    ) -> api_pb2.GetJobStatusResponse:
        try:
            _, tenant = self._admit(context, Permission.JOBS_READ)
            if not request.job_id:
                raise invalid("job_id is required")
            record = await self._parts.store.jobs.get(JobId(request.job_id))
        except Exception as error:
            await _fail(context, error)
            raise
        if record is None or record.tenant != tenant:
            return api_pb2.GetJobStatusResponse(job_id=request.job_id, status="UNKNOWN")
        return api_pb2.GetJobStatusResponse(job_id=record.id, status=record.state.value, result_ptr=record.result_ptr)

    def _admit(self, context: Context, permission: Permission) -> tuple[Caller, TenantId]:
        """Who calls, for which tenant; the same steps in the same order as over HTTP."""
        metadata = {str(key): str(value) for key, value in context.invocation_metadata() or ()}
        caller = self._parts.authenticator.authenticate(
            credential_of(metadata.get("authorization"), metadata.get("x-api-key") or metadata.get("api-key")),
            metadata.get("x-principal-id"),
            _address(context.peer()),
        )
        self._parts.tenant_limiter.demand(f"tenant:{caller.tenant}")
        tenant = tenant_of(caller, metadata.get("x-tenant-id"))
        if not caller.may(permission):
            raise ApiError("access_denied")
        return caller, tenant


def service(parts: Parts) -> Service:
    """The service, for `rpc.server.start_server`."""
    servicer = CordumApi(parts)
    return Service(SERVICE_NAME, lambda server: api_pb2_grpc.add_CordumApiServicer_to_server(servicer, server))


def _submission(request: api_pb2.SubmitJobRequest) -> Submission:
    """The request with the meaning, and within the bounds, of the HTTP body."""
    return checked_again(
        {
            "prompt": request.prompt,
            "topic": request.topic,
            "adapter_id": request.adapter_id,
            "priority": request.priority.lower().removeprefix(_PRIORITY_PREFIX),
            "org_id": request.org_id,
            "team_id": request.team_id,
            "project_id": request.project_id,
            "principal_id": request.principal_id,
            "idempotency_key": request.idempotency_key,
            "actor_id": request.actor_id,
            "actor_type": request.actor_type.lower(),
            "pack_id": request.pack_id,
            "capability": request.capability,
            "risk_tags": list(request.risk_tags),
            "requires": list(request.requires),
            "labels": dict(request.labels),
            "memory_id": request.memory_id,
        }
    )


async def _fail(context: Context, error: Exception) -> None:
    """Ends the call with the status of the error table; does not return."""
    failure = from_exception(error)
    if failure.status >= 500:
        log.error("gRPC call failed", event="grpc_call_failed", code=failure.slug, exc_info=error)
    trailers = [("error-code", failure.slug)]
    if job_id := failure.extra.get("job_id"):
        trailers.append(("job-id", str(job_id)))
    if failure.retry_after is not None:
        trailers.append(("retry-after", str(failure.retry_after)))
    await context.abort(failure.failure.grpc, failure.message, tuple(trailers))


def _address(peer: str) -> str:
    """`ipv4:127.0.0.1:4711` or `ipv6:%5B::1%5D:4711` as the address alone."""
    kind, _, rest = unquote(peer).partition(":")
    host = rest.rpartition(":")[0] if kind in ("ipv4", "ipv6") else rest
    return host.strip("[]")
