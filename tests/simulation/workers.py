"""Workers, as badly behaved as real ones: they die, hang, come back under an old name, answer late, twice or never."""

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Final

from cap.pb.cordum.agent.v1 import handshake_pb2, job_pb2
from cap.pb.cordum.agent.v1.buspacket_pb2 import BusPacket
from tests.simulation.broker import SimBroker
from tests.simulation.clocks import EPOCH
from tests.simulation.history import Event, History
from tests.simulation.loop import Process, SimLoop
from tests.simulation.wire import SimWire, Subscription

from cordum.bus import envelope, subjects

_OUTCOMES: Final = {
    "succeeds": job_pb2.JOB_STATUS_SUCCEEDED,
    "fails": job_pb2.JOB_STATUS_FAILED,
    "fails fatally": job_pb2.JOB_STATUS_FAILED_FATAL,
    "asks again": job_pb2.JOB_STATUS_FAILED_RETRYABLE,
    "is silent": None,
    "answers twice": job_pb2.JOB_STATUS_SUCCEEDED,
    "changes its mind": job_pb2.JOB_STATUS_SUCCEEDED,
    "answers late": job_pb2.JOB_STATUS_SUCCEEDED,
}


class Manners:
    """How the workers of a world behave."""

    def __init__(self, random: Random) -> None:
        self.bad = random.random() < 0.6
        self.echoes = random.random() < 0.8
        self.longest = random.choice((0.1, 0.5, 2.0, 5.0))
        self.weights = [0.3 * random.random() ** 2 if self.bad else 0.0 for _ in _OUTCOMES]
        self.weights[0] = 1.0
        if self.bad:
            self.weights[random.randrange(1, len(_OUTCOMES))] = 4.0 * random.random()

    def haunt(self) -> None:
        """They forget what they do, and answer all the same."""
        self.bad, self.echoes, self.longest = True, True, 4.0
        weights = {"succeeds": 1.0, "answers late": 2.0, "asks again": 1.0}
        self.weights = [weights.get(how, 0.0) for how in _OUTCOMES]

    def good(self) -> None:
        """From now on they do as they should."""
        self.weights = [1.0, *([0.0] * (len(_OUTCOMES) - 1))]
        self.longest = min(self.longest, 0.5)


class _Job:
    __slots__ = ("dispatch", "job_id", "stopped")

    def __init__(self, job_id: str, dispatch: job_pb2.DispatchIdentity) -> None:
        self.job_id = job_id
        self.dispatch = dispatch
        self.stopped = False


class SimWorker:
    """One worker: a process that is started, killed and started again under one name."""

    def __init__(
        self,
        name: str,
        pool: str,
        slots: int,
        *,
        loop: SimLoop,
        broker: SimBroker,
        random: Random,
        history: History,
        manners: Manners,
        beat: float,
        keep: Callable[[str], None],
    ) -> None:
        self.name = name
        self.pool = pool
        self.slots = slots
        self._loop = loop
        self._broker = broker
        self._random = random
        self._history = history
        self._manners = manners
        self._beat_every = beat
        self._keep = keep
        self.process = Process(name)
        self.process.alive = False
        self.wire: SimWire | None = None
        self._jobs: list[_Job] = []
        self._queue: deque[_Job] = deque()

    @property
    def alive(self) -> bool:
        return self.process.alive

    def start(self) -> None:
        if self.process.alive:
            return
        self.process = Process(self.name)
        self.wire = SimWire(self._broker, self.process)
        self._jobs, self._queue = [], deque()
        self.wire.hear(Subscription(self.wire, subjects.worker_jobs(self.name), self._on_job, None))
        self.wire.hear(Subscription(self.wire, subjects.JOB_CANCEL, self._on_cancel, None))
        self._note("starts")
        self._handshake()
        self._beat()

    def kill(self) -> None:
        if self.process.alive:
            self._note("dies")
            self._loop.kill(self.process)
            assert self.wire is not None
            self.wire.hang_up()

    # What it says

    def _packet(self) -> BusPacket:
        return envelope.packet(self.name, f"trace-{self.name}", EPOCH + self._loop.time())

    def _handshake(self) -> None:
        packet = self._packet()
        packet.handshake.component_id = self.name
        packet.handshake.role = handshake_pb2.COMPONENT_ROLE_WORKER
        self._send(subjects.HANDSHAKE, packet)

    def _beat(self) -> None:
        packet = self._packet()
        packet.heartbeat.worker_id = self.name
        packet.heartbeat.pool = self.pool
        packet.heartbeat.max_parallel_jobs = self.slots
        packet.heartbeat.active_jobs = len(self._jobs)
        self._send(subjects.HEARTBEAT, packet)
        self._after(self._beat_every, self._beat)

    def _send(self, subject: str, packet: BusPacket) -> None:
        assert self.wire is not None
        self.wire.send(subject, "", b"", packet.SerializeToString())

    def _after(self, seconds: float, call: object, *args: object) -> None:
        self._loop.call_later(seconds, call, *args, context=self.process.context)  # type: ignore[arg-type]

    # What it does

    def _on_job(self, _subject: bytes, _reply: bytes, data: bytes, _headers: bytes | None) -> None:
        packet = BusPacket.FromString(data)
        request = packet.job_request
        job = _Job(request.job_id, request.dispatch)
        self._note("gets", job, request.dispatch.attempt)
        self._queue.append(job)
        self._next()

    def _next(self) -> None:
        while self._queue and len(self._jobs) < self.slots:
            job = self._queue.popleft()
            self._jobs.append(job)
            self._note("runs", job, job.dispatch.attempt)
            how = self._random.choices(tuple(_OUTCOMES), self._manners.weights)[0]
            took = 0.002 + self._manners.longest * self._random.random() ** 2
            self._after(took, self._finish, job, how)

    def _finish(self, job: _Job, how: str) -> None:
        if job.stopped:
            return
        self._jobs.remove(job)
        status = _OUTCOMES[how]
        if how == "answers late":
            self._after(3.0 + 9.0 * self._random.random(), self._answer, job, status)
        elif status is not None:
            self._answer(job, status)
        if how == "answers twice":
            self._after(2.0 * self._random.random(), self._answer, job, status)
        elif how == "changes its mind":
            self._after(2.0 * self._random.random(), self._answer, job, job_pb2.JOB_STATUS_FAILED)
        self._next()

    def _answer(self, job: _Job, status: job_pb2.JobStatus.ValueType) -> None:
        packet = self._packet()
        result = packet.job_result
        result.job_id = job.job_id
        result.status = status
        result.worker_id = self.name
        if self._manners.echoes:
            result.dispatch.CopyFrom(job.dispatch)
        if status == job_pb2.JOB_STATUS_SUCCEEDED:
            self._keep(f"res:{job.job_id}")
            result.result_ptr = f"redis://res:{job.job_id}"
        else:
            result.error_message = "it did not work"
        self._note("answers", job, job.dispatch.attempt, job_pb2.JobStatus.Name(status))
        self._send(subjects.JOB_RESULT, packet)

    def _on_cancel(self, _subject: bytes, _reply: bytes, data: bytes, _headers: bytes | None) -> None:
        job_id = BusPacket.FromString(data).job_cancel.job_id
        for job in [job for job in self._jobs if job.job_id == job_id]:
            job.stopped = True
            self._jobs.remove(job)
            self._note("stops", job, job.dispatch.attempt)
            if self._random.random() < 0.5:
                self._answer(job, job_pb2.JOB_STATUS_CANCELLED)
        self._queue = deque(job for job in self._queue if job.job_id != job_id)
        self._next()

    def _note(self, what: str, job: _Job | None = None, attempts: int = 0, detail: str = "") -> None:
        self._history.add(
            Event(
                self._loop.time(),
                self.name,
                what,
                job.job_id if job else "",
                detail,
                dispatch=job.dispatch.dispatch_id if job else "",
                attempts=attempts,
            )
        )
