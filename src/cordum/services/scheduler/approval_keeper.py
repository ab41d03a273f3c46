"""Looks after requests for approval: they escalate and lapse in time, and what was decided is carried out.

Runs as part of the reconciler, under its lease (spec-safety section 11, spec-scheduler section 12).
"""

import asyncio
from typing import Final

from cordum.core.errors import CordumError
from cordum.core.ids import Micros, micros
from cordum.core.jobs import approvals
from cordum.core.jobs.approval_repair import Repair, unfinished_business
from cordum.core.jobs.approvals import Due, due
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.runtime import metrics
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.services.scheduler.approval_trail import ApprovalTrail
from cordum.services.scheduler.browsing import BATCH, jobs_in_state
from cordum.services.scheduler.settling import Settling
from cordum.services.scheduler.woken import WokenJobs
from cordum.store import Applied, Store

log = get_logger(__name__)

AT_ONCE: Final = 16
UNPUBLISHED_FOR: Final = 10.0
"""Seconds whoever has decided has to publish it, before we do."""
DEADLINE: Final = "timeout: deadline expired"


class ApprovalKeeper:
    """One pass over everything that waits for a person, or was decided by one."""

    def __init__(
        self, *, store: Store, settling: Settling, woken: WokenJobs, trail: ApprovalTrail, clock: Clock
    ) -> None:
        self._store = store
        self._settling = settling
        self._woken = woken
        self._trail = trail
        self._clock = clock

    def stand_by(self) -> None:
        """Somebody else does it."""
        metrics.APPROVAL_QUEUE_DEPTH.labels("all").set(0)

    async def tick(self) -> None:
        """One pass.

        Raises:
            StoreError: the store does not answer; the next pass begins anew.
        """
        now = micros(self._clock.now())
        waiting = 0
        async for records in jobs_in_state(self._store, JobState.APPROVAL_REQUIRED, until=now):
            waiting += len(records)
            await self._each([record for record in records if _needs_something(record, now)])
        metrics.APPROVAL_QUEUE_DEPTH.labels("all").set(waiting)
        await self._publish_the_unpublished(now)

    async def deadline_passed(self, record: JobRecord) -> None:
        """The deadline of a job has passed while it waited for a person."""
        await self._expire(record, DEADLINE, "timeout")

    async def _each(self, records: list[JobRecord]) -> None:
        for at in range(0, len(records), AT_ONCE):
            await asyncio.gather(*(self._look_after(record) for record in records[at : at + AT_ONCE]))

    async def _look_after(self, record: JobRecord) -> None:
        try:
            if unfinished_business(record):
                await self._finish(record)
                return
            match due(record, micros(self._clock.now())):
                case Due.EXPIRE:
                    waited = max(0, record.approval_expires_at - record.approval_requested_at) // 1_000_000
                    await self._expire(
                        record, f"approval expired: nobody decided within {waited} s", "approval_expired"
                    )
                case Due.ESCALATE:
                    await self._escalate(record)
                case Due.NOTHING:
                    pass
        except CordumError as error:
            log.warning(
                "an approval is left to the next pass",
                event="approval_keeping_failed",
                job_id=record.id,
                error=error.message,
            )

    async def _expire(self, record: JobRecord, reason: str, code: str) -> None:
        change = approvals.expire(record, micros(self._clock.now()), reason=reason, code=code)
        if not await self._settling.end(record, change):
            return  # somebody decided at the last moment
        metrics.APPROVAL_EXPIRED.inc()
        metrics.APPROVAL_DECISIONS.labels("expired").inc()
        log.warning("approval expired", event="approval_expired", job_id=record.id, topic=record.topic, reason=reason)
        self._trail.expired(record, reason)

    async def _escalate(self, record: JobRecord) -> None:
        now = micros(self._clock.now())
        outcome = await self._store.jobs.apply(record.id, approvals.escalate(record, now), now=now, known=record)
        if not isinstance(outcome, Applied):
            return
        metrics.APPROVAL_ESCALATED.inc()
        log.warning("approval escalated", event="approval_escalated", job_id=record.id, topic=record.topic)
        await self._trail.escalated(record)

    async def _finish(self, record: JobRecord) -> None:
        """Carries out what a person decided and what was only half written."""
        plan = unfinished_business(record)
        if plan is None:
            return
        if plan.kind is Repair.APPLY_APPROVED_RESOLUTION:
            change = approvals.finish_approved(record)
        else:
            change = approvals.finish_rejected(record)
        now = micros(self._clock.now())
        if not isinstance(await self._store.jobs.apply(record.id, change, now=now, known=record), Applied):
            return
        metrics.APPROVAL_DECISIONS.labels("repaired").inc()
        log.warning("approval repaired", event="approval_repaired", job_id=record.id, kind=plan.kind.value)
        self._trail.repaired(record, plan.kind.value, plan.reason)
        if (latest := await self._store.jobs.get(record.id)) is not None:
            await self._publish(latest)

    async def _publish_the_unpublished(self, now: Micros) -> None:
        until = Micros(now - int(UNPUBLISHED_FOR * 1_000_000))
        ids = await self._store.approvals.unpublished(until, BATCH)
        for job_id, record in zip(ids, await self._store.jobs.get_many(ids), strict=True):
            try:
                if record is None or record.approval_publish_status != "pending":
                    await self._store.approvals.forget_unpublished(job_id)
                    continue
                log.warning("an approval's outcome is published late", event="approval_replayed", job_id=job_id)
                self._trail.repaired(record, Repair.REPLAY_PENDING_PUBLISH.value, record.approval_publish_target)
                await self._publish(record)
            except CordumError as error:
                log.warning(
                    "an approval's outcome could not be published",
                    event="approval_replay_failed",
                    job_id=job_id,
                    error=error.message,
                )

    async def _publish(self, record: JobRecord) -> None:
        """Does what the message would have brought about. A job that has moved on needs nothing but the mark."""
        if record.state is JobState.PENDING:
            await self._woken.place(record, await self._store.jobs.context(record.id))
        elif record.state is JobState.DENIED:
            await self._settling.tell_again(record)
        await self._store.approvals.mark_published(record.id, approvals.published(micros(self._clock.now())))


def _needs_something(record: JobRecord, now: Micros) -> bool:
    return due(record, now) is not Due.NOTHING or unfinished_business(record) is not None
