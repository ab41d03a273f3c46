"""What the other schedulers do, overheard: the jobs they dispatch take slots, the results they get give them back.

With this every replica has nearly the same view of the fleet without asking anybody; what slips through is corrected
from the records when heartbeats contradict it (`SlotAudit`).
"""

import asyncio
from typing import Final

from cordum.bus import Bus, CoreMessage, Subscription, envelope, subjects
from cordum.bus.errors import BadPacketError
from cordum.core.errors import CordumError
from cordum.core.ids import DispatchId, JobId, PoolName, TenantId, Topic, WorkerId, micros
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import WITH_WORKER, JobState
from cordum.core.policy.decision import Budgets, Constraints
from cordum.core.routing.fleet import Fleet
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.services.scheduler.constraints import MAX_CONCURRENT_ENV
from cordum.services.scheduler.holding import Holding, is_end
from cordum.services.scheduler.losses import Losses
from cordum.services.scheduler.trust.gate import WorkerGate
from cordum.store import Store

log = get_logger(__name__)

AUDIT_PERIOD: Final = 2.0
"""Seconds between looks for holds that heartbeats contradict."""

_LIMITED: Final = Constraints(budgets=Budgets(max_concurrent_jobs=1))
"""What we know of the constraints of a peer's job: that there is such a limit."""

AUDITED_AT_ONCE: Final = 200
LEARNT_AT_START: Final = 20_000


class PeerTaps:
    """Listens to direct dispatches and results. Our own dispatches are not echoed to us."""

    def __init__(self, bus: Bus, fleet: Fleet, holding: Holding, gate: WorkerGate) -> None:
        self._bus = bus
        self._gate = gate
        self._fleet = fleet
        self._holding = holding
        self._subscriptions: list[Subscription] = []

    async def start(self) -> None:
        """Listens from here on."""
        self._subscriptions = [
            await self._bus.subscribe(subjects.ALL_WORKER_JOBS, self._on_dispatch),
            await self._bus.subscribe(subjects.JOB_RESULT, self._on_result),
        ]

    async def stop(self) -> None:
        for subscription in self._subscriptions:
            await subscription.unsubscribe()

    async def _on_dispatch(self, message: CoreMessage) -> None:
        try:
            packet = envelope.decode(message.data)
        except BadPacketError:
            return
        if packet.WhichOneof("payload") != "job_request" or packet.sender_id != subjects.SCHEDULER_ID:
            return
        request = packet.job_request
        worker_id = WorkerId(request.dispatch.assigned_worker_id)
        worker = self._fleet.workers.get(worker_id)
        self._holding.take(
            JobRecord(
                id=JobId(request.job_id),
                state=JobState.RUNNING,
                topic=Topic(request.topic),
                tenant=TenantId(request.tenant_id or request.meta.tenant_id),
                worker_id=worker_id,
                pool=worker.pool if worker is not None else PoolName(""),
                dispatch_id=DispatchId(request.dispatch.dispatch_id),
                attempts=request.dispatch.attempt,
                safety_constraints=_LIMITED if request.env.get(MAX_CONCURRENT_ENV) else None,
            ),
            ours=False,
        )

    async def _on_result(self, message: CoreMessage) -> None:
        try:
            packet = envelope.decode(message.data)
        except BadPacketError:
            return
        if packet.WhichOneof("payload") != "job_result" or not self._gate.overheard_result(packet):
            return
        result = packet.job_result
        if packet.sender_id in subjects.RESERVED_IDS:
            self._holding.release(JobId(result.job_id))
        elif packet.sender_id == result.worker_id and is_end(result):
            self._holding.ended_by(result)


class SlotAudit:
    """Compares holds with the records: at the start, to learn them, and later where heartbeats contradict them."""

    def __init__(self, store: Store, fleet: Fleet, holding: Holding, losses: Losses, clock: Clock) -> None:
        self._store = store
        self._fleet = fleet
        self._holding = holding
        self._losses = losses
        self._clock = clock

    async def learn(self) -> None:
        """Takes the slots of all jobs that are with workers now, for a process that has just started.

        Raises:
            StoreError: the store does not answer.
        """
        wall, steady = self._clock.now(), self._clock.monotonic()
        for state in WITH_WORKER:
            ids = await self._store.jobs.ids_in_state(state, micros(wall), LEARNT_AT_START)
            for at in range(0, len(ids), AUDITED_AT_ONCE):
                for record in await self._store.jobs.get_many(ids[at : at + AUDITED_AT_ONCE]):
                    if record is not None and record.state in WITH_WORKER and record.worker_id:
                        age = max(0.0, wall - record.dispatched_at / 1_000_000)
                        self._holding.take(record, ours=False, since=steady - age)

    async def run(self) -> None:
        """Checks doubtful and forgotten holds for as long as the process runs."""
        while True:
            await asyncio.sleep(AUDIT_PERIOD)
            try:
                await self.check()
                self._losses.forgotten()
            except CordumError as error:
                log.debug("holds could not be checked", event="slot_audit_failed", error=error.message)

    async def check(self) -> int:
        """Releases holds whose jobs have ended or moved on unheard; says how many."""
        doubtful = self._fleet.doubtful_holds(self._clock.monotonic(), AUDITED_AT_ONCE)
        if not doubtful:
            return 0
        released = 0
        records = await self._store.jobs.get_many([hold.job_id for hold in doubtful])
        for hold, record in zip(doubtful, records, strict=True):
            if record is None or record.state not in WITH_WORKER or record.dispatch_id != hold.dispatch_id:
                self._holding.release(hold.job_id, hold.dispatch_id)
                released += 1
        return released
