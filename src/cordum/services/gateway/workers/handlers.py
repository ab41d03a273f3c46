"""`/api/v1/workers` (spec-gateway section 6)."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from cordum.core.ids import WorkerId
from cordum.services.gateway.answer import Answer, answer
from cordum.services.gateway.call import Call
from cordum.services.gateway.errors import ApiError
from cordum.services.gateway.jobs.views import short_form
from cordum.services.gateway.parts import Parts
from cordum.services.gateway.policy_admin.platform import is_platform
from cordum.services.gateway.workers.credentials import announce


class WorkerList(msgspec.Struct):
    """Every worker that is or was lately there."""

    items: list[dict[str, Any]]


class WorkerJobsQuery(msgspec.Struct):
    """Query of a worker's jobs."""

    limit: Annotated[int, Meta(ge=1, le=100)] = 20


async def list_workers(parts: Parts, call: Call) -> Answer:
    """Every worker."""
    return answer(WorkerList(items=await parts.fleet.workers()))


async def show_worker(parts: Parts, call: Call) -> Answer:
    """One worker."""
    for worker in await parts.fleet.workers():
        if worker["worker_id"] == call.params["worker_id"]:
            return answer(worker)
    raise ApiError("worker_not_found")


async def list_worker_jobs(parts: Parts, call: Call) -> Answer:
    """The tenant's jobs whose last worker it is."""
    found = await parts.store.jobs.list_page(call.tenant, worker_id=call.params["worker_id"], limit=call.query.limit)
    return answer({"items": [short_form(record) for record in found.items]})


async def revoke_session(parts: Parts, call: Call) -> Answer:
    """Ends a worker's session; there need not be one."""
    if not is_platform(parts, call):
        raise ApiError("tenant_access_denied", "workers serve every tenant: this is for the installation's own")
    worker_id = WorkerId(call.params["worker_id"])
    await parts.store.sessions.revoke(worker_id)
    await announce(parts)
    await parts.auditor.record(call.caller, "revoke", resource_type="worker_session", resource_id=worker_id)
    return answer({"worker_id": worker_id, "tenant": call.tenant, "revoked": True})
