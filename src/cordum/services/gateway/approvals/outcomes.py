"""Publishing what was decided: the outbox of approvals (spec-safety section 11).

The decision is in the record before anything is published, with the mark that this is still to be done. Whoever comes
by later, here or in the scheduler, can do it again: every message has an id of its own.
"""

import asyncio

from cap.pb.cordum.agent.v1 import job_pb2

from cordum.bus import Bus, BusError, envelope, messages, subjects
from cordum.core.errors import CordumError
from cordum.core.ids import JobId
from cordum.core.jobs import approvals
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.runtime.clock import Clock, unix_micros
from cordum.runtime.logging import get_logger
from cordum.runtime.service_tokens import ServiceTokens
from cordum.services.gateway import protojson
from cordum.services.gateway.dlq.letters import DeadLetterBox
from cordum.services.gateway.submit.service import SubmitService
from cordum.store import Store

log = get_logger(__name__)


class Outcomes:
    """Publishes resolved approvals and marks them as published."""

    def __init__(
        self,
        *,
        store: Store,
        bus: Bus,
        submitter: SubmitService,
        dead_letters: DeadLetterBox,
        tokens: ServiceTokens,
        clock: Clock,
    ) -> None:
        self._tokens = tokens
        self._store = store
        self._bus = bus
        self._submitter = submitter
        self._dead_letters = dead_letters
        self._clock = clock

    async def publish(self, record: JobRecord) -> bool:
        """Publishes what was decided about a job, whichever way. False: it is left to the scheduler."""
        if record.state is JobState.DENIED:
            return await self.refused(record)
        stored = await self._store.jobs.request(record.id)
        return stored is not None and await self.let_go(record, protojson.decode(stored))

    async def let_go(self, record: JobRecord, job: job_pb2.JobRequest) -> bool:
        """Submits an approved job once more. False when that failed: the scheduler does it."""
        msg_id = messages.msg_id_approved(subjects.JOB_SUBMIT, record.id, record.approval_revision)
        if not await self._submitter.resubmit(job, record.trace_id or record.id, msg_id=msg_id):
            return False
        await self._mark(record.id)
        return True

    async def refused(self, record: JobRecord) -> bool:
        """Buries a rejected or invalidated job and tells who waits for it. False: the scheduler does it again."""
        code = record.error_code
        buried, told = await asyncio.gather(self._dead_letters.bury(record, code), self._tell_denied(record, code))
        if not (buried and told):
            return False
        await self._mark(record.id)
        return True

    async def _mark(self, job_id: JobId) -> None:
        try:
            await self._store.approvals.mark_published(job_id, approvals.published(unix_micros(self._clock)))
        except CordumError as error:
            # Published twice is harmless: the second message has the same id.
            log.warning("approval not marked", event="approval_not_marked", job_id=job_id, error=error.message)

    async def _tell_denied(self, record: JobRecord, code: str) -> bool:
        packet = envelope.packet(subjects.GATEWAY_CONTROL_ID, record.trace_id or record.id, self._clock.now())
        packet.auth_token = self._tokens.token(subjects.GATEWAY_CONTROL_ID)
        result = packet.job_result
        result.job_id = record.id
        result.status = job_pb2.JOB_STATUS_DENIED
        result.worker_id = subjects.GATEWAY_CONTROL_ID
        result.error_code = code
        result.error_code_enum = job_pb2.ERROR_CODE_SAFETY_DENIED
        result.error_message = record.failure_reason
        try:
            msg_id = messages.msg_id_result(subjects.JOB_RESULT, record.id)
            await self._bus.publish(subjects.JOB_RESULT, envelope.encode(packet), msg_id=msg_id)
        except BusError as error:
            log.warning("rejection not announced", event="reject_not_announced", job_id=record.id, error=error.message)
            return False
        return True
