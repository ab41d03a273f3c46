"""Sagas: keeping what would undo each job of a workflow, and undoing it when the workflow fails (spec-scheduler 15).

A success is written to the job's record first and to the saga second, both before its message is acknowledged: whoever
dies in between is followed by a redelivery that finds the success and keeps the compensation, once. A rollback is
written down before it begins; it takes a compensation off the stack only after its submit is on the bus. Whatever is
done twice is done under the same names: one entry per job, one compensating job per job.
"""

import asyncio
from typing import Final

from cap.pb.cordum.agent.v1 import job_pb2
from google.protobuf.json_format import Parse, ParseError

from cordum.bus import BadPacketError, Bus, BusError, MessageTooLargeError, envelope, subjects
from cordum.bus.messages import msg_id_submit
from cordum.core.audit.event import AuditEvent, EventType, Severity
from cordum.core.errors import CordumError
from cordum.core.ids import JobId, Topic, TraceId, micros
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.saga import Saga, compensation_id, is_compensation
from cordum.core.jobs.states import JobState
from cordum.core.policy.decision import Decision, Verdict
from cordum.rpc.convert import check_request_from_job, verdict_from_response
from cordum.rpc.kernel_client import KernelClient, KernelUnavailableError
from cordum.runtime import metrics
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.services.scheduler import compensations
from cordum.services.scheduler.announcing import Announcer, Ending
from cordum.store import Lease, LeaseLostError, Store, keys
from cordum.store.audit_outbox import AuditOutbox
from cordum.store.sagas import Pushed, Rollback

log = get_logger(__name__)

LOCK_TTL: Final = 120.0
"""Seconds the lock of a saga lasts from its last renewal."""

PATIENCE: Final = 30.0
"""Seconds one rollback works at a stretch; what is left then is gone on with by the next pass."""

CHECK_SECONDS: Final = 2.0
"""How long the safety kernel is waited for before a compensation; it is asked again when the compensation is placed."""

AT_ONCE: Final = 16
"""Rollbacks one process works on at once; more wait for the next pass."""

UNREADABLE: Final = "saga_unmarshal_failed"
FULL: Final = "saga_full"


class Sagas:
    """Keeps compensations and rolls sagas back."""

    def __init__(
        self,
        *,
        bus: Bus,
        store: Store,
        kernel: KernelClient,
        announcer: Announcer,
        outbox: AuditOutbox,
        clock: Clock,
    ) -> None:
        self._bus = bus
        self._store = store
        self._kernel = kernel
        self._announcer = announcer
        self._outbox = outbox
        self._clock = clock
        self._rolling: dict[Saga, asyncio.Task[None]] = {}

    async def succeeded(self, record: JobRecord) -> None:
        """Keeps the compensation of a job that has succeeded. For a redelivered success, too: it is kept once.

        Raises:
            StoreError, BusError: it is not kept for certain; the result must come again.
        """
        saga = Saga(record.tenant, record.workflow_id)
        stored = await self._store.jobs.request(record.id)
        request = job_pb2.JobRequest()
        try:
            Parse(stored or b"", request, ignore_unknown_fields=True)
            entry = compensations.template(request, saga, record.id)
        except (ParseError, UnicodeDecodeError, BadPacketError) as error:
            await self._bury(saga, record.id, f"{UNREADABLE}: {error}", UNREADABLE, topic=record.compensation)
            return
        pushed = await self._store.sagas.push(saga, entry, request.compensation.context_ptr or request.context_ptr)
        if pushed is Pushed.NEW:
            metrics.SAGA_RECORDED.inc()
            log.info(
                "a compensation is kept",
                event="saga_recorded",
                job_id=record.id,
                workflow_id=saga.workflow,
                tenant=saga.tenant,
                topic=record.compensation,
            )
        elif pushed is Pushed.FULL:
            reason = f"{FULL}: the workflow has more compensations than can be kept"
            await self._bury(saga, record.id, reason, FULL, topic=record.compensation)

    async def failed_fatally(self, record: JobRecord) -> None:
        """Begins the rollback of the workflow of a job that failed for good, if there is anything to undo.

        Returns as soon as the rollback is written down; from then on it is made, by us or by whoever comes after us.

        Raises:
            StoreError: it is not written down for certain; the result must come again.
        """
        if is_compensation(record.labels):
            return
        saga = Saga(record.tenant, record.workflow_id)
        waiting = await self._store.sagas.size(saga)
        if not waiting:
            return
        if await self._store.sagas.ask_rollback(saga, micros(self._clock.now())):
            metrics.SAGA_ROLLBACKS.inc()
        log.warning(
            "a workflow failed and is rolled back",
            event="saga_rollback",
            job_id=record.id,
            workflow_id=saga.workflow,
            tenant=saga.tenant,
            compensations=waiting,
        )
        self._begin(saga)

    async def tick(self) -> None:
        """Goes on with rollbacks nobody works on: their scheduler died, or could not publish.

        Raises:
            StoreError: the store does not answer; the next pass begins anew.
        """
        if not self._bus.connected:
            return
        for rollback in await self._store.sagas.asked_rollbacks(AT_ONCE):
            self._begin(rollback.saga)

    async def stop(self) -> None:
        """Ends the work on rollbacks; another scheduler goes on with them."""
        rolling = list(self._rolling.values())
        for task in rolling:
            task.cancel()
        await asyncio.gather(*rolling, return_exceptions=True)

    async def settled(self) -> None:
        """Waits until no rollback is being worked on here; for tests and simulations."""
        while self._rolling:
            await asyncio.wait(self._rolling.values())

    def _begin(self, saga: Saga) -> None:
        if saga in self._rolling or len(self._rolling) >= AT_ONCE:
            return  # who is at it sees that it was asked for again; who is not gets it with the next pass
        task = asyncio.create_task(self._roll_back(saga), name=f"roll back {saga.workflow}")
        self._rolling[saga] = task
        task.add_done_callback(lambda _: self._rolling.pop(saga, None))

    async def _roll_back(self, saga: Saga) -> None:
        metrics.SAGA_ACTIVE.inc()
        try:
            lease = await self._store.leases.acquire(keys.saga_lock(saga), LOCK_TTL)
            if lease is None:
                return
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._undo(saga, lease)
            finally:
                await self._store.leases.release(lease)
        except TimeoutError:
            log.info("a rollback goes on with the next pass", event="saga_rollback_long", workflow_id=saga.workflow)
        except LeaseLostError:
            log.info("somebody else goes on with a rollback", event="saga_lock_lost", workflow_id=saga.workflow)
        except CordumError as error:
            log.warning(
                "a rollback is interrupted, it goes on later",
                event="saga_rollback_interrupted",
                workflow_id=saga.workflow,
                tenant=saga.tenant,
                code=error.code,
                error=error.message,
            )
        except Exception:
            log.exception(
                "a rollback failed, it goes on later", event="saga_rollback_failed", workflow_id=saga.workflow
            )
        finally:
            metrics.SAGA_ACTIVE.dec()

    async def _undo(self, saga: Saga, lease: Lease) -> None:
        """Empties the stack, and once more should the rollback be asked for again meanwhile."""
        began = renewed = self._clock.monotonic()
        asked_at = await self._store.sagas.asked_at(saga)
        while asked_at is not None:
            while (entry := await self._store.sagas.peek(saga)) is not None:
                if self._clock.monotonic() - renewed > LOCK_TTL / 3:
                    await self._store.leases.renew(lease)
                    renewed = self._clock.monotonic()
                await self._compensate(saga, entry)
                await self._store.sagas.pop(saga, entry)
            if await self._store.sagas.rolled_back(Rollback(saga, asked_at)):
                metrics.SAGA_DURATION.observe(self._clock.monotonic() - began)
                log.info("a workflow is rolled back", event="saga_rolled_back", workflow_id=saga.workflow)
                return
            asked_at = await self._store.sagas.asked_at(saga)

    async def _compensate(self, saga: Saga, entry: bytes) -> None:
        """Submits what undoes one job, or puts away what cannot be submitted.

        Raises:
            BusError, StoreError: it is neither; the entry must stay.
        """
        try:
            request = compensations.submission(entry, saga)
            packet = envelope.packet(subjects.SAGA_ID, request.job_id, self._clock.now())
            packet.job_request.CopyFrom(request)
            data = envelope.encode(packet)
        except BadPacketError as error:
            await self._unreadable(saga, entry, error)
            return
        verdict = await self._objection(request)
        if verdict is not None:
            self._skip(saga, request, verdict)
            return
        try:
            await self._bus.publish(subjects.JOB_SUBMIT, data, msg_id=msg_id_submit(request.job_id))
        except MessageTooLargeError as error:
            await self._unreadable(saga, entry, error)
            return
        except BusError:
            metrics.SAGA_FAILED.inc()
            raise
        metrics.SAGA_DISPATCHED.inc()
        log.info(
            "a compensation is submitted",
            event="saga_compensation",
            job_id=request.job_id,
            parent_job_id=request.parent_job_id,
            workflow_id=saga.workflow,
            tenant=saga.tenant,
            topic=request.topic,
        )

    async def _objection(self, request: job_pb2.JobRequest) -> Verdict | None:
        """Policy's no, if it says so now. Its silence stops nothing here: the job is decided again before it runs."""
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                answer = await self._kernel.simulate(check_request_from_job(request))
        except (KernelUnavailableError, TimeoutError):
            return None
        verdict = verdict_from_response(answer, self._clock.now())
        return verdict if verdict.decision is Decision.DENY else None

    def _skip(self, saga: Saga, request: job_pb2.JobRequest, verdict: Verdict) -> None:
        metrics.SAGA_FAILED.inc()
        log.warning(
            "policy denies a compensation, it is left out",
            event="saga_compensation_denied",
            job_id=request.job_id,
            parent_job_id=request.parent_job_id,
            workflow_id=saga.workflow,
            tenant=saga.tenant,
            topic=request.topic,
            rule_id=verdict.rule_id,
            reason=verdict.reason,
        )
        self._outbox.note(
            AuditEvent(
                id=f"saga_denied:{request.job_id}",
                event_type=EventType.DECISION.value,
                tenant=saga.tenant,
                action="compensation_denied",
                created_at=micros(self._clock.now()),
                severity=Severity.HIGH,
                resource_type="job",
                resource_id=request.parent_job_id,
                resource_name=request.topic,
                actor_id=subjects.SAGA_ID,
                job_id=request.parent_job_id,
                reason=verdict.reason,
                decision=Decision.DENY.value,
                matched_rule=verdict.rule_id,
                policy_version=verdict.snapshot,
                message="a compensation was left out of a rollback",
                extra={"workflow_id": saga.workflow, "compensation": request.job_id},
            )
        )

    async def _unreadable(self, saga: Saga, entry: bytes, error: CordumError) -> None:
        metrics.SAGA_UNMARSHAL_ERRORS.inc()
        metrics.SAGA_FAILED.inc()
        await self._bury(saga, entry.hex()[:64], f"{UNREADABLE}: {error.message}", UNREADABLE)

    async def _bury(self, saga: Saga, undone: str, reason: str, code: str, *, topic: str = "") -> None:
        """Writes a dead letter for what would have undone a job."""
        lost = compensation_id(saga, undone)
        log.error(
            "a compensation is lost",
            event=code,
            job_id=lost,
            parent_job_id=undone,
            workflow_id=saga.workflow,
            tenant=saga.tenant,
            reason=reason,
        )
        record = JobRecord(
            id=JobId(lost),
            state=JobState.PENDING,
            topic=Topic(topic),
            tenant=saga.tenant,
            trace_id=TraceId(lost),
            workflow_id=saga.workflow,
        )
        await self._announcer.bury(Ending(record, JobState.FAILED, reason=reason, code=code))
