"""What the rows share: the stack's addresses, prebuilt requests, the worker, the meters, and how "all done" is seen."""

import asyncio
import gc
import os
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec

from bench.http import Endpoint, build_request
from bench.load import Client, ClosedLoop
from bench.nats import NatsClient
from bench.procs import CpuMeter, CpuSpent
from bench.worker import BenchWorker

ACTIVE_STATES = ("PENDING", "SCHEDULED", "DISPATCHED", "RUNNING", "RETRYING")
POLL_S = 0.02
CONNECTIONS = 64
API = "/api/v1"


class BenchError(Exception):
    """A row could not be measured; the message says what to do about it."""


@dataclass(frozen=True)
class Addresses:
    """A running stack. Empty texts are interfaces this run cannot reach; rows that need them are left out."""

    http: str = ""
    kernel: str = ""
    nats: str = ""
    redis: str = ""
    api_key: str = ""
    pids: Mapping[str, list[int]] = field(default_factory=dict)
    started_in: float = 0.0  # seconds; only of a stack the bench started itself


@dataclass(frozen=True)
class Workload:
    """What the bench's jobs look like; the stack must route `topic` to `pool` and its policy must allow it."""

    topic: str = "job.bench"
    pool: str = "bench"
    tenant: str = "default"
    principal: str = "bench"
    capacity: int = 512


@dataclass(frozen=True)
class Effort:
    """How long one repeat may take: `seconds` for timed rows, `jobs` for counted ones."""

    seconds: float
    jobs: int

    def warm_up(self) -> "Effort":
        return Effort(max(0.5, self.seconds / 5), max(100, self.jobs // 10))


class JobView(msgspec.Struct):
    """The part of a job's answer the bench reads."""

    state: str = ""
    job_id: str = ""
    id: str = ""


class JobPage(msgspec.Struct):
    items: list[JobView] = []


_VIEW = msgspec.json.Decoder(JobView)
_PAGE = msgspec.json.Decoder(JobPage)


class Lab:
    """One stack under measurement. Closing it stops the worker and the connections, nothing else."""

    def __init__(self, addresses: Addresses, workload: Workload) -> None:
        self.addresses = addresses
        self.workload = workload
        self._client: Client | None = None
        self._worker: BenchWorker | None = None
        self._endpoint: Endpoint | None = None
        self._job_ids: list[str] = []

    async def aclose(self) -> None:
        if self._worker is not None:
            await self._worker.stop()
        if self._client is not None:
            self._client.close()

    @property
    def endpoint(self) -> Endpoint:
        if self._endpoint is None:
            self._endpoint = Endpoint.parse(self.addresses.http)
        return self._endpoint

    @property
    def client(self) -> Client:
        if self._client is None:
            self._client = Client(self.endpoint)
        return self._client

    def get(self, path: str) -> bytes:
        """A GET below /api/v1, or of exactly `path` when it is not an API route (`//health`)."""
        target = path[1:] if path.startswith("//") else API + path
        return build_request("GET", target, self.endpoint, self._headers())

    def submit_request(self) -> bytes:
        """One POST /jobs; without an idempotency key, so it may be sent any number of times."""
        body = {
            "topic": self.workload.topic,
            "prompt": "Summarise the quarterly report and list the open questions.",
            "priority": "interactive",
            "capability": "bench.run",
            "labels": {"env": "dev", "source": "bench"},
            "context": {"document": "report-2026-q3", "pages": [1, 2, 3], "language": "en"},
        }
        return build_request("POST", f"{API}/jobs", self.endpoint, self._headers(), msgspec.json.encode(body))

    def _headers(self) -> dict[str, str]:
        return {"X-API-Key": self.addresses.api_key, "X-Tenant-ID": self.workload.tenant}

    async def worker(self) -> BenchWorker:
        """The bench's worker, started on first use and known to the scheduler when this returns."""
        if self._worker is None:
            nats = await NatsClient.connect(self.addresses.nats, name="cordum-bench-worker")
            work = self.workload
            name = f"bench-worker-{os.getpid()}"
            self._worker = BenchWorker(
                nats, worker_id=name, pool=work.pool, topics=[work.topic], capacity=work.capacity
            )
            await self._worker.start()
            await self._settle()
        self._worker.forget()
        return self._worker

    @property
    def running_worker(self) -> BenchWorker:
        if self._worker is None:
            raise BenchError("the worker was not started")
        return self._worker

    async def _settle(self) -> None:
        """Wait until a job goes all the way through, so that no row measures the stack's getting ready."""
        if not self.addresses.http:
            await asyncio.sleep(2.0)
            return
        request, until = self.submit_request(), time.monotonic() + 30.0
        said = "no answer"
        while time.monotonic() < until:
            status, body = await self.client(request)
            if 200 <= status < 300:
                job_id = read_job_id(body)
                status, body = await self.client(self.get(f"/jobs/{job_id}?wait=5s"))
                if status == 200 and _VIEW.decode(body).state == "SUCCEEDED":
                    return
            said = f"status {status}: {body[:300].decode(errors='replace')}"
            await asyncio.sleep(0.2)
        raise BenchError(f"a job on {self.workload.topic!r} did not succeed within 30 s; the last answer was {said}")

    async def job_ids(self, count: int) -> list[str]:
        """Ids of at least `count` finished jobs of this run; submits what is missing."""
        if len(self._job_ids) < count:
            worker = await self.worker()
            request = self.submit_request()
            missing = count - len(self._job_ids)
            loop = ClosedLoop(self.endpoint, lambda _: request, connections=32, count=missing, keep_bodies=missing)
            outcome = await loop.run()
            if outcome.good < missing:
                raise BenchError(f"could not submit {missing} jobs: {'; '.join(outcome.faults())}")
            await worker.answered_all(missing, 60.0)
            self._job_ids += [read_job_id(body) for body in outcome.bodies]
        return self._job_ids[:count]

    async def all_quiet(self, since: float, timeout: float) -> bool:
        """Whether GET /jobs shows no active job of the workload's topic within `timeout` s; `since` is Unix seconds."""
        after = int(since * 1e6)
        topic = self.workload.topic
        requests = [
            self.get(f"/jobs?state={state}&topic={topic}&updated_after={after}&limit=1") for state in ACTIVE_STATES
        ]
        proof = self.get(f"/jobs?state=SUCCEEDED&topic={topic}&updated_after={after}&limit=1")
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            still = []
            for request in requests:
                status, body = await self.client(request)
                if status != 200:
                    raise BenchError(f"GET /jobs?state=... answered {status}: {body[:200].decode(errors='replace')}")
                if _PAGE.decode(body).items:
                    still.append(request)
                    break
            if not still:
                status, body = await self.client(proof)
                if status != 200 or not _PAGE.decode(body).items:
                    raise BenchError("GET /jobs shows none of the finished jobs, so it cannot tell when all are done")
                return True
            await asyncio.sleep(POLL_S)
        return False

    async def count_succeeded(self, job_ids: Sequence[str]) -> int:
        """How many of the jobs GET /jobs/{id} shows as SUCCEEDED."""
        requests = [self.get(f"/jobs/{job_id}") for job_id in job_ids]
        loop = ClosedLoop(
            self.endpoint, requests.__getitem__, connections=32, count=len(requests), keep_bodies=len(requests)
        )
        outcome = await loop.run()
        return sum(_VIEW.decode(body).state == "SUCCEEDED" for body in outcome.bodies)

    @asynccontextmanager
    async def metered(self) -> AsyncIterator["Reading"]:
        """Measures CPU while the block runs, with the driver's garbage collector held."""
        meter, reading = CpuMeter(self.addresses.pids), Reading()
        gc.collect()
        gc.disable()
        try:
            started = time.perf_counter()
            meter.start()
            yield reading
            reading.spent = meter.stop()
            reading.elapsed = time.perf_counter() - started
        finally:
            gc.enable()


@dataclass
class Reading:
    """Filled when the metered block has ended. `elapsed` is seconds."""

    spent: CpuSpent = field(default_factory=lambda: CpuSpent({}, 0.0))
    elapsed: float = 0.0

    @property
    def others(self) -> float:
        return self.spent.others(self.elapsed)


def read_job_id(body: bytes) -> str:
    """Of a submit's answer; raises BenchError when there is none."""
    try:
        job_id = _VIEW.decode(body).job_id
    except msgspec.DecodeError:
        job_id = ""
    if not job_id:
        raise BenchError(f"the answer to POST /jobs holds no job_id: {body[:200].decode(errors='replace')}")
    return job_id


def read_state(body: bytes) -> str:
    return _VIEW.decode(body).state


def new_job_id() -> str:
    return str(uuid.uuid4())
