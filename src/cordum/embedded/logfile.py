"""The log file of a child: bounded, and readable while it is written.

Children write to files, not to pipes of the supervisor, so a supervisor that is busy, stopped or killed never holds a
service up, and the last words of a service stay readable.
"""

import os
from collections import deque
from pathlib import Path

MAX_BYTES = 8 * 1024 * 1024
_TAIL_BYTES = 256 * 1024


def open_for_append(path: Path) -> int:
    """A descriptor for a child's output. Appending, so that shortening the file is safe while it is written."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def tail(path: Path, lines: int, start: int = 0) -> list[str]:
    """The last `lines` lines written after byte `start`, oldest first; none when there is no file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if start > size:
                start = 0  # The file was shortened since.
            begin = max(start, size - _TAIL_BYTES)
            file.seek(begin)
            data = file.read(_TAIL_BYTES)
    except FileNotFoundError:
        return []
    whole = data.decode(errors="replace").splitlines()
    if begin > start:
        whole = whole[1:]  # The first one is cut off.
    return list(deque(whole, maxlen=lines))


def begin_anew(path: Path) -> None:
    """Puts the log of the last run aside as `<name>.1`."""
    if path.exists():
        path.replace(path.with_name(path.name + ".1"))


def shorten(path: Path) -> None:
    """Moves the content of a file that has grown too large to `<name>.1`, replacing what was there."""
    try:
        if path.stat().st_size <= MAX_BYTES:
            return
        with path.open("rb+") as file:
            path.with_name(path.name + ".1").write_bytes(file.read(2 * MAX_BYTES)[-MAX_BYTES:])
            file.truncate(0)
    except FileNotFoundError:
        return
