"""Careful clients, and the books that say what became of every job they were promised."""

import asyncio
import itertools
import json
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from tests.cluster.installation import ENDED, TOPIC, Installation


@dataclass
class Batch:
    """What the clients were told."""

    accepted: dict[str, float] = field(default_factory=dict)
    """Job id -> when its answer came, by the monotonic clock."""
    refused: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    unclear: list[str] = field(default_factory=list)
    _taken: asyncio.Event = field(default_factory=asyncio.Event)

    def longest_gap(self, since: float) -> float:
        """Seconds without any job taken, at most, from `since` on: the outage as clients see it."""
        moments = sorted([since, *(at for at in self.accepted.values() if at > since)])
        return max((later - earlier for earlier, later in itertools.pairwise(moments)), default=0.0)

    async def reached(self, count: int, within: float = 60.0) -> None:
        """Waits until so many jobs were taken."""
        async with asyncio.timeout(within):
            while len(self.accepted) < count:
                self._taken.clear()
                await self._taken.wait()

    def take(self, job_id: str) -> None:
        self.accepted.setdefault(job_id, time.monotonic())
        self._taken.set()


async def submit_all(made: Installation, batch: Batch, count: int, seconds: float) -> None:
    """Submits `count` jobs spread over `seconds`; each again, under its idempotency key, until it is taken."""
    run = uuid.uuid4().hex
    start = time.monotonic()

    async def one(number: int) -> None:
        await asyncio.sleep(max(0.0, start + seconds * number / count - time.monotonic()))
        body = {"prompt": f"job {number}", "topic": TOPIC, "idempotency_key": f"{run}-{number}"}
        async with asyncio.timeout(60):
            await _insist(made, batch, body)

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(one(number))


async def _insist(made: Installation, batch: Batch, body: dict[str, str]) -> None:
    for attempt in itertools.count(1):
        if await _taken(made, batch, body):
            return
        await asyncio.sleep(min(0.1 * attempt, 0.5))


async def _taken(made: Installation, batch: Batch, body: dict[str, str]) -> bool:
    try:
        answer = await made.http.post("/api/v1/jobs", json=body)
    except httpx.TransportError:
        batch.unanswered += 1
        return False
    said = answer.json()
    if answer.status_code == 200:
        batch.take(said["job_id"])
        return True
    if answer.status_code >= 500 and said.get("code"):
        batch.refused[f"{answer.status_code} {said['code']}"] += 1
    else:
        batch.unclear.append(f"{answer.status_code} {answer.text[:200]}")
    return False


@asynccontextmanager
async def under_load(made: Installation, count: int, seconds: float) -> AsyncIterator[Batch]:
    """Submits in the background while the body does its harm; returns when every job was taken."""
    batch = Batch()
    async with asyncio.TaskGroup() as group:
        group.create_task(submit_all(made, batch, count, seconds))
        yield batch


@dataclass
class Books:
    """What became of the jobs of a batch."""

    states: dict[str, str]
    ends: Counter[str]
    runs: Counter[str]
    reasons: Counter[str]
    settled_after: float

    @property
    def lost(self) -> list[str]:
        return [job_id for job_id, state in self.states.items() if state not in ENDED]

    @property
    def doubled(self) -> list[str]:
        return [job_id for job_id in self.states if self.ends[job_id] > 1]

    def line(self, title: str, more: str = "") -> str:
        """The one line each test prints."""
        once = sum(state in ENDED and self.ends[job_id] == 1 for job_id, state in self.states.items())
        states = ", ".join(f"{state} {count}" for state, count in Counter(self.states.values()).items())
        twice = sum(count > 1 for count in self.runs.values())
        return (
            f"{title}: jobs in={len(self.states)}, terminal once={once}, lost={len(self.lost)}, "
            f"doubled={len(self.doubled)} ({states}; run twice {twice}; all ended {self.settled_after:.1f} s later"
            f"{'; ' + more if more else ''}{'; ' + str(dict(self.reasons)) if self.reasons else ''})"
        )


async def close_books(made: Installation, batch: Batch, within: float = 60.0) -> Books:
    """Waits until every job of the batch has ended, or `within` seconds, and reads what is known of each."""
    began = time.monotonic()
    while True:
        jobs = {job_id: await _job(made, job_id) for job_id in batch.accepted}
        open_jobs = [job_id for job_id, job in jobs.items() if job.get("state") not in ENDED]
        if not open_jobs or time.monotonic() - began > within:
            break
        await asyncio.sleep(0.2)
    took = time.monotonic() - began
    ends: Counter[str] = Counter()
    async with made.redis.client() as client:
        for job_id in batch.accepted:
            history = await client.lrange(f"job:events:{job_id}", 0, -1)
            ends[job_id] = sum(json.loads(entry)["state"] in ENDED for entry in history)
    everybody = made.runs()
    return Books(
        states={job_id: job.get("state", "none") for job_id, job in jobs.items()},
        ends=ends,
        runs=Counter({job_id: everybody[job_id] for job_id in batch.accepted}),
        reasons=Counter(job["failure_reason"] for job in jobs.values() if job.get("failure_reason")),
        settled_after=took,
    )


async def _job(made: Installation, job_id: str) -> dict[str, Any]:
    try:
        answer = await made.http.get(f"/api/v1/jobs/{job_id}")
    except httpx.TransportError:
        return {}
    return dict(answer.json()) if answer.status_code == 200 else {}
