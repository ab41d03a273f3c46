"""The scheduler in its simulated world: many seeds without a fault found, and faults found that were put there.

Each run is a process of its own, as people run it: what is patched there is patched nowhere else, and what is printed
is what `python -m tests.simulation` prints.
"""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

REGRESSIONS = {
    1905: "what was left of a job without a record stayed among its tenant's active jobs",
}
"""Seeds that have found something, and what it was. What worlds before them found is in test_broken_batches, since a
seed means another world whenever the plan of worlds changes."""


async def simulate(*arguments: str, within: float = 120.0) -> tuple[int, str]:
    """Runs the simulation; its exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.simulation",
        *arguments,
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        printed, _ = await asyncio.wait_for(process.communicate(), within)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, printed.decode()


async def test_no_seed_finds_a_fault() -> None:
    code, printed = await simulate("--seeds", "250", "--processes", "2")
    assert code == 0, printed
    jobs = re.search(r"jobs: (\d+) accepted, (\d+) ended exactly once, (\d+) lost", printed)
    assert jobs is not None, printed
    accepted, ended, lost = map(int, jobs.groups())
    assert accepted == ended > 1_000
    assert lost == 0
    faults = re.search(r"faults injected: (\d+)", printed)
    assert faults is not None
    assert int(faults.group(1)) > 2_000


async def test_old_faults_stay_away() -> None:
    code, printed = await simulate("--only", *map(str, REGRESSIONS))
    assert code == 0, printed


async def test_a_seed_is_always_the_same_world() -> None:
    (_, first), (_, second), (_, other) = await asyncio.gather(
        simulate("--seed", "15", "--trace"), simulate("--seed", "15", "--trace"), simulate("--seed", "16", "--trace")
    )
    assert first.count("\n") > 200
    assert first == second
    assert first != other


@pytest.mark.parametrize("half", ["first", "second"])
async def test_faults_in_the_product_are_found(half: str) -> None:
    """Each promise is broken on purpose; had the simulation no eye for it, it would say so here."""
    code, printed = await simulate("--mutants", half)
    assert code == 0, printed
    assert printed.count("found by seed") >= 6, printed
