"""NATS message headers: reading and writing the block `NATS/1.0 ...` in front of a payload."""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from cordum.bus.errors import PublishError

MSG_ID: Final = "Nats-Msg-Id"

_FIRST_LINE: Final = "NATS/1.0"
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_ENDS_LINE = re.compile(r"[\r\n\0]")


class Headers(msgspec.Struct, frozen=True):
    """A header block. `status` is 0 on messages; the server's own notes carry one, like 408."""

    status: int
    description: str
    fields: dict[str, str]


def parse_headers(raw: bytes) -> Headers:
    """Reads a header block; a line that is none is skipped, bytes that are no UTF-8 are replaced."""
    first, *lines = raw.decode("utf-8", "replace").split("\r\n")
    status, _, description = first[len(_FIRST_LINE) :].strip().partition(" ")
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon and name.strip():
            fields[name.strip()] = value.strip()
    return Headers(int(status) if status.isascii() and status.isdigit() else 0, description.strip(), fields)


def write_headers(msg_id: str, fields: Mapping[str, str] | None) -> bytes:
    """The header block of a message; empty when there is nothing to say.

    Raises:
        PublishError: a name or value would break out of its line.
    """
    if not msg_id and not fields:
        return b""
    if _ENDS_LINE.search(msg_id):
        raise PublishError(f"message id {msg_id!r} has a line break")
    if not fields:
        return f"{_FIRST_LINE}\r\n{MSG_ID}: {msg_id}\r\n\r\n".encode()
    lines = [_FIRST_LINE]
    if msg_id:
        lines.append(f"{MSG_ID}: {msg_id}")
    for name, value in fields.items():
        if not _NAME.fullmatch(name) or _ENDS_LINE.search(value):
            raise PublishError(f"header {name!r} cannot be sent: bad name, or a line break in its value")
        lines.append(f"{name}: {value}")
    lines.append("\r\n")
    return "\r\n".join(lines).encode()
