"""One job on its way to a worker, and what can become of the attempt to place it."""

from collections.abc import Mapping
from typing import Final

import msgspec
from cap.pb.cordum.agent.v1 import job_pb2
from cap.pb.cordum.agent.v1.buspacket_pb2 import BusPacket

from cordum.bus import envelope
from cordum.bus.subjects import APPROVAL_GATES, SCHEDULER_ID
from cordum.core.jobs.record import JobRecord
from cordum.core.routing.lanes import LaneName
from cordum.core.routing.turns import Rank, rank_of

SELF_COMPLETING: Final = APPROVAL_GATES | {"job.guard"}
"""Topics without workers: such a job succeeds by being allowed (spec-scheduler 8.2, spec-gateway 3)."""


class Ticket:
    """A job to be placed, from a submit message or from the store.

    Attributes:
        packet: the envelope around the request. It is ours: the dispatch is made by changing it in place.
        record: the job's record as last read.
        context: the job's input as JSON, None when it is not with us.
        received_at: seconds of the steady clock, for the latency metric.
        lane: where it was parked by this attempt, "" when it was not.
        early: whether it was taken from the parked before its time; such a try does not count as one.
    """

    __slots__ = ("context", "early", "headers", "lane", "packet", "received_at", "record")

    def __init__(
        self,
        packet: BusPacket,
        record: JobRecord,
        *,
        context: bytes | None,
        received_at: float,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.packet = packet
        self.record = record
        self.context = context
        self.received_at = received_at
        self.headers = headers
        self.lane = LaneName("")
        self.early = False

    @property
    def request(self) -> job_pb2.JobRequest:
        return self.packet.job_request

    @property
    def rank(self) -> Rank:
        """How urgent it is, by the request's CAP priority."""
        return rank_of(self.packet.job_request.priority)

    @property
    def completes_itself(self) -> bool:
        return self.record.topic in SELF_COMPLETING


def ticket_from_stored(
    request: job_pb2.JobRequest, record: JobRecord, *, context: bytes | None, received_at: float, now: float
) -> Ticket:
    """A ticket for a job whose message is long gone: parked, or lost on the way.

    Args:
        request: `job:req:<id>`.
        now: Unix seconds.
    """
    packet = envelope.packet(SCHEDULER_ID, record.trace_id or record.id, now)
    packet.job_request.CopyFrom(request)
    return Ticket(packet, record, context=context, received_at=received_at)


class Settled(msgspec.Struct, frozen=True):
    """The job is where it belongs (dispatched, parked, ended, or another's): its message may go."""


class Later(msgspec.Struct, frozen=True):
    """Nothing could be settled; try the same again in `delay` seconds."""

    delay: float


Placed = Settled | Later
SETTLED: Final = Settled()
