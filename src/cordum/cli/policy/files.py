"""Policy files as commands read them, and faults in them as people see them: place, text, and a caret below."""

import os
import sys
from pathlib import Path

from cordum.cli.errors import CliError, UsageError
from cordum.core.policy.document import PolicyDocument
from cordum.core.policy.errors import Fault, PolicyError
from cordum.core.policy.parse import MAX_BYTES, parse_policy

_WIDEST = 160
"""Characters of a line shown in an excerpt."""


class BadPolicyFileError(CliError):
    """The policy file cannot be used.

    Attributes:
        file: its name.
        faults: what is wrong with it.
    """

    code = "cli_bad_policy"

    def __init__(self, file: Path, text: bytes, faults: tuple[Fault, ...]) -> None:
        self.file = file
        self.faults = faults
        count = "one fault" if len(faults) == 1 else f"{len(faults)} faults"
        shown = "\n".join(excerpt(str(file), text, fault) for fault in faults)
        super().__init__(f"{file} cannot be used: {count}\n{shown}")


def read_bytes(file: Path) -> bytes:
    """The bytes of a file; of standard input for `-`. Raises UsageError when they cannot be read."""
    if str(file) == "-":
        return sys.stdin.buffer.read()
    try:
        if file.stat().st_size > MAX_BYTES:
            raise UsageError(f"{file}: larger than {MAX_BYTES} bytes")
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror or error}") from error


def read_text(file: Path) -> str:
    """As `read_bytes`, as text, exactly."""
    try:
        return read_bytes(file).decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: not UTF-8 text") from error


def read_policy(file: Path) -> PolicyDocument:
    """The document in a file. Raises BadPolicyFileError with an excerpt for each fault."""
    data = read_bytes(file)
    try:
        return parse_policy(data)
    except PolicyError as error:
        raise BadPolicyFileError(file, data, error.faults) from error


def write_private(file: Path, text: str, *, force: bool) -> None:
    """Writes a file that only its owner can read, in whole or not at all.

    Raises UsageError when it is there already and `force` is not given.
    """
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        if file.exists() and not force:
            raise UsageError(f"{file} is there already", "--force overwrites it; what it signed stays valid")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as out:
            out.write(text)
        os.replace(temporary, file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UsageError(f"{file}: {error.strerror or error}") from error


def excerpt(name: str, text: bytes, fault: Fault) -> str:
    """`name:line:column: what`, the line itself, and a caret below the place."""
    told = f"{fault.path}: {fault.message}" if fault.path else fault.message
    head = f"{name}:{fault.line}:{fault.column}: {told}"
    lines = text.decode(errors="replace").splitlines()
    if not 1 <= fault.line <= len(lines):
        return head
    line = lines[fault.line - 1]
    start = max(0, min(fault.column - 1, len(line)) - _WIDEST // 2) if len(line) > _WIDEST else 0
    shown = "".join(char if char.isprintable() else " " for char in line[start : start + _WIDEST])
    gutter = f"{fault.line:>5} | "
    return f"{head}\n{gutter}{shown}\n{' ' * (len(gutter) - 2)}| {' ' * max(0, fault.column - 1 - start)}^"
