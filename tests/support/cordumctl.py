"""Runs cordumctl as people do: as a process."""

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cordum.embedded.stack import clean_environment


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON; fails when anything else is there."""
        return json.loads(self.out)


async def cordumctl(*arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Result:
    """One run of the program, without any setting of this environment; `env` goes on top."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "cordum.cli.main",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**clean_environment(), "COLUMNS": "200", **(env or {})},
        cwd=cwd,
    )
    out, err = await asyncio.wait_for(process.communicate(), 100)
    assert process.returncode is not None
    return Result(process.returncode, out.decode(), err.decode())


class Running:
    """A cordumctl that goes on until it is told to end; killed at the latest when the block ends."""

    def __init__(self, *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> None:
        self._arguments = arguments
        self._env = {**clean_environment(), "COLUMNS": "200", **(env or {})}
        self._cwd = cwd
        self._process: asyncio.subprocess.Process | None = None
        self.lines: list[str] = []

    async def __aenter__(self) -> "Running":
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-u",
            "-m",
            "cordum.cli.main",
            *self._arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._env,
            cwd=self._cwd,
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.ended()

    @property
    def process(self) -> asyncio.subprocess.Process:
        assert self._process is not None
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    async def line_with(self, *words: str, within: float = 60.0) -> str:
        """Waits for a line that contains all of `words`."""
        output = self.process.stdout
        assert output is not None
        async with asyncio.timeout(within):
            while line := (await output.readline()).decode():
                self.lines.append(line)
                if all(word in line for word in words):
                    return line
        raise AssertionError(f"ended without a line with {words}: {''.join(self.lines)}")

    async def ended(self, within: float = 60.0) -> int:
        """Waits for the end; gives the exit code."""
        output = self.process.stdout
        assert output is not None
        async with asyncio.timeout(within):
            self.lines += (await output.read()).decode().splitlines(keepends=True)
            return await self.process.wait()
