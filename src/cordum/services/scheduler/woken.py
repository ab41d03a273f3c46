"""A job without a message: parked and woken, or found waiting with its message lost. It goes the way of a submit."""

from typing import Final

from cap.pb.cordum.agent.v1 import job_pb2
from google.protobuf.json_format import Parse, ParseError

from cordum.core.ids import JobId
from cordum.core.jobs import retry
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import WAITING, WITH_WORKER
from cordum.core.routing.lanes import LaneName
from cordum.rpc.kernel_client import KernelUnavailableError
from cordum.runtime import metrics
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.services.scheduler import parking
from cordum.services.scheduler.parking import Parking, Wakened
from cordum.services.scheduler.placing import Placing
from cordum.services.scheduler.settling import Settling
from cordum.services.scheduler.ticket import Later, ticket_from_stored
from cordum.store import Store

log = get_logger(__name__)

MOVING: Final = 10.0
"""Seconds in which a job that is just being taken from its worker may still show the worker."""


class WokenJobs:
    """Places jobs from what the store knows of them."""

    def __init__(self, *, store: Store, placing: Placing, settling: Settling, parking: Parking, clock: Clock) -> None:
        self._store = store
        self._placing = placing
        self._settling = settling
        self._parking = parking
        self._clock = clock

    async def from_lane(self, job_id: JobId, lane: LaneName, due: Wakened) -> bool:
        """Tries a job taken from a lane; afterwards it is gone from there, or has another time to wake.

        Returns:
            Whether it is parked no more.

        Raises:
            CordumError: it could not be tried; its lease brings it back.
        """
        detail = await self._store.jobs.get_detail(job_id)
        record = detail.record if detail is not None else None
        if detail is None or record is None or record.state not in WAITING:
            if record is None or record.state not in WITH_WORKER or self._age(record) > MOVING:
                await self._parking.remove(lane, job_id)
            return True
        parked_in = await self.place(record, detail.context, due)
        if parked_in != lane:
            await self._parking.remove(lane, job_id)
        return parked_in is None

    async def place(self, record: JobRecord, context: bytes | None, due: Wakened = Wakened.BY_TIME) -> LaneName | None:
        """Places a waiting job.

        Returns:
            Where it is parked now; None when it is not, because it is with a worker or at its end.
        """
        stored = await self._store.jobs.request(record.id)
        request = job_pb2.JobRequest()
        try:
            Parse(stored or b"", request, ignore_unknown_fields=True)
        except (ParseError, UnicodeDecodeError) as error:
            log.error("a job's request cannot be read", event="request_unreadable", job_id=record.id, error=str(error))
            await self._settling.fail(record, "the job's request is lost or unreadable", "dispatch_failed")
            return None
        ticket = ticket_from_stored(
            request, record, context=context, received_at=self._clock.monotonic(), now=self._clock.now()
        )
        ticket.early = due is Wakened.BY_EVENT
        try:
            placed = await self._placing.place(ticket)
        except KernelUnavailableError:
            metrics.SAFETY_UNAVAILABLE.labels(record.topic).inc()
            reason, delay = parking.SAFETY_UNAVAILABLE, retry.SAFETY_CEILING
            tries = record.placement_tries
            return await self._parking.park(record, parking.DELAYED, reason, delay=delay, tries=tries, rank=ticket.rank)
        if isinstance(placed, Later):
            return await self._parking.park_again(record, parking.DELAYED, placed.delay)
        return ticket.lane or None

    def _age(self, record: JobRecord) -> float:
        return self._clock.now() - record.updated_at / 1_000_000
