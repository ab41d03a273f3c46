"""cordumctl when there is nothing to talk to, or the command makes no sense."""

import asyncio
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.cordumctl import cordumctl

import cordum


async def test_help_is_quick() -> None:
    # Processor time, so that other work on the machine does not count.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = await cordumctl("--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.code == 0 and "approval" in result.out
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


async def test_version() -> None:
    assert (await cordumctl("version")).out == f"cordumctl {cordum.__version__}\n"
    assert (await cordumctl("version", "-o", "json")).json == {"version": cordum.__version__}


@pytest.mark.parametrize(
    "command",
    [
        ["job", "nonsense"],
        ["job", "get"],
        ["job", "list", "-o", "xml"],
        ["job", "list", "--limit", "0"],
        ["job", "submit", "x", "--context", "{"],
        ["job", "submit", "x", "--label", "novalue"],
        ["status", "--url", "nonsense"],
    ],
    ids=" ".join,
)
async def test_wrong_usage_is_exit_code_2_and_one_message_on_stderr(command: list[str], tmp_path: Path) -> None:
    result = await cordumctl(*command, cwd=tmp_path)
    assert result.code == 2 and result.out == "" and result.err
    assert "Traceback" not in result.err


async def test_nobody_at_the_address_says_what_to_do(free_port: Callable[[], int], tmp_path: Path) -> None:
    result = await cordumctl(
        "job", "list", "-o", "json", env={"CORDUM_API_URL": f"http://127.0.0.1:{free_port()}"}, cwd=tmp_path
    )
    assert result.code == 1 and result.out == ""
    assert "cannot be reached" in result.err and "cordumctl up" in result.err


async def test_an_address_of_something_else_says_so(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        result = await cordumctl("status", "--url", f"http://127.0.0.1:{port}", cwd=tmp_path)
    assert result.code == 1 and "Cordum gateway" in result.err and "Traceback" not in result.err
