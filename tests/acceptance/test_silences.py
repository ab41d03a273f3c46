"""A worker that is there and silent: paused, or cut off. Its jobs go to others, its late word does not count.

While it is silent, jobs are still given to it until it has been silent for its time to live: those it finds when it
wakes, does them, and nobody listens.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.acceptance.conftest import Say
from tests.acceptance.relay import Relay
from tests.acceptance.rig import UNTIL, WORKER_TTL, Rig, comes_true, delta
from tests.acceptance.traffic import Burst, Marks, bombard, close_books, settled

from cordum.embedded.servers import nats_url

pytestmark = pytest.mark.asyncio(loop_scope="package")

JOBS, SECONDS = 300, 2.0
HELD = 4
"""Jobs the worker has in hand when it falls silent."""

Fall = Callable[[], Awaitable[None]]


async def silenced(
    single: Rig, say: Say, title: str, name: str, done: Path, fall_silent: Fall, speak_again: Fall
) -> list[str]:
    """A worker falls silent with jobs in hand, in the middle of a burst, for longer than its time to live.

    The jobs in hand end once the file `done` is there. Returns them; all is checked but what the worker says later.
    """
    await single.everything_is_ready()
    await single.workers_online("worker-1", "worker-2", name)
    marks, before = await Marks.set(single), await single.metrics("scheduler")
    wish = {"preferred_worker_id": name}
    held = [await single.submit(str(done), topic=UNTIL, labels=wish) for _ in range(HELD)]

    async def in_hand() -> bool:
        runs = await single.runs(name)
        return all(runs[job_id] for job_id in held)

    async def taken_over() -> bool:
        return all([(await single.job(job_id))["attempts"] == 2 for job_id in held])

    await comes_true(in_hand, "the worker has the jobs it is to hold")
    burst = Burst()
    async with bombard(single, burst, JOBS, SECONDS):
        await fall_silent()
        try:
            await burst.reached(JOBS)
            await comes_true(taken_over, "others have the jobs it held")
            await asyncio.to_thread(done.touch)
            await settled(single)
        finally:
            await speak_again()
    after = await single.metrics("scheduler")
    await single.workers_online(name)
    every = [*held, *burst.accepted]
    books = await close_books(single, marks, every)
    again = [job_id for job_id in every if books.given[job_id] > 1]
    say(books.line(title, every, f"taken away and given to others {len(again)}"))
    assert len(burst.accepted) == JOBS and not burst.refused
    assert books.lost(every) == [] and books.doubled(every) == []
    assert {books.states[job_id] for job_id in every} == {"SUCCEEDED"}
    assert set(held) <= set(again)
    assert delta(before, after, "cordum_jobs_dispatched_total") == len(every) + len(again)
    return held


@asynccontextmanager
async def one_more(single: Rig, name: str, **env: str) -> AsyncIterator[int]:
    """A third worker for one test; yields its process id."""
    await single.add_worker(name, WORKER_PARALLEL="8", **env)
    try:
        yield single.stack.pids[name]
    finally:
        await single.stack.take_down(name)


async def test_worker_paused(single: Rig, say: Say, tmp_path: Path) -> None:
    """When it goes on it ends its jobs, too, and says so: a word about a dispatch that is not in force any more."""
    name = "worker-paused"
    async with one_more(single, name) as pid:

        async def stop() -> None:
            os.kill(pid, signal.SIGSTOP)

        async def go_on() -> None:
            os.kill(pid, signal.SIGCONT)

        marks = await Marks.set(single)
        title = f"worker paused for more than {WORKER_TTL:g} s"
        held = await silenced(single, say, title, name, tmp_path / "done", stop, go_on)

        async def said_late() -> bool:
            books = await close_books(single, marks)
            return all(books.told[job_id] == 2 for job_id in held)

        await comes_true(said_late, "the worker reports the jobs that were taken from it")
        books = await close_books(single, marks)
        assert books.doubled(held) == []
        assert {(await single.job(job_id))["worker_id"] for job_id in held} <= {"worker-1", "worker-2"}


async def test_worker_partitioned(single: Rig, say: Say, tmp_path: Path) -> None:
    name = "worker-cut-off"
    async with Relay().listening() as relay:
        secrets = single.stack.secrets
        relay.target = int(single.stack.nats_url.rpartition(":")[2])
        through = nats_url(relay.port, secrets.nats_password)
        async with one_more(single, name, NATS_URL=through):

            async def cut() -> None:
                relay.open.clear()

            async def mend() -> None:
                relay.open.set()

            title = f"worker cut off for more than {WORKER_TTL:g} s"
            await silenced(single, say, title, name, tmp_path / "done", cut, mend)
