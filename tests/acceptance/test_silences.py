"""A worker that is there and silent: paused, or cut off. Its jobs go to others, its late word does not count.

While it is silent, jobs are still given to it until it has been silent for its time to live: those it finds when it
wakes, does them, and nobody listens.
"""

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from tests.acceptance.conftest import Say
from tests.acceptance.relay import Relay
from tests.acceptance.rig import WORKER_TTL, Rig, comes_true, delta
from tests.acceptance.traffic import Burst, Marks, bombard, close_books, settled

from cordum.embedded.servers import nats_url

pytestmark = pytest.mark.asyncio(loop_scope="package")

JOBS, SECONDS = 300, 2.0

Fall = Callable[[], Awaitable[None]]
CatchUp = Callable[[list[str]], Awaitable[None]]
"""Waits until the worker has done what was taken away from it."""


async def silenced(
    single: Rig, say: Say, title: str, name: str, fall_silent: Fall, speak_again: Fall, catches_up: CatchUp | None
) -> None:
    """A burst in whose middle a worker falls silent for longer than its time to live."""
    await single.everything_is_ready()
    await single.workers_online("worker-1", "worker-2", name)
    marks, before = await Marks.set(single), await single.metrics("scheduler")
    burst = Burst()

    async def has_jobs() -> bool:
        return bool(await single.runs(name))

    async with bombard(single, burst, JOBS, SECONDS):
        await comes_true(has_jobs, "the worker has had jobs")
        await fall_silent()
        try:
            await burst.reached(JOBS)
            took = await settled(single)
        finally:
            await speak_again()
    after = await single.metrics("scheduler")
    await single.workers_online(name)
    books = await close_books(single, marks, burst.accepted)
    taken_away = [job_id for job_id in burst.accepted if books.given[job_id] > 1]

    if catches_up is not None:
        ended = dict(books.ends)
        await catches_up(taken_away)
        books = await close_books(single, marks, burst.accepted)
        assert {i: books.ends[i] for i in burst.accepted} == {i: ended[i] for i in burst.accepted}
    more = f"all ended {took:.1f} s after the burst, taken away and given to others {len(taken_away)}"
    say(books.line(title, burst.accepted, more))
    assert len(burst.accepted) == JOBS and not burst.refused
    assert books.lost(burst.accepted) == [] and books.doubled(burst.accepted) == []
    assert {books.states[job_id] for job_id in burst.accepted} == {"SUCCEEDED"}
    assert taken_away, "it held jobs when it fell silent"
    assert delta(before, after, "cordum_jobs_dispatched_total") == JOBS + len(taken_away)


@asynccontextmanager
async def one_more(single: Rig, name: str, **env: str) -> AsyncIterator[int]:
    """A third worker for one test; yields its process id."""
    await single.add_worker(name, WORKER_PARALLEL="8", **env)
    try:
        yield single.stack.pids[name]
    finally:
        await single.stack.take_down(name)


async def test_worker_paused(single: Rig, say: Say) -> None:
    async with one_more(single, "worker-paused") as pid:

        async def stop() -> None:
            os.kill(pid, signal.SIGSTOP)

        async def go_on() -> None:
            os.kill(pid, signal.SIGCONT)

        async def catches_up(taken_away: list[str]) -> None:
            async def all_done() -> bool:
                runs = await single.runs("worker-paused")
                return all(runs[job_id] for job_id in taken_away)

            await comes_true(all_done, "the worker does, in vain, what it was given while it was paused")

        await silenced(
            single, say, f"worker paused for more than {WORKER_TTL:g} s", "worker-paused", stop, go_on, catches_up
        )


async def test_worker_partitioned(single: Rig, say: Say) -> None:
    async with Relay().listening() as relay:
        secrets = single.stack.secrets
        relay.target = int(single.stack.nats_url.rpartition(":")[2])
        through = nats_url(relay.port, secrets.nats_password)
        async with one_more(single, "worker-cut-off", NATS_URL=through):

            async def cut() -> None:
                relay.open.clear()

            async def mend() -> None:
                relay.open.set()

            title = f"worker cut off for more than {WORKER_TTL:g} s"
            await silenced(single, say, title, "worker-cut-off", cut, mend, None)
