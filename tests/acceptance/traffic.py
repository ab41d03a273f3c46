"""Clients that post jobs whatever happens, and the books that say what became of every job."""

import asyncio
import json
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
from cap.pb.cordum.agent.v1 import buspacket_pb2, job_pb2
from tests.acceptance.rig import ECHO, ENDED, Rig, comes_true

CLIENTS = 16
_ENDING = frozenset(
    {
        job_pb2.JOB_STATUS_SUCCEEDED,
        job_pb2.JOB_STATUS_FAILED,
        job_pb2.JOB_STATUS_FAILED_FATAL,
        job_pb2.JOB_STATUS_CANCELLED,
        job_pb2.JOB_STATUS_TIMEOUT,
        job_pb2.JOB_STATUS_DENIED,
    }
)


@dataclass
class Burst:
    """What the posting clients saw."""

    accepted: list[str] = field(default_factory=list)
    accepted_at: dict[str, float] = field(default_factory=dict)
    """Unix seconds at which the answer was read."""
    refused: Counter[str] = field(default_factory=Counter)
    """Clear refusals, `503 store_unavailable` and the like, by status and code."""
    broken: int = 0
    """Connections refused or broken: nobody answered, so the client knows to ask again."""
    errors: list[str] = field(default_factory=list)
    """What broke, and when."""
    unclear: list[str] = field(default_factory=list)
    """Anything else, which no client should ever see."""
    again: int = 0
    """Posts asked again, because nobody answered."""
    posted: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def reached(self, posted: int, within: float = 20.0) -> None:
        """Waits until so many posts were answered in one way or another."""
        async with asyncio.timeout(within):
            while self.posted < posted:
                self._changed.clear()
                await self._changed.wait()

    def note(self, answer: httpx.Response | httpx.TransportError) -> None:
        self.posted += 1
        self._changed.set()
        if isinstance(answer, httpx.TransportError):
            self.broken += 1
            self.errors.append(f"{time.monotonic():.3f} {answer!r}")
            return
        try:
            body = answer.json()
        except ValueError:
            body = {}
        if answer.status_code == 200 and body.get("job_id"):
            self.accepted.append(body["job_id"])
            self.accepted_at[body["job_id"]] = time.time()
        elif answer.status_code >= 500 and body.get("code") and body.get("error"):
            self.refused[f"{answer.status_code} {body['code']}"] += 1
        else:
            self.unclear.append(f"{answer.status_code} {answer.text[:200]}")


Choose = Callable[[int], str]
"""Which gateway a post goes to, by its number."""


def one_gateway(number: int) -> str:
    return "gateway"


async def post(rig: Rig, burst: Burst, count: int, seconds: float, choose: Choose = one_gateway) -> None:
    """Posts `count` jobs spread over `seconds`, once each, whatever the answers are."""
    numbers = iter(range(count))
    start = time.monotonic()

    async def one_client() -> None:
        for number in numbers:
            await asyncio.sleep(max(0.0, start + seconds * number / count - time.monotonic()))
            body = {"prompt": f"job {number}", "topic": ECHO}
            try:
                try:
                    answer = await rig.client(choose(number)).post("/api/v1/jobs", json=body)
                except httpx.ConnectError:
                    # Nothing was sent: any balancer asks the next one.
                    answer = await rig.client(choose(number + 1)).post("/api/v1/jobs", json=body)
            except httpx.TransportError as error:
                burst.note(error)
            else:
                burst.note(answer)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(CLIENTS, count)):
            group.create_task(one_client())


async def insist(rig: Rig, burst: Burst, count: int, seconds: float, choose: Choose = one_gateway) -> None:
    """As `post`, but asks again under the same idempotency key until it is answered, as a careful client does."""
    run = uuid.uuid4().hex
    start = time.monotonic()

    async def one_job(number: int) -> None:
        await asyncio.sleep(max(0.0, start + seconds * number / count - time.monotonic()))
        body = {"prompt": f"job {number}", "topic": ECHO, "idempotency_key": f"{run}-{number}"}
        async with asyncio.timeout(30):
            while True:
                try:
                    answer = await rig.client(choose(number)).post("/api/v1/jobs", json=body)
                except httpx.TransportError:
                    burst.again += 1
                    await asyncio.sleep(0.1)
                    continue
                burst.note(answer)
                return

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(one_job(number))


Client = Callable[[Rig, Burst, int, float, Choose], Coroutine[None, None, None]]


@asynccontextmanager
async def bombard(
    rig: Rig, burst: Burst, count: int, seconds: float, choose: Choose = one_gateway, client: Client = post
) -> AsyncIterator[None]:
    """Posts in the background while the body does its harm; returns when every post was answered or failed."""
    async with asyncio.TaskGroup() as group:
        group.create_task(client(rig, burst, count, seconds, choose))
        yield


@dataclass
class Books:
    """What became of every job, from the store's own records and the bus."""

    states: dict[str, str]
    """The state of every job there is a record of."""
    ends: Counter[str]
    """How many terminal events each job has."""
    told: Counter[str]
    """How many ends were published for each job."""
    given: Counter[str]
    """How many times each job was given to a worker."""
    reasons: dict[str, str]

    def lost(self, ids: Iterable[str]) -> list[str]:
        """Jobs without a record, or whose record never came to an end."""
        return [job_id for job_id in ids if self.states.get(job_id) not in ENDED]

    def doubled(self, ids: Iterable[str]) -> list[str]:
        return [job_id for job_id in ids if self.ends[job_id] > 1]

    def line(self, title: str, ids: list[str], more: str = "") -> str:
        """The one line each test prints."""
        once = sum(1 for job_id in ids if self.states.get(job_id) in ENDED and self.ends[job_id] == 1)
        lost, doubled = len(self.lost(ids)), len(self.doubled(ids))
        states = ", ".join(
            f"{state} {count}" for state, count in Counter(self.states.get(i, "none") for i in ids).items()
        )
        return (
            f"{title}: jobs in={len(ids)}, terminal once={once}, lost={lost}, doubled={doubled} ({states})"
            f"{'; ' + more if more else ''}"
        )


class Marks:
    """Where the streams stood when a test began."""

    def __init__(self, rig: Rig, sys: int, jobs: int) -> None:
        self.rig, self.sys, self.jobs = rig, sys, jobs

    @classmethod
    async def set(cls, rig: Rig) -> "Marks":
        return cls(rig, await rig.last_seq("CORDUM_SYS") + 1, await rig.last_seq("CORDUM_JOBS") + 1)


async def settled(rig: Rig, within: float = 40.0) -> float:
    """Waits until every job the API knows has ended; says after how many seconds."""

    async def all_ended() -> bool:
        try:
            found = await rig.client().get(
                "/api/v1/jobs", params={"limit": "1", "state": "PENDING,SCHEDULED,DISPATCHED,RUNNING,RETRYING"}
            )
        except httpx.TransportError:
            return False
        return found.status_code == 200 and not found.json()["items"]

    return await comes_true(all_ended, "every job has ended", within)


async def close_books(rig: Rig, marks: Marks, ids: Iterable[str] = ()) -> Books:
    """Reads everything that is known about every job."""
    listed = await rig.jobs()
    every = sorted({*listed, *ids})
    async with rig.redis.pipeline(transaction=False) as pipeline:
        for job_id in every:
            pipeline.lrange(f"job:events:{job_id}", 0, -1)
        histories = await pipeline.execute()
    ends: Counter[str] = Counter()
    for job_id, history in zip(every, histories, strict=True):
        ends[job_id] = sum(json.loads(entry)["state"] in ENDED for entry in history)
    told: Counter[str] = Counter()
    for _, data in await rig.messages("CORDUM_SYS", "sys.job.result", marks.sys):
        packet = buspacket_pb2.BusPacket.FromString(data)
        if packet.job_result.status in _ENDING:
            told[packet.job_result.job_id] += 1
    given: Counter[str] = Counter()
    for _, data in await rig.messages("CORDUM_JOBS", "worker.*.jobs", marks.jobs):
        given[buspacket_pb2.BusPacket.FromString(data).job_request.job_id] += 1
    return Books(
        states={job_id: item["state"] for job_id, item in listed.items()},
        ends=ends,
        told=told,
        given=given,
        reasons={job_id: item.get("failure_reason", "") for job_id, item in listed.items()},
    )
