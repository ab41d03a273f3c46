"""The scheduler dies between two of its steps, each by its name: nothing is lost, ends twice or runs twice."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.acceptance.conftest import Say
from tests.acceptance.rig import Rig, comes_true, rig
from tests.acceptance.traffic import Burst, Marks, bombard, close_books, settled

from cordum.embedded import services

pytestmark = pytest.mark.asyncio(loop_scope="module")

HERE = Path(__file__).parent
JOBS, SECONDS = 60, 0.8
WORKERS = ("worker-1", "worker-2")

PLACES = (
    "submit taken",
    "record read",
    "decided",
    "worker chosen",
    "dispatch written",
    "dispatch published",
    "submit handled, not acknowledged",
    "result taken",
    "end decided",
    "end written",
    "result handled, not acknowledged",
)


@dataclasses.dataclass
class Brittle:
    """A stack whose scheduler can be told where to die."""

    rig: Rig
    armed: Path

    async def arm(self, place: str) -> None:
        await asyncio.to_thread(self.armed.write_text, place)

    async def went_off(self) -> bool:
        return not await asyncio.to_thread(self.armed.exists)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def brittle(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Brittle]:
    """One gateway, one scheduler that dies where it is told to, one kernel, two workers."""
    directory = tmp_path_factory.mktemp("brittle")
    armed = directory / "armed"
    plain = services.SERVICES[services.SCHEDULER]
    env = {"PYTHONPATH": str(HERE), "CRASH_FILE": str(armed), "NATS_JS_ACK_WAIT": "2s"}
    with pytest.MonkeyPatch.context() as patch:
        dying = dataclasses.replace(plain, module="crashing_scheduler")
        patch.setitem(services.SERVICES, services.SCHEDULER, dying)
        async with rig(directory / "stack", service_env={services.SCHEDULER: env}) as made:
            yield Brittle(made, armed)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.seed("S180")
async def test_scheduler_dies_at(brittle: Brittle, place: str, say: Say) -> None:
    made = brittle.rig
    await made.everything_is_ready()
    await made.workers_online(*WORKERS)
    marks, seen = await Marks.set(made), len(made.events)
    burst = Burst()
    async with bombard(made, burst, JOBS, SECONDS):
        await burst.reached(JOBS // 3)
        await brittle.arm(place)
        await comes_true(brittle.went_off, f"the scheduler gets to {place!r}")
    await made.everything_is_ready()
    took = await settled(made)
    books = await close_books(made, marks, burst.accepted)
    runs = await made.runs(*WORKERS)
    twice = [job_id for job_id in burst.accepted if runs[job_id] > 1]
    given_again = sum(count > 1 for count in books.given.values())
    more = f"all ended {took:.1f} s after the burst, given again {given_again}, run twice {len(twice)}"
    say(books.line(f"dies at {place!r}", burst.accepted, more))
    assert made.exits("scheduler", seen) == ["SIGKILL"], "it died once, where it was told to"
    assert len(burst.accepted) == JOBS and not burst.refused, "who submits does not notice"
    assert books.lost(burst.accepted) == [] and books.doubled(burst.accepted) == []
    assert {books.states[job_id] for job_id in burst.accepted} == {"SUCCEEDED"}
    assert twice == [], "every worker's work counts, so none is done again"
