"""Dead letters announced on `sys.job.dlq` by somebody who did not write the entry (spec-scheduler section 14).

Scheduler and gateway write the entry before they announce it, so for theirs there is nothing to do. What others put
there becomes an entry once: never a second time, never over an older one, and not after somebody has taken it away.
"""

from typing import Final

from cap.pb.cordum.agent.v1 import job_pb2

from cordum.bus import ACK, BadPacketError, Bus, Consumer, Delivery, Outcome, Retry, envelope, subjects
from cordum.core.errors import CordumError
from cordum.core.ids import DEFAULT_TENANT, JobId
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.runtime.logging import get_logger
from cordum.store import DeadLetter, Store

log = get_logger(__name__)

MAX_REASON: Final = 2_000  # characters
MAX_IN_FLIGHT: Final = 64
STORE_RETRY: Final = 1.0  # seconds
RUNNING_TRIES: Final = 5
"""Deliveries after which the letter of a job that goes on all the same is ignored."""

_DEAD: Final = frozenset({JobState.FAILED, JobState.TIMEOUT, JobState.DENIED, JobState.OUTPUT_QUARANTINED})


class LetterConsumer:
    """Takes letters from the bus; gateways share the work."""

    def __init__(self, store: Store, bus: Bus) -> None:
        self._store = store
        self._bus = bus

    async def start(self) -> Consumer:
        """Begins to work, until the consumer is stopped. Raises BusError when it cannot."""
        return await self._bus.consume(
            stream=subjects.STREAM_SYS,
            subject=subjects.JOB_DLQ,
            queue=subjects.GATEWAY_QUEUE,
            handler=self.handle,
            on_poison=_give_up,
            max_in_flight=MAX_IN_FLIGHT,
        )

    async def handle(self, delivery: Delivery) -> Outcome:
        """Decides one delivery."""
        try:
            packet = envelope.decode(delivery.data)
        except BadPacketError as error:
            log.warning("a dead letter on the bus cannot be read", event="dlq_unreadable", error=error.message)
            return ACK
        result = packet.job_result
        if packet.WhichOneof("payload") != "job_result" or not result.job_id:
            return ACK
        try:
            return await self._keep(result, packet.sender_id, delivery.attempt)
        except CordumError as error:
            log.warning("a dead letter waits", event="dlq_deferred", job_id=result.job_id, error=error.message)
            return Retry(STORE_RETRY)

    async def _keep(self, result: job_pb2.JobResult, sender: str, attempt: int) -> Outcome:
        job_id = JobId(result.job_id)
        if await self._store.dead_letters.knows(job_id):
            return ACK
        record = await self._store.jobs.get(job_id)
        if record is not None and record.state not in _DEAD:
            if not record.state.is_terminal and attempt < RUNNING_TRIES:
                return Retry(STORE_RETRY)
            log.warning(
                "a dead letter of a job that is not dead is ignored",
                event="dlq_contradicts_record",
                job_id=job_id,
                sender_id=sender,
                state=record.state.value,
            )
            return ACK
        await self._store.dead_letters.add(_letter(job_id, result, record))
        log.info("dead letter taken from the bus", event="dlq_adopted", job_id=job_id, sender_id=sender)
        return ACK


def _letter(job_id: JobId, result: job_pb2.JobResult, record: JobRecord | None) -> DeadLetter:
    """The entry: what the job's record says counts; of a job nobody knows, what the message says."""
    status = str(job_pb2.JobStatus.Name(result.status)) if result.status in job_pb2.JobStatus.values() else ""
    reason, code = result.error_message[:MAX_REASON], result.error_code[:MAX_REASON]
    if record is None:
        # A message proves no tenant.
        return DeadLetter(job_id=job_id, tenant=DEFAULT_TENANT, status=status, reason=reason, reason_code=code)
    return DeadLetter(
        job_id=job_id,
        tenant=record.tenant,
        topic=record.topic,
        status=record.error_status or status,
        reason=record.failure_reason or reason,
        reason_code=record.error_code or code,
        last_state=record.last_state or record.state.value,
        attempts=record.attempts,
    )


async def _give_up(delivery: Delivery, reason: str) -> None:
    """A letter that failed to be taken a hundred times; it is in the log."""
    log.error("a dead letter on the bus is given up", event="dlq_given_up", seq=delivery.seq, reason=reason)
