"""From the bus to the clients: whose is an event, and may its sender speak of that job? (spec-gateway section 12)

Results, progress and cancels name only their job. Its tenant is looked up, many at once, and remembered; so is who
holds it, for a moment: what another worker says about it is not relayed as the job's.
"""

import asyncio
from collections import OrderedDict
from typing import Final

import msgspec
from cap.pb.cordum.agent.v1.buspacket_pb2 import BusPacket

from cordum.bus import BadPacketError, Bus, CoreMessage, Subscription, envelope, subjects
from cordum.core.errors import CordumError
from cordum.core.ids import JobId, TenantId, WorkerId
from cordum.runtime import metrics
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.runtime.settings import GatewaySettings
from cordum.services.gateway.errors import ApiError
from cordum.services.gateway.stream import packets
from cordum.services.gateway.stream.clients import Audience, Client, Event
from cordum.store import Store

log = get_logger(__name__)

QUEUE: Final = 512
"""Messages that wait to be relayed; more are dropped and counted."""
BATCH: Final = 64
REMEMBERED: Final = 10_000
"""Jobs whose tenant is remembered."""
FRESH: Final = 1.0
"""Seconds for which it is believed who holds a job."""
MOST_CLIENTS: Final = 1_000
_CONNECT_PATIENCE: Final = 3.0  # seconds

_TAPPED: Final = (
    subjects.ALL_JOB_EVENTS,
    subjects.ALL_AUDIT_EVENTS,
    subjects.HEARTBEAT,
    subjects.WORKFLOW_EVENT,
    subjects.ALERT,
)
_CONFIDENTIAL: Final = "sys.audit."
"""Alerts below this subject that name no tenant are shown to nobody who does not see all tenants."""


class _Known(msgspec.Struct, frozen=True):
    tenant: TenantId
    worker_id: WorkerId
    dispatch_id: str
    read_at: float


class _Arrived(msgspec.Struct, frozen=True):
    packet: BusPacket
    kind: str
    job_id: JobId
    subject: str


class Relay:
    """Listens while anybody watches."""

    def __init__(self, settings: GatewaySettings, store: Store, clock: Clock) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._audience = Audience()
        self._bus: Bus | None = None
        self._taps: list[Subscription] = []
        self._changing = asyncio.Lock()
        self._queue: asyncio.Queue[CoreMessage] = asyncio.Queue(QUEUE)
        self._relaying: asyncio.Task[None] | None = None
        self._known: OrderedDict[JobId, _Known] = OrderedDict()
        self._numbers = 0
        self._closed = False

    @property
    def clients(self) -> int:
        """How many watch."""
        return self._audience.count

    async def join(self, client: Client) -> None:
        """From here on the client gets its events.

        Raises:
            ApiError: 503, there are too many, or the bus is away.
        """
        async with self._changing:
            if self._closed or self._audience.count >= MOST_CLIENTS:
                raise ApiError("overloaded")
            if not self._taps:
                await self._listen()
            self._audience.add(client)

    async def leave(self, client: Client) -> None:
        """The client gets nothing more; with the last one nobody listens to the bus any more."""
        async with self._changing:
            self._audience.remove(client)
            if not self._audience.count:
                await self._stop_listening()

    async def aclose(self) -> None:
        """Ends the relay."""
        async with self._changing:
            self._closed = True
            self._audience.end()
            await self._stop_listening()
            bus, self._bus = self._bus, None
        if bus is not None:
            await bus.aclose(grace=1.0)

    async def _listen(self) -> None:
        try:
            if self._bus is None:
                # A connection of its own: on the gateway's, nobody hears what this gateway publishes itself.
                self._bus = await Bus.connect(self._settings, name="cordum-stream", patience=_CONNECT_PATIENCE)
            taps = [await self._bus.subscribe(subject, self._on_message) for subject in _TAPPED]
            await self._bus.ping()  # the server knows of them now: who is let in misses nothing from here on
        except CordumError as error:
            log.warning("the event stream cannot listen", event="stream_not_listening", error=error.message)
            raise ApiError("overloaded", "the event stream is not available now") from error
        self._taps = taps
        self._relaying = asyncio.create_task(self._relay(), name="event relay")

    async def _stop_listening(self) -> None:
        taps, self._taps = self._taps, []
        for tap in taps:
            await tap.unsubscribe()
        relaying, self._relaying = self._relaying, None
        if relaying is not None:
            relaying.cancel()
            await asyncio.gather(relaying, return_exceptions=True)
        while not self._queue.empty():
            self._queue.get_nowait()

    async def _on_message(self, message: CoreMessage) -> None:
        try:
            self._queue.put_nowait(message)
        except asyncio.QueueFull:
            metrics.WS_EVENTS_DROPPED.inc()

    async def _relay(self) -> None:
        while True:
            messages = [await self._queue.get()]
            while len(messages) < BATCH and not self._queue.empty():
                messages.append(self._queue.get_nowait())
            try:
                arrived = [one for message in messages if (one := _read(message)) is not None]
                await self._look_up(arrived)
                for one in arrived:
                    self._deliver(one)
            except CordumError as error:
                metrics.WS_EVENTS_DROPPED.inc(len(messages))
                log.warning("events are not relayed", event="stream_events_dropped", error=error.message)
            except Exception:
                metrics.WS_EVENTS_DROPPED.inc(len(messages))
                log.exception("events are not relayed", event="stream_events_dropped")

    async def _look_up(self, arrived: list[_Arrived]) -> None:
        """Learns about the jobs these events are of, as far as it is not known well enough."""
        wanted = list(dict.fromkeys(one.job_id for one in arrived if one.job_id and not self._is_settled(one)))
        now = self._clock.monotonic()
        for record in await self._store.jobs.get_many(wanted):
            if record is not None:
                self._known[record.id] = _Known(record.tenant, record.worker_id, record.dispatch_id, now)
                self._known.move_to_end(record.id)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def _is_settled(self, one: _Arrived) -> bool:
        """Whether nothing has to be looked up for an event."""
        if one.kind == "job_request":
            return bool(packets.tenant_named(one.packet, one.kind))
        known = self._known.get(one.job_id)
        if known is None:
            return False
        if one.packet.sender_id in subjects.RESERVED_IDS:
            return True
        fresh = self._clock.monotonic() - known.read_at < FRESH
        return fresh and _holds(one, known)

    def _deliver(self, one: _Arrived) -> None:
        clients = self._recipients(one)
        if not clients:
            return
        self._numbers += 1
        event = Event(one.kind, packets.rendered(one.packet, one.kind), one.job_id, self._numbers)
        for client in clients:
            client.offer(event)

    def _recipients(self, one: _Arrived) -> list[Client]:
        tenant = packets.tenant_named(one.packet, one.kind)
        if not one.job_id:
            if tenant:
                return self._audience.of_tenant(tenant, one.job_id)
            return self._audience.of_nobody() if one.subject.startswith(_CONFIDENTIAL) else self._audience.everybody()
        known = self._known.get(one.job_id)
        if one.kind != "job_request":
            if known is None or not _may_speak(one, known):
                return []
            tenant = known.tenant
        elif known is not None:
            tenant = known.tenant
        return self._audience.of_tenant(tenant, one.job_id)


def _read(message: CoreMessage) -> _Arrived | None:
    try:
        packet = envelope.decode(message.data)
    except BadPacketError:
        return None
    kind = packets.kind_of(packet)
    return _Arrived(packet, kind, packets.job_of(packet, kind), message.subject) if kind else None


def _may_speak(one: _Arrived, known: _Known) -> bool:
    """Whether an event may be shown as the job's: it comes from the control plane, from its worker, or its tenant."""
    if one.packet.sender_id in subjects.RESERVED_IDS:
        return True
    if one.kind == "job_cancel":
        return bool(one.packet.job_cancel.identity.tenant_id == known.tenant)
    if _holds(one, known):
        return True
    log.debug("an event of a job's stranger", event="stream_stranger", job_id=one.job_id, sender=one.packet.sender_id)
    return False


def _holds(one: _Arrived, known: _Known) -> bool:
    """Whether the sender holds the job, as far as that is known: a job may just have been given back."""
    if not known.worker_id:
        return True
    dispatch = packets.dispatch_named(one.packet, one.kind)
    return one.packet.sender_id == known.worker_id and (not dispatch or dispatch == known.dispatch_id)
