"""What the scheduler tells the others: how a job ended, that a worker may stop, what went to the dead letters."""

import asyncio
from typing import Final

from cap.pb.cordum.agent.v1 import job_pb2

from cordum.bus import envelope, subjects
from cordum.bus.connection import Bus
from cordum.bus.errors import BusError
from cordum.bus.messages import msg_id_result
from cordum.core.errors import CordumError
from cordum.core.ids import DispatchId, JobId, TenantId, Topic, TraceId
from cordum.core.jobs import retry
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.runtime import metrics
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.runtime.service_tokens import ServiceTokens
from cordum.services.scheduler.error_codes import error_code_enum
from cordum.store import DeadLetter, Store

log = get_logger(__name__)

DLQ_RETRY_PAUSE: Final = 0.5
"""Seconds before a dead letter that could not be written is written once more (spec-scheduler 14)."""

TELL_TRIES: Final = 20
MOST_UNTOLD: Final = 1_000
"""How often the end of a job is told again in the background, and of how many jobs at once."""

_STATUS: Final = {
    JobState.SUCCEEDED: job_pb2.JOB_STATUS_SUCCEEDED,
    JobState.FAILED: job_pb2.JOB_STATUS_FAILED,
    JobState.CANCELLED: job_pb2.JOB_STATUS_CANCELLED,
    JobState.TIMEOUT: job_pb2.JOB_STATUS_TIMEOUT,
    JobState.DENIED: job_pb2.JOB_STATUS_DENIED,
    JobState.OUTPUT_QUARANTINED: job_pb2.JOB_STATUS_DENIED,
}


class Ending:
    """A job that has just ended, as it is told to others."""

    __slots__ = (
        "attempts",
        "code",
        "job_id",
        "last_state",
        "reason",
        "result_ptr",
        "state",
        "tenant",
        "topic",
        "trace_id",
    )

    def __init__(
        self,
        record: JobRecord,
        state: JobState,
        *,
        reason: str = "",
        code: str = "",
        result_ptr: str = "",
        last_state: JobState | None = None,
    ) -> None:
        self.job_id: JobId = record.id
        self.topic: Topic = record.topic
        self.tenant: TenantId = record.tenant
        self.trace_id: TraceId = record.trace_id
        self.attempts = record.attempts
        self.last_state = last_state or record.state
        self.state = state
        self.reason = reason
        self.code = code
        self.result_ptr = result_ptr

    def as_result(self) -> job_pb2.JobResult:
        """The ending as a CAP result: strict validators want its worker to be its sender, so we are both."""
        return job_pb2.JobResult(
            job_id=self.job_id,
            status=_STATUS[self.state],
            worker_id=subjects.SCHEDULER_ID,
            result_ptr=self.result_ptr,
            error_code=self.code,
            error_code_enum=error_code_enum(self.code),
            error_message=self.reason,
        )


class Announcer:
    """Publishes endings and cancels, and writes dead letters. Every message may be sent twice; ids drop doubles."""

    def __init__(self, bus: Bus, store: Store, clock: Clock, tokens: ServiceTokens | None = None) -> None:
        """`tokens`: what shows that we are the scheduler, where sessions are used."""
        self._tokens = tokens
        self._bus = bus
        self._store = store
        self._clock = clock
        self._telling: set[asyncio.Task[None]] = set()

    def keep_telling(self, ending: Ending) -> None:
        """Goes on trying to tell of an end in the background, for as long as an outage lasts (some minutes)."""
        if len(self._telling) >= MOST_UNTOLD:
            log.error("an end stays untold: too many wait", event="ending_untold", job_id=ending.job_id)
            return
        task = asyncio.create_task(self._keep_telling(ending), name=f"tell of {ending.job_id}")
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _keep_telling(self, ending: Ending) -> None:
        for attempt in range(TELL_TRIES):
            await self._clock.sleep(retry.placement_delay(attempt, 0.0))
            try:
                await self.ended(ending)
                return
            except CordumError as error:
                log.debug("an end could not be told", event="ending_untold", job_id=ending.job_id, error=error.message)
        log.error("an end stays untold", event="ending_untold", job_id=ending.job_id)

    async def stop(self) -> None:
        """Ends the telling; what is untold then is in the log and in the job's record."""
        for task in self._telling:
            log.warning("an end is untold at the stop", event="ending_untold", told_to_be=task.get_name())
            task.cancel()
        if self._telling:
            await asyncio.wait(self._telling)

    async def ended(self, ending: Ending) -> None:
        """Tells of an end the scheduler set itself; unless it was a success, the job goes to the dead letters too.

        Raises:
            BusError, StoreError: somebody was not told; the caller tries again.
        """
        if ending.state in (JobState.SUCCEEDED, JobState.CANCELLED):
            await self._publish(subjects.JOB_RESULT, ending)
            return
        told = asyncio.ensure_future(self._publish(subjects.JOB_RESULT, ending))
        try:
            await self.bury(ending)
        finally:
            await asyncio.wait((told,))
        told.result()

    async def bury(self, ending: Ending) -> None:
        """Writes a job to the dead letters and says so on `sys.job.dlq`; tried twice, then counted and raised."""
        try:
            await self._bury_once(ending)
        except CordumError:
            await asyncio.sleep(DLQ_RETRY_PAUSE)
            try:
                await self._bury_once(ending)
            except CordumError:
                metrics.DLQ_EMIT_FAILURES.labels(ending.topic).inc()
                raise

    async def _bury_once(self, ending: Ending) -> None:
        await self._store.dead_letters.add(
            DeadLetter(
                job_id=ending.job_id,
                topic=ending.topic,
                status=job_pb2.JobStatus.Name(_STATUS[ending.state]),
                reason=ending.reason,
                reason_code=ending.code,
                last_state=ending.last_state.value,
                attempts=ending.attempts,
                tenant=ending.tenant,
            )
        )
        await self._publish(subjects.JOB_DLQ, ending)

    async def stop_worker(self, job_id: JobId, dispatch_id: DispatchId, attempts: int, reason: str) -> None:
        """Broadcasts that nobody waits for a job any more; a worker may stop it. Failing to say so is only logged."""
        packet = envelope.packet(subjects.SCHEDULER_ID, job_id, self._clock.now())
        packet.job_cancel.job_id = job_id
        packet.job_cancel.reason = reason
        packet.job_cancel.requested_by = subjects.SCHEDULER_ID
        packet.job_cancel.dispatch.dispatch_id = dispatch_id
        packet.job_cancel.dispatch.attempt = attempts
        packet.auth_token = self.token
        try:
            await self._bus.publish(subjects.JOB_CANCEL, envelope.encode(packet), msg_id=f"cancel:{job_id}:{attempts}")
        except BusError as error:
            metrics.JOB_CANCEL_FAILURES.inc()
            log.warning(
                "a worker could not be told to stop", event="job_cancel_failed", job_id=job_id, error=error.message
            )

    @property
    def token(self) -> str:
        """What shows that a packet is the scheduler's; "" where there is no key to sign it with."""
        return self._tokens.token(subjects.SCHEDULER_ID) if self._tokens is not None else ""

    async def _publish(self, subject: str, ending: Ending) -> None:
        packet = envelope.packet(subjects.SCHEDULER_ID, ending.trace_id or ending.job_id, self._clock.now())
        packet.job_result.CopyFrom(ending.as_result())
        packet.auth_token = self.token
        await self._bus.publish(
            subject, envelope.encode(packet), msg_id=msg_id_result(subject, ending.job_id, ending.attempts)
        )
