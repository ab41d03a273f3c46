"""Cancels whose messages were never sent: NATS was away, or the gateway died (spec-scheduler section 10).

The record says CANCELLED, so the job has ended for everybody who looks. But its worker works on, and whoever waits for
a message waits on: so they are told as soon as that can be done.
"""

from typing import Final

from cap.pb.cordum.agent.v1 import job_pb2

from cordum.bus import Bus, envelope, subjects
from cordum.bus.messages import msg_id_result
from cordum.core.errors import CordumError
from cordum.core.ids import micros
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.runtime import metrics
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.services.scheduler.announcing import Announcer, Ending
from cordum.services.scheduler.holding import Holding
from cordum.store import Store

log = get_logger(__name__)

GRACE: Final = 10.0
"""Seconds whoever cancels a job has to tell it; by then the record shows whether it was cancelled at all."""

AT_ONCE: Final = 200


class UntoldCancels:
    """Tells of them. Runs in one scheduler at a time."""

    def __init__(self, *, bus: Bus, store: Store, holding: Holding, announcer: Announcer, clock: Clock) -> None:
        self._bus = bus
        self._store = store
        self._holding = holding
        self._announcer = announcer
        self._clock = clock

    async def tick(self) -> None:
        """One pass.

        Raises:
            StoreError: the store does not answer; the next pass begins anew.
        """
        if not self._bus.connected:
            return
        ids = await self._store.cancels.untold(micros(self._clock.now() - GRACE), AT_ONCE)
        for job_id, record in zip(ids, await self._store.jobs.get_many(ids), strict=True):
            try:
                if record is not None and record.state is JobState.CANCELLED:
                    await self._tell(record)
                await self._store.cancels.told(job_id)
            except CordumError as error:
                metrics.JOB_CANCEL_FAILURES.inc()
                log.warning("a cancel is still untold", event="job_cancel_failed", job_id=job_id, error=error.message)

    async def _tell(self, record: JobRecord) -> None:
        log.warning(
            "a cancel that nobody was told of is told now",
            event="job_cancel_retold",
            job_id=record.id,
            tenant=record.tenant,
            worker_id=record.worker_id,
        )
        packet = envelope.packet(subjects.SCHEDULER_ID, record.trace_id or record.id, self._clock.now())
        packet.auth_token = self._announcer.token
        packet.job_cancel.job_id = record.id
        packet.job_cancel.reason = record.failure_reason
        packet.job_cancel.requested_by = subjects.SCHEDULER_ID
        if record.dispatch_id:
            packet.job_cancel.dispatch.CopyFrom(
                job_pb2.DispatchIdentity(
                    dispatch_id=record.dispatch_id, attempt=record.attempts, assigned_worker_id=record.worker_id
                )
            )
        packet.auth_token = self._announcer.token
        msg_id = msg_id_result(subjects.JOB_CANCEL, record.id)
        await self._bus.publish(subjects.JOB_CANCEL, envelope.encode(packet), msg_id=msg_id)
        await self._announcer.ended(
            Ending(record, JobState.CANCELLED, reason=record.failure_reason, code=record.error_code or "cancelled")
        )
        # Our peers hear of it from that result, but nobody hears himself.
        self._holding.forget(record.id)
        self._holding.release(record.id)
        await self._store.parked.leave(record.id)
