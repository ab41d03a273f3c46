"""Looks at processes and ports from outside."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cordum.embedded.ports import is_free


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be reaped does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return True


async def eventually(true: Callable[[], bool | Awaitable[bool]], what: str, within: float = 10.0) -> None:
    """Waits until `true()` is true, or what it gives to be awaited; fails the test when `within` seconds pass first."""
    deadline = time.monotonic() + within
    while not (await answer if isinstance(answer := true(), Awaitable) else answer):
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        await asyncio.sleep(0.02)


async def nothing_left(pids: list[int], ports: list[int], within: float = 10.0) -> None:
    """Waits until no process of `pids` runs and nobody listens on `ports`."""
    await eventually(lambda: not any(map(alive, pids)), f"processes {pids} gone", within)
    await eventually(lambda: all(map(is_free, ports)), f"ports {ports} free", within)


def processes_below(directory: Path, running: str = "") -> list[int]:
    """The processes whose working directory is `directory` or below it, those with `running` in their command line."""
    found = []
    if not Path("/proc/self").exists():
        pytest.skip("processes are looked up in /proc")
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                where = (entry / "cwd").resolve(strict=True)
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if where.is_relative_to(directory.resolve()) and running in command:
                found.append(int(entry.name))
    return found
