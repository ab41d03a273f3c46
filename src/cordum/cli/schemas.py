"""What `cordumctl schema ...` does."""

import json
from pathlib import Path
from urllib.parse import quote

from cordum.cli import output
from cordum.cli.command import Session
from cordum.cli.errors import UsageError
from cordum.core.schemas.document import MAX_BYTES


def register(session: Session, schema_id: str, file: Path) -> None:
    schema = _read(file)
    with session.client() as client:
        client.post("/schemas", {"id": schema_id, "schema": schema})
    if session.wants_json:
        output.print_json({"id": schema_id, "registered": True})
    else:
        output.notice(f"registered {schema_id}")


def show_list(session: Session) -> None:
    with session.client() as client:
        answer = client.get("/schemas")
    if session.wants_json:
        output.print_json(answer)
    else:
        output.print_table(("SCHEMA",), ((name,) for name in answer.get("schemas", [])), "no schemas")


def show(session: Session, schema_id: str) -> None:
    with session.client() as client:
        answer = client.get(_path(schema_id))
    output.print_json(answer if session.wants_json else answer.get("schema"))


def delete(session: Session, schema_id: str, *, force: bool) -> None:
    with session.client() as client:
        client.call("DELETE", _path(schema_id), params={"force": "true"} if force else None)
    if session.wants_json:
        output.print_json({"id": schema_id, "deleted": True})
    else:
        output.notice(f"deleted {schema_id}")


def _read(file: Path) -> object:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise UsageError(f"{file}: is larger than {MAX_BYTES} bytes")
        parsed: object = json.loads(file.read_text())
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise UsageError(f"{file}: not a JSON file that can be read: {' '.join(str(error).split())}") from error
    if not isinstance(parsed, dict | bool):
        raise UsageError(f"{file}: holds no JSON Schema")
    return parsed


def _path(schema_id: str) -> str:
    return f"/schemas/{quote(schema_id, safe='')}"
