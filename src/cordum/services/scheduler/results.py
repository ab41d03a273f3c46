"""A message on `sys.job.result`: the end of an attempt, as its worker reports it (spec-scheduler 9).

A result counts only from the worker that holds the job, and, where it says so, for the dispatch it holds it under.
Anything else is logged and ignored: a late answer never ends a job that somebody else is working on by now.
"""

import random
from typing import Final

from cap.pb.cordum.agent.v1 import job_pb2
from cap.validate import validate_job_result

from cordum.bus import ACK, BadPacketError, BusError, Delivery, Outcome, Poison, Retry, envelope, subjects
from cordum.core.errors import CordumError
from cordum.core.ids import DispatchId, JobId, WorkerId, micros
from cordum.core.jobs import lifecycle, retry
from cordum.core.jobs.lifecycle import Change
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.runtime import metrics
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.services.scheduler import parking
from cordum.services.scheduler.announcing import Announcer, Ending
from cordum.services.scheduler.artifact_limit import CODE as TOO_LARGE_CODE
from cordum.services.scheduler.artifact_limit import ArtifactLimit
from cordum.services.scheduler.constraints import tries_of
from cordum.services.scheduler.held_results import HeldResults
from cordum.services.scheduler.holding import Holding, is_end
from cordum.services.scheduler.parking import Parking
from cordum.services.scheduler.routing import LiveRoutes
from cordum.services.scheduler.sagas import Sagas
from cordum.services.scheduler.trust.gate import WorkerGate
from cordum.store import Refused, Store, StoreError
from cordum.store.keys import payload_key

log = get_logger(__name__)

STORE_RETRY: Final = 1.0
DLQ_RETRY: Final = 2.0
"""Seconds until a result is handled again whose dead letter could not be written."""

MAX_REASON: Final = 2_000
"""Characters of a worker's error message that are kept."""

MAX_RETRIES_CODE: Final = "max_retries_exceeded"

_ENDS: Final = {
    job_pb2.JOB_STATUS_SUCCEEDED: JobState.SUCCEEDED,
    job_pb2.JOB_STATUS_FAILED: JobState.FAILED,
    job_pb2.JOB_STATUS_FAILED_FATAL: JobState.FAILED,
    job_pb2.JOB_STATUS_CANCELLED: JobState.CANCELLED,
    job_pb2.JOB_STATUS_TIMEOUT: JobState.TIMEOUT,
    # A job that runs can be denied no more; a worker that refuses it has failed to do it.
    job_pb2.JOB_STATUS_DENIED: JobState.FAILED,
}
_OURS: Final = frozenset({JobState.SUCCEEDED, JobState.OUTPUT_QUARANTINED})
"""Ends the output policy has a word in: what the worker said about them is not how they ended."""

_TOLD_AGAIN: Final = _OURS | {JobState.FAILED, JobState.TIMEOUT}

_CODES: Final = {job_pb2.JOB_STATUS_TIMEOUT: "timeout", job_pb2.JOB_STATUS_CANCELLED: "cancelled"}


class ResultHandler:
    """Handles results."""

    def __init__(
        self,
        *,
        store: Store,
        routes: LiveRoutes,
        holding: Holding,
        parking: Parking,
        announcer: Announcer,
        held: HeldResults,
        sagas: Sagas,
        gate: WorkerGate,
        clock: Clock,
    ) -> None:
        self._store = store
        self._routes = routes
        self._artifacts = ArtifactLimit(store)
        self._held = held
        self._sagas = sagas
        self._gate = gate
        self._holding = holding
        self._parking = parking
        self._announcer = announcer
        self._clock = clock

    async def handle(self, delivery: Delivery) -> Outcome:
        """Decides one delivery."""
        try:
            packet = envelope.decode(delivery.data)
        except BadPacketError as error:
            metrics.VALIDATION_REJECTIONS.inc()
            return Poison(error.message)
        if packet.WhichOneof("payload") != "job_result":
            return ACK
        result = packet.job_result
        if packet.sender_id in subjects.RESERVED_IDS or result.worker_id in subjects.RESERVED_IDS:
            return ACK  # who ends a job for the control plane has written that down before telling it
        if faults := validate_job_result(result):
            metrics.VALIDATION_REJECTIONS.inc()
            return Poison("invalid job result: " + "; ".join(f"{fault.field} {fault.message}" for fault in faults))
        if result.worker_id != packet.sender_id:
            log.warning(
                "a result in another's name is ignored",
                event="result_sender_mismatch",
                job_id=result.job_id,
                worker_id=result.worker_id,
                sender_id=packet.sender_id,
            )
            return ACK
        if not is_end(result):
            return ACK
        try:
            if (asks := self._gate.asks(packet)) is not None:
                await asks
            return await self._handle(result, delivery) if self._gate.result(packet) else ACK
        except StoreError as error:
            return _later(error, STORE_RETRY, result)
        except BusError as error:
            return _later(error, DLQ_RETRY, result)
        except CordumError as error:
            return _later(error, STORE_RETRY, result)

    async def _handle(self, result: job_pb2.JobResult, delivery: Delivery) -> Outcome:
        job_id = JobId(result.job_id)
        # Our own dispatches are at hand, so the move and its index entries take one round trip. A peer's is read first.
        known = self._holding.recall(job_id)
        if known is None or known.worker_id != result.worker_id:
            known = await self._store.jobs.get(job_id)
            if known is None:
                log.warning(
                    "a result for a job that does not exist",
                    event="result_unknown_job",
                    job_id=job_id,
                    worker_id=result.worker_id,
                )
                return ACK
        wants_another_try = result.status == job_pb2.JOB_STATUS_FAILED_RETRYABLE
        asked = change_for(result, wants_another_try and self._may_try_again(known))
        change = await self._artifacts.hold(result, known, asked) if known.safety_constraints is not None else asked
        too_large = change.to is not asked.to
        # Of a result that is too large nothing is released, so there is nothing to be asked about.
        checked = not too_large and self._held.concerns(result, known, change)
        if checked:
            settled = await self._held.settle(result, known, change, delivery.attempt)
            if isinstance(settled, Retry):
                return settled
            change, outcome = settled.change, settled.outcome
        else:
            outcome = await self._store.jobs.apply(job_id, change, now=micros(self._clock.now()), known=known)
        if isinstance(outcome, Refused):
            await self._refused(result, known, outcome, delivery)
            return ACK
        self._holding.forget(job_id)
        self._holding.release(job_id)
        if change.to is JobState.RETRYING:
            await self._try_again(known)
            return ACK
        metrics.JOBS_COMPLETED.labels(known.topic, change.to.label).inc()
        if too_large:
            await self._artifacts.take_away(known)
        await self._tell_saga(result, known)
        if change.to not in (JobState.SUCCEEDED, JobState.CANCELLED):
            reason, code = change.fields["failure_reason"], change.fields["error_code"]
            await self._tell(Ending(known, change.to, reason=reason, code=code, last_state=outcome.previous))
        elif checked:
            # Whoever heard the worker's own word had to wait for ours.
            pointer = change.fields.get("result_ptr", "")
            await self._announcer.ended(Ending(known, change.to, result_ptr=pointer, last_state=outcome.previous))
        return ACK

    async def _tell_saga(self, result: job_pb2.JobResult, record: JobRecord) -> None:
        """What the worker did is done, even where its result is withheld: so it has to be undone in a rollback."""
        if record.compensation and result.status == job_pb2.JOB_STATUS_SUCCEEDED:
            await self._sagas.succeeded(record)
        elif record.workflow_id and result.status == job_pb2.JOB_STATUS_FAILED_FATAL:
            await self._sagas.failed_fatally(record)

    def _may_try_again(self, record: JobRecord) -> bool:
        limit = tries_of(record, record.safety_constraints, self._routes.now.timeouts)
        return record.attempts < min(limit, lifecycle.MAX_SCHEDULING_ATTEMPTS)

    async def _refused(self, result: job_pb2.JobResult, known: JobRecord, refused: Refused, delivery: Delivery) -> None:
        state = refused.state
        if state in _TOLD_AGAIN:
            record = await self._store.jobs.get(known.id) if delivery.attempt > 1 else None
            if record is not None and record.state is state and record.worker_id == result.worker_id:
                # We ended it and may have died before we told it.
                if state in _OURS or record.error_status == job_pb2.JobStatus.Name(result.status):
                    await self._tell_saga(result, record)
                await self._held.finish(result, record)
                ending = Ending(
                    record,
                    state,
                    reason=record.failure_reason,
                    code=record.error_code,
                    result_ptr=record.result_ptr if state is JobState.SUCCEEDED else "",
                )
                if state is not JobState.SUCCEEDED or record.output_decision:
                    await self._tell(ending)
            return
        if state is JobState.RETRYING and result.status == job_pb2.JOB_STATUS_FAILED_RETRYABLE:
            # We moved it and may have died before we parked it; parking it twice is no harm.
            await self._try_again(known)
            return
        if state is not None and state.is_terminal:
            return
        log.warning(
            "a result that does not count is ignored",
            event="result_stale",
            job_id=result.job_id,
            worker_id=result.worker_id,
            dispatch_id=result.dispatch.dispatch_id,
            state=state.value if state is not None else None,
            why=refused.why,
        )

    async def _try_again(self, record: JobRecord) -> None:
        delay = retry.placement_delay(max(record.attempts - 1, 0), random.random())
        await self._parking.park_again(record, record.pool or parking.DELAYED, delay)

    async def _tell(self, ending: Ending) -> None:
        """A worker's own result tells everybody that its job failed, unless we made more of it than it said."""
        if ending.code in (MAX_RETRIES_CODE, TOO_LARGE_CODE) or ending.state in _OURS:
            await self._announcer.ended(ending)
        else:
            await self._announcer.bury(ending)


def change_for(result: job_pb2.JobResult, may_try_again: bool) -> Change:
    """The move a worker's result asks for.

    Args:
        may_try_again: whether the job has a try left, should the worker ask for one.
    """
    worker, dispatch_id = WorkerId(result.worker_id), DispatchId(result.dispatch.dispatch_id)
    pointer = followed(result)
    to = JobState.RETRYING if result.status == job_pb2.JOB_STATUS_FAILED_RETRYABLE else _ENDS[result.status]
    if to is JobState.SUCCEEDED:
        return lifecycle.succeed(worker=worker, dispatch_id=dispatch_id, result_ptr=pointer)
    status = str(job_pb2.JobStatus.Name(result.status))
    reason = result.error_message[:MAX_REASON] or f"the worker reported {status}"
    code = result.error_code or _CODES.get(result.status, "worker_failed")
    if to is JobState.RETRYING and not may_try_again:
        to, reason, code = JobState.FAILED, f"max retries exceeded: {reason}", MAX_RETRIES_CODE
    return lifecycle.end_by_worker(
        to, worker=worker, dispatch_id=dispatch_id, status=status, reason=reason, code=code, result_ptr=pointer
    )


def followed(result: job_pb2.JobResult) -> str:
    """The result's pointer, if it is one we follow: a worker must not point at configurations or sessions."""
    if not result.result_ptr or payload_key(result.result_ptr):
        return str(result.result_ptr)
    log.warning(
        "a result pointer is not followed",
        event="result_pointer_refused",
        job_id=result.job_id,
        worker_id=result.worker_id,
        pointer=result.result_ptr[:100],
    )
    return ""


def _later(error: CordumError, delay: float, result: job_pb2.JobResult) -> Retry:
    log.warning(
        "a result could not be handled, it is tried again",
        event="result_deferred",
        job_id=result.job_id,
        code=error.code,
        error=error.message,
    )
    return Retry(delay)
