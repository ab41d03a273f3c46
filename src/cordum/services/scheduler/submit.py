"""A message on `sys.job.submit`: claim the job, place it, and let the message go (spec-scheduler 8.1)."""

from typing import Final

from cap.pb.cordum.agent.v1 import job_pb2
from cap.pb.cordum.agent.v1.buspacket_pb2 import BusPacket
from cap.validate import validate_job_request
from google.protobuf.json_format import MessageToJson

from cordum.bus import ACK, BadPacketError, BusError, Delivery, Outcome, Poison, Retry, envelope
from cordum.core.errors import CordumError
from cordum.core.ids import DEFAULT_TENANT, JobId, PrincipalId, TenantId, Topic, TraceId, micros
from cordum.core.jobs import retry
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import WAITING, WITH_WORKER, JobState
from cordum.rpc.kernel_client import KernelUnavailableError
from cordum.runtime import metrics
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.services.scheduler import compensations, parking
from cordum.services.scheduler.dispatching import REPUBLISH_WITHIN, Dispatcher
from cordum.services.scheduler.kernel_pause import KernelPause
from cordum.services.scheduler.parking import Parking
from cordum.services.scheduler.placing import Placing
from cordum.services.scheduler.settling import Settling
from cordum.services.scheduler.ticket import Later, Ticket
from cordum.store import JobDetail, JobExistsError, NewJob, Store, StoreError

log = get_logger(__name__)

STORE_RETRY: Final = 1.0
BUS_RETRY: Final = 2.0
"""Seconds until a message is tried again after the store, or the bus, failed (spec-scheduler 13)."""

KERNEL_TRIES: Final = 20
"""Deliveries a message spends on an unreachable kernel; then the job waits among the parked, where nothing counts."""

_TRACE_HEADERS: Final = ("traceparent", "tracestate")


class SubmitHandler:
    """Handles submits. Every step may happen twice: state and fences see to it that a job runs once."""

    def __init__(
        self,
        *,
        store: Store,
        placing: Placing,
        settling: Settling,
        dispatcher: Dispatcher,
        parking: Parking,
        kernel_pause: KernelPause,
        clock: Clock,
    ) -> None:
        self._store = store
        self._placing = placing
        self._settling = settling
        self._dispatcher = dispatcher
        self._parking = parking
        self._kernel_pause = kernel_pause
        self._clock = clock

    async def handle(self, delivery: Delivery) -> Outcome:
        """Decides one delivery. It is acknowledged only when the job is where it belongs, in the store."""
        try:
            packet = envelope.decode(delivery.data)
            if packet.WhichOneof("payload") != "job_request":
                return ACK
            tenant = check_request(packet.job_request)
        except BadPacketError as error:
            metrics.VALIDATION_REJECTIONS.inc()
            return Poison(error.message)
        if delivery.attempt == 1:
            metrics.JOBS_RECEIVED.labels(packet.job_request.topic).inc()
        try:
            return await self._handle(packet, tenant, delivery)
        except StoreError as error:
            return _later(error, STORE_RETRY, packet)
        except BusError as error:
            return _later(error, BUS_RETRY, packet)
        except CordumError as error:
            return _later(error, STORE_RETRY, packet)

    async def _handle(self, packet: BusPacket, tenant: TenantId, delivery: Delivery) -> Outcome:
        request = packet.job_request
        job_id = JobId(request.job_id)
        asked_at = self._clock.monotonic()
        detail = await self._store.jobs.get_detail(job_id)
        metrics.JOB_LOCK_WAIT.observe(self._clock.monotonic() - asked_at)
        if detail is None:
            try:
                detail = await self._adopt(packet, tenant)
            except JobExistsError:
                return Retry(0.05)
        record = detail.record
        if record.tenant != tenant or record.topic != request.topic:
            log.error(
                "a submit contradicts the job's record and is refused",
                event="submit_contradicts_record",
                job_id=job_id,
                tenant=record.tenant,
                claimed_tenant=tenant,
                claimed_topic=request.topic,
            )
            return Poison("submit contradicts the job's record")
        ticket = Ticket(
            packet,
            record,
            context=detail.context,
            received_at=delivery.received_at,
            headers=_trace_headers(delivery),
        )
        if record.state in WAITING:
            return await self._place(ticket, delivery)
        if record.state in WITH_WORKER:
            return await self._resume(ticket, delivery)
        if delivery.attempt > 1 and record.state in (JobState.DENIED, JobState.FAILED):
            await self._settling.tell_again(record)
        return ACK

    async def _place(self, ticket: Ticket, delivery: Delivery) -> Outcome:
        try:
            placed = await self._placing.place(ticket)
        except KernelUnavailableError as error:
            return await self._undecided(ticket, delivery, error)
        return Retry(placed.delay) if isinstance(placed, Later) else ACK

    async def _undecided(self, ticket: Ticket, delivery: Delivery, error: KernelUnavailableError) -> Outcome:
        """No decision, no dispatch: the job stays PENDING, visibly, and is tried again (guide section 11)."""
        record = ticket.record
        metrics.SAFETY_UNAVAILABLE.labels(record.topic).inc()
        log.warning(
            "job put off: no answer from the safety kernel",
            event="safety_unavailable",
            job_id=record.id,
            topic=record.topic,
            tries=delivery.attempt,
            error=error.message,
        )
        self._kernel_pause.begin()
        delay = retry.safety_delay(delivery.attempt - 1)
        if delivery.attempt >= KERNEL_TRIES:
            await self._parking.park(
                record, parking.DELAYED, parking.SAFETY_UNAVAILABLE, delay=delay, tries=record.placement_tries
            )
            return ACK
        await self._parking.explain(record, parking.SAFETY_UNAVAILABLE)
        return Retry(delay)

    async def _resume(self, ticket: Ticket, delivery: Delivery) -> Outcome:
        """The job is with a worker already. Redelivered, this may be the message of a dispatch that was never sent."""
        record = ticket.record
        age = self._clock.now() - record.dispatched_at / 1_000_000
        if delivery.attempt == 1 or not record.dispatch_id or age > REPUBLISH_WITHIN:
            return ACK
        return ACK if await self._dispatcher.publish_again(ticket) else Retry(BUS_RETRY)

    async def _adopt(self, packet: BusPacket, tenant: TenantId) -> JobDetail:
        """Writes the record of a job that was submitted on the bus itself, past the gateway."""
        request = packet.job_request
        now = micros(self._clock.now())
        record = record_of(packet, tenant, now=now)
        await self._store.jobs.create(NewJob(record=record, request=MessageToJson(request, indent=None).encode()))
        context = await self._store.jobs.context(record.id)
        log.info("job adopted from the bus", event="job_adopted", job_id=record.id, sender=packet.sender_id)
        return JobDetail(record=record, context=context, result=None)


def check_request(request: job_pb2.JobRequest) -> TenantId:
    """The tenant of a request that is fit to be scheduled.

    Raises:
        BadPacketError: it breaks a rule of CAP, or names two tenants.
    """
    faults = validate_job_request(request)
    if faults:
        raise BadPacketError("invalid job request: " + "; ".join(f"{fault.field} {fault.message}" for fault in faults))
    named = {name for name in (request.meta.tenant_id, request.tenant_id, request.env.get("tenant_id", "")) if name}
    if len(named) > 1:
        log.error(
            "a job names two tenants and is refused",
            event="tenant_mismatch",
            job_id=request.job_id,
            tenants=sorted(named),
        )
        raise BadPacketError("the job names two tenants")
    tenant = TenantId(next(iter(named), DEFAULT_TENANT))
    if request.HasField("compensation"):
        compensations.check(request.compensation, tenant)
    return tenant


def record_of(packet: BusPacket, tenant: TenantId, *, now: int) -> JobRecord:
    """The record of a job nobody has written down yet."""
    request = packet.job_request
    meta = request.meta
    deadline_ms = request.budget.deadline_ms
    return JobRecord(
        id=JobId(request.job_id),
        state=JobState.PENDING,
        created_at=micros(now / 1_000_000),
        updated_at=micros(now / 1_000_000),
        topic=Topic(request.topic),
        tenant=tenant,
        principal=PrincipalId(request.principal_id),
        trace_id=TraceId(packet.trace_id),
        memory_id=request.memory_id,
        actor_id=meta.actor_id or request.principal_id,
        actor_type={1: "human", 2: "service"}.get(meta.actor_type, ""),
        idempotency_key=meta.idempotency_key,
        capability=meta.capability,
        pack_id=meta.pack_id,
        risk_tags=tuple(meta.risk_tags),
        requires=tuple(meta.requires),
        labels={**meta.labels, **request.labels},
        workflow_id=request.workflow_id or request.labels.get("workflow_id", ""),
        compensation=compensations.left_by(request),
        submitted_by=packet.sender_id,
        deadline_unix=micros(now / 1_000_000 + deadline_ms / 1000) if deadline_ms > 0 else micros(0),
    )


def _trace_headers(delivery: Delivery) -> dict[str, str] | None:
    found = {name: value for name in _TRACE_HEADERS if (value := delivery.headers.get(name))}
    return found or None


def _later(error: CordumError, delay: float, packet: BusPacket) -> Retry:
    log.warning(
        "a submit could not be handled, it is tried again",
        event="submit_deferred",
        job_id=packet.job_request.job_id,
        code=error.code,
        error=error.message,
    )
    return Retry(delay)
