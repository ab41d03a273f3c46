"""docs/guides/policy.md, done: every file written, every command run against a real stack, every exit code as told."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from cordum.embedded.stack import Stack, clean_environment

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "policy.md"

_BLOCK = re.compile(r"^```(?P<kind>yaml|sh)(?: exit=(?P<code>\d))?\n(?P<text>.*?)^```$", re.M | re.S)
_SAVED = re.compile(r"Save this as `([\w.]+)`:\s*\Z")


def steps() -> list[tuple[str, str, int]]:
    """What the page has its reader do: the file's name and its text, or "" and a script, with the exit code told."""
    text = GUIDE.read_text()
    found = []
    for block in _BLOCK.finditer(text):
        if block["kind"] == "sh":
            found.append(("", block["text"], int(block["code"] or 0)))
        else:
            named = _SAVED.search(text[: block.start()])
            assert named, f"where does this go? {block['text'][:60]}"
            found.append((named[1], block["text"], 0))
    return found


async def shell(script: str, directory: Path, stack: Stack, key: str) -> tuple[int, str]:
    program = directory.parent / "bin"
    program.mkdir(exist_ok=True)
    tool = program / "cordumctl"
    tool.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m cordum.cli.main "$@"\n')
    tool.chmod(0o755)
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-euo",
        "pipefail",
        "-c",
        script,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=directory,
        env={
            **clean_environment(),
            "PATH": f"{program}:{os.environ['PATH']}",
            "COLUMNS": "200",
            "CORDUM_API_URL": stack.api_url,
            "CORDUM_API_KEY": key,
        },
    )
    said, _ = await asyncio.wait_for(process.communicate(), 100)
    assert process.returncode is not None
    return process.returncode, said.decode()


@pytest.mark.seed("S121", "S130", "S236")
@pytest.mark.timeout(240)
async def test_every_command_of_the_guide_does_what_it_says(stack: Stack, tmp_path: Path) -> None:
    directory = tmp_path / "work"
    directory.mkdir()
    told: list[str] = []
    for name, text, code in steps():
        if name:
            (directory / name).write_text(text)
            continue
        ended, said = await shell(text, directory, stack, stack.secrets.admin_key)
        assert ended == code, f"{text}\n{said}"
        told.append(said)
    everything = "\n".join(told)
    for expected in (
        "large-invoices: never decides about a job",
        "3 of 3 passed; 2 of 2 rules reached",
        "relaxed",
        "--acknowledge-relaxed",
        "in_force",
        "no matching rule",
        "invalid_signature",
    ):
        assert expected in everything, f"{expected!r} was never said:\n{everything}"
