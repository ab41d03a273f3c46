"""The two stacks all acceptance tests share, and how a test says its one line.

A stack takes seconds to start, so `pair` (two of each service) and `single` (one of each, whose failure nobody covers
for) serve the whole folder; a test that broke something waits until it is whole again before it ends.
"""

from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from tests.acceptance.rig import Rig, rig

Say = Callable[[str], None]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Prints the line a test ends with, past pytest's capture."""

    def tell(line: str) -> None:
        with capsys.disabled():
            print(f"\n  {line}", end=" ", flush=True)  # noqa: T201 - the line is what the test is asked for

    return tell


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    """Two gateways, two schedulers, one kernel, two workers."""
    directory = tmp_path_factory.mktemp("pair") / "stack"
    async with rig(directory, replicas={"gateway": 2, "scheduler": 2}) as made:
        yield made


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def single(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    """One gateway, one scheduler, one kernel, two workers."""
    async with rig(tmp_path_factory.mktemp("single") / "stack") as made:
        yield made
