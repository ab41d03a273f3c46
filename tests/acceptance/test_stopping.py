"""SIGTERM under load, one process after another: nothing is lost, no request fails, everybody goes with exit code 0."""

import asyncio
import os
import signal
import time
from functools import partial

import httpx
import pytest
from tests.acceptance.conftest import Say
from tests.acceptance.rig import Rig, comes_true
from tests.acceptance.traffic import Burst, Marks, bombard, close_books, settled

pytestmark = pytest.mark.asyncio(loop_scope="package")
GRACE = 15.0
JOBS, SECONDS = 600, 12.0


class Balancer:
    """Sends requests to the gateways that say they are ready, as a load balancer does."""

    def __init__(self, pair: Rig, *parts: str) -> None:
        self._pair = pair
        self._parts = parts
        self.ready = set(parts)
        self.left: dict[str, float] = {}
        """When a gateway was last seen to say that it is not ready while it still answered."""

    async def watch(self) -> None:
        await asyncio.gather(*(self._watch(part) for part in self._parts))

    async def _watch(self, part: str) -> None:
        async with httpx.AsyncClient(base_url=self._pair.stack.api_url_of(part), trust_env=False, timeout=2) as client:
            while True:
                try:
                    status = (await client.get("/readyz")).status_code
                except httpx.TransportError:
                    status = 0
                if status == 200:
                    self.ready.add(part)
                else:
                    self.ready.discard(part)
                    if status:
                        self.left[part] = time.monotonic()
                await asyncio.sleep(0.03)

    async def has(self, part: str) -> bool:
        return part in self.ready

    def choose(self, number: int) -> str:
        there = sorted(self.ready) or list(self._parts)
        return there[number % len(there)]


async def replaced(pair: Rig, part: str) -> float:
    """SIGTERM to a part, which the supervisor then starts again; how many seconds it took to end, with exit code 0."""
    seen = len(pair.events)
    began = time.monotonic()
    os.kill(pair.stack.pids[part], signal.SIGTERM)

    async def ended() -> bool:
        return bool(pair.exits(part, seen))

    took = await comes_true(ended, f"{part} ends", GRACE)
    assert pair.exits(part, seen) == ["exit code 0"], pair.stack.log_tail(part)
    await pair.stack.wait_ready(part, 30)
    assert time.monotonic() - began < GRACE + 30
    return took


@pytest.mark.seed("S127", "S241")
async def test_every_process_is_replaced_under_load_and_no_request_fails(pair: Rig, say: Say) -> None:
    await pair.everything_is_ready()
    marks = await Marks.set(pair)
    burst, took = Burst(), dict[str, float]()
    balancer = Balancer(pair, "gateway", "gateway-2")
    watching = asyncio.create_task(balancer.watch())
    try:
        async with bombard(pair, burst, JOBS, SECONDS, balancer.choose):
            await burst.reached(50)
            for part in ("gateway", "scheduler", "kernel", "gateway-2", "scheduler-2"):
                took[part] = await replaced(pair, part)
                if part.startswith("gateway"):
                    assert part in balancer.left, "it says that it is not ready before it stops to listen"
                    await comes_true(partial(balancer.has, part), f"{part} is back in the balancer")
    finally:
        watching.cancel()
        await asyncio.wait([watching])
    await pair.everything_is_ready()
    await settled(pair)
    books = await close_books(pair, marks, burst.accepted)
    ends = ", ".join(f"{part} {seconds:.1f} s" for part, seconds in took.items())
    say(books.line("SIGTERM to each process", burst.accepted, f"refused {dict(burst.refused) or 0}, ended in {ends}"))
    assert (burst.unclear, burst.refused, burst.errors) == ([], {}, []), balancer.left
    assert len(burst.accepted) == JOBS
    assert books.lost(burst.accepted) == [] and books.doubled(books.states) == []
    assert {books.states[job_id] for job_id in burst.accepted} == {"SUCCEEDED"}
