"""What commands print: tables for people, JSON for programs. Nothing but the answer goes to standard output."""

import json
import sys
import time
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

STATE_STYLES = {
    "SUCCEEDED": "green",
    "ALLOW": "green",
    "ALLOW_WITH_CONSTRAINTS": "green",
    "approved": "green",
    "RUNNING": "cyan",
    "DISPATCHED": "cyan",
    "SCHEDULED": "cyan",
    "PENDING": "yellow",
    "RETRYING": "yellow",
    "APPROVAL_REQUIRED": "yellow",
    "REQUIRE_APPROVAL": "yellow",
    "THROTTLE": "yellow",
    "pending": "yellow",
    "FAILED": "red",
    "TIMEOUT": "red",
    "DENIED": "red",
    "DENY": "red",
    "OUTPUT_QUARANTINED": "red",
    "rejected": "red",
    "CANCELLED": "dim",
}


class Format(StrEnum):
    """How an answer is printed."""

    TABLE = "table"
    JSON = "json"


def console() -> Console:
    return Console(highlight=False)


def notice(text: str) -> None:
    """A word to the person at the terminal, on standard error."""
    Console(stderr=True, highlight=False).print(text, style="dim", markup=False)


def print_json(data: object) -> None:
    """The answer, unchanged and with its keys in the API's order."""
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False, default=str) + "\n")


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """A table; `empty` is said, on standard error, when there is no row."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    count = 0
    for row in rows:
        table.add_row(*(cell(value) for value in row))
        count += 1
    if count:
        console().print(table)
    else:
        notice(empty)


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Name and value, one pair a line; empty values are left out."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in fields:
        if value not in (None, "", [], {}, ()):
            table.add_row(name, cell(value))
    console().print(table)


def cell(value: object) -> Text:
    """A value as text: never read as markup, states in their colour."""
    if isinstance(value, Text):
        return value
    if value is None:
        return Text("")
    if isinstance(value, bool):
        return Text("yes" if value else "no", style="green" if value else "red")
    if isinstance(value, list):
        if any(isinstance(item, dict) for item in value):
            return Text("\n".join(cell(item).plain for item in value))
        return Text(_printable(", ".join(map(str, value))))
    if isinstance(value, dict):
        told = {name: item for name, item in value.items() if item not in (None, "", [], {})}
        return Text(_printable(json.dumps(told, ensure_ascii=False, default=str)))
    text = _printable(str(value))
    return Text(text, style=STATE_STYLES.get(text, ""))


def moment(micros: object) -> str:
    """A time of the API (microseconds since the epoch, or RFC 3339 text) in local time; empty when there is none."""
    if isinstance(micros, int) and micros > 0:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(micros / 1_000_000))
    return micros if isinstance(micros, str) else ""


def items(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a list answer; anything that is not a row is left out."""
    found = answer.get("items")
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _printable(text: str) -> str:
    """Without control characters: what a stranger put into a job must not drive the terminal."""
    return "".join(char if char.isprintable() or char in "\n\t" else "�" for char in text)
