"""Whoever submits, cancels and approves: a process that does with the real store and bus what the gateway does."""

import asyncio
from random import Random
from typing import Final

import msgspec
from cap.pb.cordum.agent.v1 import job_pb2
from google.protobuf.json_format import MessageToJson
from tests.simulation.clocks import NamedIds, SimClock
from tests.simulation.history import Event
from tests.simulation.kernel import CAREFUL, GATE
from tests.simulation.loop import Process
from tests.simulation.replica import Net
from tests.simulation.wire import SimWire

from cordum.bus import Bus, BusError, envelope, subjects
from cordum.bus.messages import msg_id_approved, msg_id_result, msg_id_submit
from cordum.core.ids import JobId, PrincipalId, TenantId, Topic, TraceId, micros
from cordum.core.jobs import approvals, lifecycle
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.store import Applied, NewJob, Store, StoreError

TENANT: Final = TenantId("default")


class Wish(msgspec.Struct, kw_only=True):
    """A job of the plan.

    Attributes:
        at: when it is submitted, seconds.
        on_bus: past the gateway, by a message alone.
        cancel_after: seconds until somebody wants it stopped; 0 = nobody does.
        decide_after: seconds a person takes to decide, where one is asked; 0 = for ever.
        rejected: what the person says.
        twice: the message is published a second time, under another id.
    """

    job_id: str
    topic: str
    at: float
    on_bus: bool = False
    cancel_after: float = 0.0
    deadline_ms: int = 0
    decide_after: float = 0.0
    rejected: bool = False
    twice: bool = False


class Gateway:
    """One gateway process, and the clients behind it."""

    def __init__(self, net: Net, random: Random, wishes: list[Wish]) -> None:
        self._net = net
        self._random = random
        self._wishes = wishes
        self._lives = 0
        self.process = Process("gateway")
        self.process.alive = False
        self.clock = SimClock(net.loop)
        self.wire: SimWire | None = None
        self.accepted: set[str] = set()
        self.begun: set[str] = set()

    def start(self) -> None:
        if self.process.alive:
            return
        self._lives += 1
        self.process = Process("gateway")
        self.wire = SimWire(self._net.broker, self.process)
        self._net.loop.spawn(self.process, self._run(self.process, self.wire), "gateway")

    def kill(self) -> None:
        if self.process.alive:
            self._note("killed")
            self._net.loop.kill(self.process)
            assert self.wire is not None
            self.wire.hang_up()

    async def _run(self, process: Process, wire: SimWire) -> None:
        store = self._net.store(process, self.clock, NamedIds(f"gateway.{self._lives}"))
        bus = await self._net.bus(process, wire)
        while True:
            try:
                await bus.ensure_streams()
                break
            except BusError:
                await asyncio.sleep(0.3)
        await asyncio.gather(*(self._serve(wish, store, bus) for wish in self._wishes))

    async def _serve(self, wish: Wish, store: Store, bus: Bus) -> None:
        loop = self._net.loop
        if wish.job_id not in self.begun:
            await asyncio.sleep(max(0.0, wish.at - loop.time()))
            self.begun.add(wish.job_id)
            await self._submit(wish, store, bus)
        job_id = JobId(wish.job_id)
        if wish.cancel_after:
            await asyncio.sleep(max(0.0, wish.at + wish.cancel_after - loop.time()))
            await self._cancel(job_id, store, bus)
        elif wish.decide_after and wish.topic in (CAREFUL, GATE):
            await asyncio.sleep(max(0.0, wish.at + wish.decide_after - loop.time()))
            await self._decide(wish, store, bus)

    async def _submit(self, wish: Wish, store: Store, bus: Bus) -> None:
        request = _request(wish)
        packet = envelope.packet(subjects.GATEWAY_ID, f"trace-{wish.job_id}", self.clock.now())
        packet.job_request.CopyFrom(request)
        data = envelope.encode(packet)
        if not wish.on_bus:
            now = micros(self.clock.now())
            record = JobRecord(
                id=JobId(wish.job_id),
                state=JobState.PENDING,
                created_at=now,
                updated_at=now,
                topic=Topic(wish.topic),
                tenant=TENANT,
                principal=PrincipalId("tester"),
                trace_id=TraceId(f"trace-{wish.job_id}"),
                deadline_unix=micros(self.clock.now() + wish.deadline_ms / 1000) if wish.deadline_ms else micros(0),
            )
            stored = MessageToJson(request, indent=None).encode()
            try:
                await store.jobs.create(NewJob(record=record, request=stored, context=b'{"prompt":"hello"}'))
            except StoreError as error:
                self._note("refuses", wish.job_id, error.message)
                return
            self._accept(wish)
        try:
            await bus.publish(subjects.JOB_SUBMIT, data, msg_id=msg_id_submit(wish.job_id))
        except BusError as error:
            self._note("unpublished", wish.job_id, error.message)
            return
        self._accept(wish)
        if wish.twice:
            await self._publish(bus, data, f"again:{wish.job_id}")

    def _accept(self, wish: Wish) -> None:
        if wish.job_id not in self.accepted:
            self.accepted.add(wish.job_id)
            self._note("accepts", wish.job_id, wish.topic)

    async def _publish(self, bus: Bus, data: bytes, msg_id: str) -> None:
        try:
            await bus.publish(subjects.JOB_SUBMIT, data, msg_id=msg_id)
        except BusError as error:
            self._note("unpublished", msg_id, error.message)

    async def _cancel(self, job_id: JobId, store: Store, bus: Bus) -> None:
        for _ in range(5):
            try:
                # Ended or not: what was read is of the past by the time it is acted on.
                record = await store.jobs.get(job_id)
                if record is None:
                    return
                now = micros(self.clock.now())
                await store.endings.begin(job_id, JobState.CANCELLED, now)
                outcome = await store.jobs.apply(job_id, lifecycle.cancel("not wanted"), now=now, known=record)
                if isinstance(outcome, Applied):
                    await self._tell_of_cancel(record, bus)
                elif outcome.state is JobState.CANCELLED:
                    return  # an earlier try made it: a scheduler tells of it
                await store.endings.told(job_id, JobState.CANCELLED)
                return
            except (StoreError, BusError):
                await asyncio.sleep(0.5)

    async def _tell_of_cancel(self, record: JobRecord, bus: Bus) -> None:
        stop = envelope.packet(subjects.GATEWAY_CONTROL_ID, record.id, self.clock.now())
        stop.job_cancel.job_id = record.id
        stop.job_cancel.requested_by = subjects.GATEWAY_CONTROL_ID
        ended = envelope.packet(subjects.GATEWAY_CONTROL_ID, record.id, self.clock.now())
        ended.job_result.job_id = record.id
        ended.job_result.status = job_pb2.JOB_STATUS_CANCELLED
        ended.job_result.worker_id = subjects.GATEWAY_CONTROL_ID
        for subject, packet in ((subjects.JOB_CANCEL, stop), (subjects.JOB_RESULT, ended)):
            await bus.publish(subject, envelope.encode(packet), msg_id=msg_id_result(subject, record.id))
        self._note("cancels", record.id)

    async def _decide(self, wish: Wish, store: Store, bus: Bus) -> None:
        """A person approves or rejects, whenever there is something to decide."""
        job_id = JobId(wish.job_id)
        while True:
            try:
                record = await store.jobs.get(job_id)
                if record is not None and record.state.is_terminal:
                    return
                if record is not None and record.state is JobState.APPROVAL_REQUIRED:
                    await self._say(wish, record, store, bus)
            except (StoreError, BusError) as error:
                self._note("undecided", job_id, error.message)
            await asyncio.sleep(0.7)

    async def _say(self, wish: Wish, record: JobRecord, store: Store, bus: Bus) -> None:
        now = micros(self.clock.now())
        word = approvals.Resolution(by="boss", role="admin", at=now)
        change = approvals.reject(record, word) if wish.rejected else approvals.approve(record, word)
        self._note("rejects" if wish.rejected else "approves", record.id)
        outcome = await store.jobs.apply(record.id, change, now=now, known=record)
        if isinstance(outcome, Applied) and not wish.rejected and self._random.random() < 0.8:
            packet = envelope.packet(subjects.GATEWAY_ID, f"trace-{record.id}", self.clock.now())
            packet.job_request.CopyFrom(_request(wish))
            msg_id = msg_id_approved(subjects.JOB_SUBMIT, record.id, record.approval_revision)
            await self._publish(bus, envelope.encode(packet), msg_id)

    def _note(self, what: str, job_id: str = "", detail: str = "") -> None:
        self._net.history.add(Event(self._net.loop.time(), "gateway", what, job_id, detail))


def _request(wish: Wish) -> job_pb2.JobRequest:
    request = job_pb2.JobRequest(
        job_id=wish.job_id,
        topic=wish.topic,
        priority=job_pb2.JOB_PRIORITY_INTERACTIVE,
        tenant_id=TENANT,
        principal_id="tester",
        env={"tenant_id": TENANT},
    )
    if not wish.on_bus:
        request.context_ptr = f"redis://ctx:{wish.job_id}"
    if wish.deadline_ms:
        request.budget.deadline_ms = wish.deadline_ms
    return request
