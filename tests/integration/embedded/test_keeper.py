"""A child that ends by itself is started again, visibly and with growing pauses."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.processes import eventually, nothing_left

from cordum.embedded import keeper
from cordum.embedded.child import Child, Recipe
from cordum.embedded.errors import StartError
from cordum.embedded.guardian import Guardian
from cordum.embedded.keeper import Event, Keeper, Phase


@pytest_asyncio.fixture
async def guardian() -> AsyncIterator[Guardian]:
    guardian = Guardian()
    guardian.start()
    yield guardian
    guardian.release()


def recipe(tmp_path: Path, script: str, ready_within: float = 5.0, grace: float = 2.0) -> Recipe:
    """A shell script that is ready as soon as it has made the file `ready`."""
    ready = tmp_path / "ready"

    async def is_ready() -> bool:
        return ready.exists()

    return Recipe("part", ["/bin/sh", "-c", script], {}, is_ready, tmp_path / "log", tmp_path, ready_within, grace)


async def test_a_killed_child_comes_back(tmp_path: Path, guardian: Guardian) -> None:
    events: list[Event] = []
    kept = Keeper(Child(recipe(tmp_path, "touch ready; exec sleep 60"), guardian), events.append)
    await kept.start()
    first = kept.child.pid

    await kept.kill()
    await asyncio.wait_for(kept.wait_ready(), 5)

    assert kept.child.pid not in (0, first)
    assert [event.phase for event in events] == [Phase.STARTING, Phase.READY, Phase.ENDED, Phase.READY]
    assert "SIGKILL" in events[2].detail and "0.2 s" in events[2].detail
    pid = kept.child.pid
    await kept.take_down()
    await nothing_left([pid], [])


async def test_one_that_keeps_failing_is_tried_for_ever_with_growing_pauses(
    tmp_path: Path, guardian: Guardian, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(keeper, "LONGEST_PAUSE", 0.04)
    events: list[Event] = []
    kept = Keeper(
        Child(recipe(tmp_path, "test -e broken && exit 3; touch ready; exec sleep 60"), guardian), events.append
    )
    await kept.start()
    (tmp_path / "broken").touch()
    (tmp_path / "ready").unlink()

    await kept.kill()
    await eventually(lambda: len(events) > 8, "five failed starts")

    assert [event.phase for event in events[2:5]] == [Phase.ENDED, Phase.FAILED, Phase.FAILED]
    assert "exit code 3" in events[3].detail
    (tmp_path / "broken").unlink()
    await asyncio.wait_for(kept.wait_ready(), 5)
    await kept.take_down()


async def test_one_that_is_not_ready_in_time_is_ended_and_its_last_words_are_in_the_error(
    tmp_path: Path, guardian: Guardian
) -> None:
    child = Child(recipe(tmp_path, "echo no luck; exec sleep 60", ready_within=0.2), guardian)
    with pytest.raises(StartError, match="not ready within") as caught:
        await child.start()
    assert caught.value.log_tail == ["no luck"]
    assert child.pid == 0 and child.returncode == -signal.SIGKILL


async def test_one_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path, guardian: Guardian) -> None:
    child = Child(recipe(tmp_path, "trap '' TERM; touch ready; while :; do sleep 1; done", grace=0.1), guardian)
    await child.start()
    await child.stop()
    assert child.returncode == -signal.SIGKILL


async def test_its_own_children_go_with_it(tmp_path: Path, guardian: Guardian) -> None:
    child = Child(recipe(tmp_path, "sleep 60 & echo $! > grandchild; touch ready; wait"), guardian)
    await child.start()
    grandchild = int((tmp_path / "grandchild").read_text())
    await child.kill()
    await nothing_left([grandchild], [])
