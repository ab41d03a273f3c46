"""Finding out what is wrong with an approval, and mending it (spec-gateway section 5, `repair`)."""

from typing import Final

import msgspec

from cordum.core.access.caller import Caller
from cordum.core.errors import CordumError
from cordum.core.ids import JobId, TenantId
from cordum.core.jobs import approvals
from cordum.core.jobs.approval_repair import Facts, Plan, Repair, plan, unfinished_business
from cordum.core.jobs.lifecycle import Change
from cordum.core.jobs.record import JobRecord
from cordum.core.policy.decision import Decision
from cordum.rpc.kernel_client import KernelUnavailableError
from cordum.runtime import metrics
from cordum.runtime.clock import Clock, unix_micros
from cordum.runtime.logging import get_logger
from cordum.services.gateway.approvals.outcomes import Outcomes
from cordum.services.gateway.approvals.resolver import LOCK_WAIT, Resolver
from cordum.services.gateway.auditing import Auditor
from cordum.services.gateway.errors import ApiError
from cordum.services.gateway.jobs.waiting import Waiting
from cordum.store import Lease, Refused, Store, keys

log = get_logger(__name__)

LOCK_TTL: Final = 10.0
"""Seconds a repair may hold the job's lock; decisions wait meanwhile."""
_STEP: Final = 0.02


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """What a repair found, and did.

    Attributes:
        plan: None when nothing is wrong.
        published: False when the outcome is written and was not published.
    """

    record: JobRecord
    plan: Plan | None
    applied: bool = False
    published: bool = True


class Repairer:
    """Looks at approvals that are stuck."""

    def __init__(
        self,
        *,
        store: Store,
        resolver: Resolver,
        outcomes: Outcomes,
        auditor: Auditor,
        waiting: Waiting,
        clock: Clock,
    ) -> None:
        self._store = store
        self._resolver = resolver
        self._outcomes = outcomes
        self._auditor = auditor
        self._waiting = waiting
        self._clock = clock

    async def examine(self, tenant: TenantId, job_id: JobId) -> Examined:
        """Says what is wrong, changing nothing. Raises ApiError 404."""
        record = await self._load(tenant, job_id)
        return Examined(record=record, plan=plan(record, await self._facts(record)))

    async def repair(self, tenant: TenantId, job_id: JobId, caller: Caller, note: str) -> Examined:
        """Does what `examine` would say, as it is said now.

        Raises:
            ApiError: 404; 409 `not_repairable` when nothing is wrong, `approval_retryable_lock` when others are at it.
        """
        lease = await self._lock(job_id)
        try:
            found = await self.examine(tenant, job_id)
            if found.plan is None:
                raise ApiError("not_repairable")
            mended = await self._apply(found.record, found.plan)
        finally:
            await self._unlock(lease)
        await self._record(caller, mended, note)
        return mended

    async def _load(self, tenant: TenantId, job_id: JobId) -> JobRecord:
        record = await self._store.jobs.get(job_id)
        if record is None or record.tenant != tenant or not record.approval_status:
            raise ApiError("approval_not_found")
        return record

    async def _facts(self, record: JobRecord) -> Facts:
        if unfinished_business(record) or record.approval_status != "pending":
            return Facts()
        job = await self._resolver.parked_request(record)
        decision: Decision | None = None
        if job is not None:
            try:
                decision = (await self._resolver.verdict_today(record, job)).decision
            except KernelUnavailableError as error:
                log.warning(
                    "repair without the policy", event="repair_undecided", job_id=record.id, error=error.message
                )
        return Facts(request_holds=job is not None, run_ended=await self._resolver.run_ended(record), decision=decision)

    async def _apply(self, record: JobRecord, what: Plan) -> Examined:
        now = unix_micros(self._clock)
        match what.kind:
            case Repair.REPLAY_PENDING_PUBLISH:
                published = await self._outcomes.publish(record)
                return Examined(record=record, plan=what, applied=published, published=published)
            case Repair.APPLY_APPROVED_RESOLUTION:
                change = approvals.finish_approved(record)
            case Repair.APPLY_REJECTED_RESOLUTION:
                change = approvals.finish_rejected(record)
            case _:
                change = approvals.invalidate(record, what.reason, now)
        if isinstance(await self._store.jobs.apply(record.id, change, now=now, known=record), Refused):
            raise ApiError("approval_retryable_lock", extra={"retryable": True})
        metrics.APPROVAL_DECISIONS.labels("repaired").inc()
        latest = await self._load(record.tenant, record.id)
        published = await self._outcomes.publish(_as_left(latest, change))
        self._waiting.wake(record.id)
        return Examined(record=latest, plan=what, applied=True, published=published)

    async def _lock(self, job_id: JobId) -> Lease:
        patience = self._clock.monotonic() + LOCK_WAIT
        while True:
            lease = await self._store.leases.acquire(keys.job_lock(job_id), LOCK_TTL)
            if lease is not None:
                return lease
            if self._clock.monotonic() >= patience:
                raise ApiError("approval_retryable_lock", extra={"retryable": True})
            await self._clock.sleep(_STEP)

    async def _unlock(self, lease: Lease) -> None:
        try:
            await self._store.leases.release(lease)
        except CordumError as error:
            log.warning("job lock not released", event="job_lock_not_released", key=lease.key, error=error.message)

    async def _record(self, caller: Caller, mended: Examined, note: str) -> None:
        record, what = mended.record, mended.plan
        log.warning("approval repaired", event="approval_repaired", job_id=record.id, kind=what and what.kind.value)
        try:
            await self._auditor.record(
                caller,
                "repair",
                resource_type="approval",
                resource_id=record.id,
                reason=note,
                message=what.reason if what else "",
                extra={"kind": what.kind.value if what else "", "state": record.state.value},
                tenant=record.tenant,
            )
        except CordumError as error:
            log.error(
                "audit waits", event="approval_audit_waits", job_id=record.id, action="repair", error=error.message
            )


def _as_left(latest: JobRecord, change: Change) -> JobRecord:
    """The record as the repair left it: somebody may have taken the job on since."""
    return msgspec.structs.replace(latest, state=change.to)
