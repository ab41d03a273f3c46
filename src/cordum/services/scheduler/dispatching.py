"""Giving a decided job to a worker: reserve, commit, publish (spec-scheduler 8.4).

The commit comes before the message. A crash between the two leaves a job that runs nowhere, under a dispatch id we can
still see: the redelivered submit finds it and publishes the same message under the same id.
"""

import asyncio
from enum import Enum
from typing import Final

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from cordum.bus import envelope
from cordum.bus.connection import Bus
from cordum.bus.errors import PublishError
from cordum.bus.messages import msg_id_request
from cordum.bus.subjects import SCHEDULER_ID, STREAM_JOBS, worker_jobs
from cordum.core.errors import CordumError
from cordum.core.ids import DispatchId, Micros, PoolName, micros
from cordum.core.jobs import lifecycle
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import WITH_WORKER, JobState
from cordum.core.policy.decision import Verdict
from cordum.core.routing.workers import Worker
from cordum.runtime import metrics
from cordum.runtime.clock import Clock
from cordum.runtime.ids import Ids
from cordum.runtime.logging import get_logger
from cordum.runtime.session_keys import TrustKey
from cordum.services.scheduler.constraints import constrain, deadline_at_dispatch
from cordum.services.scheduler.holding import Holding
from cordum.services.scheduler.ticket import Ticket
from cordum.store import Applied, Store

log = get_logger(__name__)

PUBLISH_PAUSES: Final = (0.1, 0.4, 1.0)
"""Seconds between tries to publish one dispatch under its message id before it is taken back."""

REPUBLISH_WITHIN: Final = 100.0
"""Seconds after a dispatch during which JetStream drops a double of its message (its window is two minutes)."""


_SIGNED_WITH: Final = ec.ECDSA(hashes.SHA256())


class Dispatched(Enum):
    """What became of a dispatch."""

    SENT = "sent"
    BEATEN = "beaten"
    """Somebody else moved the job first; nothing was sent."""
    UNSENT = "unsent"
    """Committed, could not be published, taken back: the job waits again."""


class Dispatcher:
    """Commits and publishes dispatches."""

    def __init__(
        self, bus: Bus, store: Store, holding: Holding, clock: Clock, ids: Ids, trust: TrustKey | None = None
    ) -> None:
        """`trust`: what dispatches are signed with, where workers may ask for it."""
        self._trust = trust
        self._bus = bus
        self._store = store
        self._holding = holding
        self._clock = clock
        self._ids = ids

    async def dispatch(self, ticket: Ticket, verdict: Verdict, worker: Worker) -> Dispatched:
        """Gives the ticket's job to `worker`, whose slot is reserved before anything else happens.

        Raises:
            BadPacketError: the job cannot be put into a packet that workers accept; nothing was done.
            StoreError: it is not known whether the commit was made; the redelivered submit finds out.
        """
        record = ticket.record
        now = micros(self._clock.now())
        change = lifecycle.dispatch(
            record,
            verdict,
            worker=worker.id,
            pool=worker.pool,
            dispatch_id=DispatchId(self._ids.new()),
            now=now,
            deadline=deadline_at_dispatch(record, ticket.request, verdict.constraints, now),
        )
        running = _running(record, verdict, worker, change, now)
        constrain(ticket.request, verdict.constraints)
        data = self._message(ticket, running)
        self._holding.take(running, ours=True)
        try:
            outcome = await self._store.jobs.apply(record.id, change, now=now, known=record)
        except BaseException:
            self._holding.release(record.id, running.dispatch_id)
            raise
        if not isinstance(outcome, Applied):
            self._holding.release(record.id, running.dispatch_id)
            return Dispatched.BEATEN
        self._holding.remember(running)
        if await self._publish(ticket, running, data):
            metrics.JOBS_DISPATCHED.labels(record.topic).inc()
            metrics.DISPATCH_LATENCY.labels(record.topic).observe(self._clock.monotonic() - ticket.received_at)
            return Dispatched.SENT
        await self._take_back(record, running)
        return Dispatched.UNSENT

    async def publish_again(self, ticket: Ticket) -> bool:
        """Publishes the message of a dispatch that was committed before a crash, unless it was sent already.

        The caller has made sure that the dispatch is younger than REPUBLISH_WITHIN.

        Raises:
            BusError: it is not known whether it was sent.
        """
        running = ticket.record
        if running.safety_constraints is not None:
            constrain(ticket.request, running.safety_constraints)
        data = self._message(ticket, running)
        self._holding.take(running, ours=True)
        self._holding.remember(running)
        # The stream would drop a double, but the worker, who does not listen to the stream, would run it twice.
        if await self._bus.has_stored(STREAM_JOBS, msg_id_request(running.id, running.dispatch_id)):
            return True
        return await self._publish(ticket, running, data)

    def _message(self, ticket: Ticket, running: JobRecord) -> bytes:
        packet, request = ticket.packet, ticket.request
        packet.sender_id = SCHEDULER_ID
        packet.protocol_version = 1
        packet.created_at.FromMicroseconds(micros(self._clock.now()))
        packet.ClearField("auth_token")
        packet.ClearField("signature")
        dispatch = request.dispatch
        dispatch.dispatch_id = running.dispatch_id
        dispatch.attempt = running.attempts
        dispatch.assigned_worker_id = running.worker_id
        data = envelope.encode(packet)
        if self._trust is None:
            return data
        # CAP's signature of a packet: a worker with a trust configuration takes jobs from nobody else.
        packet.signature = self._trust.key.sign(data, _SIGNED_WITH)
        signed: bytes = packet.SerializeToString(deterministic=True)
        return signed

    async def _publish(self, ticket: Ticket, running: JobRecord, data: bytes) -> bool:
        subject = worker_jobs(running.worker_id)
        msg_id = msg_id_request(running.id, running.dispatch_id)
        for pause in (*PUBLISH_PAUSES, None):
            try:
                await self._bus.publish(subject, data, msg_id=msg_id, headers=ticket.headers)
                return True
            except PublishError as error:
                log.warning(
                    "a dispatch was not acknowledged",
                    event="dispatch_publish_failed",
                    job_id=running.id,
                    worker_id=running.worker_id,
                    error=error.message,
                )
                if pause is not None:
                    await asyncio.sleep(pause)
                    if await self._needs_no_more(running, msg_id):
                        return True
        return False

    async def _needs_no_more(self, running: JobRecord, msg_id: str) -> bool:
        """Whether a dispatch must not be published again: it was stored and only the answer got lost, or the job is
        not the worker's any more. A worker would run it a second time. Where neither can be learnt, it is published."""
        try:
            if await self._bus.has_stored(STREAM_JOBS, msg_id):
                return True
            record = await self._store.jobs.get(running.id)
        except CordumError:
            return False
        return record is not None and (record.state not in WITH_WORKER or record.dispatch_id != running.dispatch_id)

    async def _take_back(self, before: JobRecord, running: JobRecord) -> None:
        metrics.DISPATCH_ROLLBACK.labels(running.topic).inc()
        change = lifecycle.undo_dispatch(before, running.dispatch_id)
        await self._store.jobs.apply(running.id, change, now=micros(self._clock.now()), known=running)
        self._holding.forget(running.id)
        self._holding.release(running.id, running.dispatch_id)


def _running(record: JobRecord, verdict: Verdict, worker: Worker, change: lifecycle.Change, now: Micros) -> JobRecord:
    """The record as the dispatch writes it, as far as the scheduler reads it again."""
    return msgspec.structs.replace(
        record,
        state=JobState.RUNNING,
        updated_at=now,
        attempts=record.attempts + 1,
        worker_id=worker.id,
        pool=PoolName(worker.pool),
        dispatch_id=DispatchId(change.fields["dispatch_id"]),
        dispatched_at=now,
        deadline_unix=change.deadline,
        pending_reason="",
        placement_tries=0,
        safety_decision=verdict.decision.value,
        safety_constraints=None if verdict.constraints.is_empty else verdict.constraints,
    )
