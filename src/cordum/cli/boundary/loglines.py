"""Counts refusals in log files: JSON lines by their `event`, other lines by the words themselves."""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from cordum.cli.boundary.checks import EVENTS
from cordum.cli.errors import UsageError

STANDARD_INPUT: Final = "-"


def count(paths: Sequence[Path]) -> dict[str, int]:
    """Lines of each event in all files; {} when no file was given.

    Raises:
        UsageError: one cannot be read.
    """
    found: dict[str, int] = dict.fromkeys(EVENTS, 0) if paths else {}
    for path in paths:
        try:
            if str(path) == STANDARD_INPUT:
                _add(found, sys.stdin)
            else:
                with path.open(encoding="utf-8", errors="replace") as lines:
                    _add(found, lines)
        except OSError as error:
            raise UsageError(f"--logs {path}: {error.strerror}") from error
    return found


def _add(found: dict[str, int], lines: Iterable[str]) -> None:
    for line in lines:
        event = _event_of(line)
        if event is not None:
            found[event] += 1


def _event_of(line: str) -> str | None:
    words = next((event for event in EVENTS if event in line), None)
    if words is None:
        return None
    try:
        entry = json.loads(line[line.index("{") :]) if "{" in line else None
    except ValueError:
        entry = None
    if not isinstance(entry, dict) or "event" not in entry:
        return words
    return str(entry["event"]) if entry["event"] in EVENTS else None
