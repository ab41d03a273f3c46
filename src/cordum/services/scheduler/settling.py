"""Moves the scheduler makes on its own word: a job is denied, fails, succeeds by itself, or waits for a person."""

from typing import Final

from cordum.core.errors import CordumError
from cordum.core.ids import micros
from cordum.core.jobs import approvals, lifecycle
from cordum.core.jobs.lifecycle import Change
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import WAITING, WITH_WORKER, JobState
from cordum.core.policy.decision import Verdict
from cordum.runtime import metrics
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.services.scheduler.announcing import Announcer, Ending
from cordum.services.scheduler.holding import Holding
from cordum.services.scheduler.ticket import SETTLED, Later, Placed
from cordum.store import Applied, Refused, Store

log = get_logger(__name__)

BEATEN_RETRY: Final = 0.05
"""Seconds until a job is looked at again that somebody else changed while we decided."""


class Settling:
    """Commits such moves and tells of those that end a job.

    Every method raises StoreError or BusError when a step is not known to be done; doing all of it again is safe. An
    end is written down before it is made, so that whoever survives us can tell of it (`untold.py`).
    """

    def __init__(self, store: Store, announcer: Announcer, holding: Holding, clock: Clock) -> None:
        self._store = store
        self._announcer = announcer
        self._holding = holding
        self._clock = clock

    async def fail(self, record: JobRecord, reason: str, code: str) -> Placed:
        """Gives up a job that no worker holds."""
        return await self._end(record, lifecycle.fail(reason, code), reason=reason, code=code)

    async def deny(self, record: JobRecord, verdict: Verdict) -> Placed:
        """Policy said no."""
        change = lifecycle.deny(verdict)
        settled = await self._end(record, change, reason=change.fields["failure_reason"], code="safety_denied")
        if settled is SETTLED:
            metrics.SAFETY_DENIED.labels(record.topic).inc()
            log.info(
                "job denied by policy",
                event="safety_denied",
                job_id=record.id,
                topic=record.topic,
                tenant=record.tenant,
                rule_id=verdict.rule_id,
                reason=verdict.reason,
            )
        return settled

    async def complete(self, record: JobRecord, verdict: Verdict) -> Placed:
        """Being allowed was all this job asked for."""
        return await self._end(record, lifecycle.complete(record, verdict))

    async def ask_person(self, record: JobRecord, verdict: Verdict, job_hash: str) -> Placed:
        """A person has to decide."""
        change = approvals.require_approval(record, verdict, job_hash, self._store.approvals.window)
        outcome = await self._apply(record, change)
        return SETTLED if isinstance(outcome, Applied) else whose(outcome)

    async def end(self, record: JobRecord, change: Change) -> bool:
        """Makes a change that ends a job for a reason of time or loss, and tells of it, its worker too.

        Returns:
            False when it came too late.
        """
        reason, code = change.fields.get("failure_reason", ""), change.fields.get("error_code", "")
        return not isinstance(await self._ended(record, change, reason, code), Refused)

    async def tell_again(self, record: JobRecord) -> None:
        """Tells once more of a job that has ended, for we may have died before we told it."""
        await self._announcer.ended(
            Ending(
                record,
                record.state,
                reason=record.failure_reason,
                code=record.error_code,
                result_ptr=record.result_ptr,
                last_state=JobState(record.last_state) if record.last_state in JobState.__members__ else None,
            )
        )

    async def _end(self, record: JobRecord, change: Change, *, reason: str = "", code: str = "") -> Placed:
        outcome = await self._ended(record, change, reason, code)
        return whose(outcome) if isinstance(outcome, Refused) else SETTLED

    async def _ended(self, record: JobRecord, change: Change, reason: str, code: str) -> Applied | Refused:
        await self._store.endings.begin(record.id, change.to, micros(self._clock.now()))
        outcome = await self._apply(record, change)
        if isinstance(outcome, Refused):
            if outcome.state is not change.to:  # else somebody else made the same end, and is telling of it
                await self._strike_off(record, change.to)
            return outcome
        metrics.JOBS_COMPLETED.labels(record.topic, change.to.label).inc()
        self._holding.forget(record.id)
        self._holding.release(record.id)
        await self._announcer.ended(Ending(record, change.to, reason=reason, code=code))
        if record.state in WITH_WORKER:
            await self._announcer.stop_worker(record, reason)
        await self._strike_off(record, change.to)
        return outcome

    async def _strike_off(self, record: JobRecord, end: JobState) -> None:
        try:
            await self._store.endings.told(record.id, end)
        except CordumError as error:
            # Told twice is no harm: the messages have the same ids.
            log.debug("an end stays listed", event="ending_not_marked", job_id=record.id, error=error.message)

    async def _apply(self, record: JobRecord, change: Change) -> Applied | Refused:
        return await self._store.jobs.apply(record.id, change, now=micros(self._clock.now()), known=record)


def whose(refused: Refused) -> Placed:
    """What a refusal means for a job we wanted to place: another's now, or to be looked at again."""
    return Later(BEATEN_RETRY) if refused.state in WAITING else SETTLED
