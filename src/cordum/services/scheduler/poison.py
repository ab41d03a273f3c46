"""Messages nobody can handle: they go to the dead letters before they are given up (spec-scheduler 2.4)."""

from typing import Final

from cordum.bus import BadPacketError, Delivery, envelope, subjects
from cordum.core.ids import DEFAULT_TENANT, JobId, TenantId, Topic, TraceId
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import WAITING, JobState
from cordum.runtime import metrics
from cordum.runtime.logging import get_logger
from cordum.services.scheduler.announcing import Announcer, Ending
from cordum.services.scheduler.settling import Settling
from cordum.store import Store

log = get_logger(__name__)

CODE: Final = "poison_message"


class PoisonHandler:
    """Puts poison messages away."""

    def __init__(self, store: Store, settling: Settling, announcer: Announcer) -> None:
        self._store = store
        self._settling = settling
        self._announcer = announcer

    async def put_away(self, delivery: Delivery, reason: str) -> None:
        """Returns once the message's job, if it has one, has failed, or the message itself is a dead letter.

        Raises:
            StoreError, BusError: it is not put away; the message stays.
        """
        metrics.BUS_UNMARSHAL_FAILURES.labels(delivery.subject, CODE).inc()
        named = _named(delivery)
        record = await self._store.jobs.get(named.id) if named.id else None
        log.error(
            "a message cannot be handled",
            event=CODE,
            subject=delivery.subject,
            seq=delivery.seq,
            job_id=named.id or None,
            reason=reason,
        )
        if record is None:
            stray = named if named.id else _numbered(delivery)
            await self._announcer.bury(Ending(stray, JobState.FAILED, reason=f"{CODE}: {reason}", code=CODE))
        elif delivery.subject == subjects.JOB_SUBMIT and record.state in WAITING and _same_job(record, named):
            await self._settling.fail(record, f"{CODE}: {reason}", CODE)


def _named(delivery: Delivery) -> JobRecord:
    """What the message says of its job, as far as it can be read."""
    try:
        packet = envelope.decode(delivery.data)
    except BadPacketError:
        return JobRecord(id=JobId(""), state=JobState.PENDING)
    request = packet.job_request
    return JobRecord(
        id=JobId(request.job_id or packet.job_result.job_id or packet.job_cancel.job_id),
        state=JobState.PENDING,
        topic=Topic(request.topic),
        tenant=TenantId(request.tenant_id or request.meta.tenant_id or DEFAULT_TENANT),
        trace_id=TraceId(packet.trace_id),
    )


def _numbered(delivery: Delivery) -> JobRecord:
    """A name for a message without a job: its place in the stream."""
    return JobRecord(
        id=JobId(f"{delivery.subject}:{delivery.seq}"),
        state=JobState.PENDING,
        tenant=DEFAULT_TENANT,
        trace_id=TraceId(f"{delivery.subject}:{delivery.seq}"),
    )


def _same_job(record: JobRecord, named: JobRecord) -> bool:
    """Whether a bad message really speaks of this job: a foreign one must not end it."""
    return record.tenant == named.tenant and record.topic == named.topic
