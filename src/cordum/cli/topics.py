"""What `cordumctl topic ...` does."""

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from cordum.cli import output
from cordum.cli.client import Json
from cordum.cli.command import Session

_FIELDS = "name pool status input_schema_id output_schema_id pack_id active_worker_count requires risk_tags tenant_id"


def words(given: Sequence[str] | None) -> list[str] | None:
    """Words given one by one or with commas; None when the option was not given, [] for an empty one."""
    if given is None:
        return None
    return [word.strip() for item in given for word in item.split(",") if word.strip()]


def create(session: Session, body: Mapping[str, object]) -> None:
    with session.client() as client:
        _print(session, client.post("/topics", body))


def show(session: Session, name: str) -> None:
    with session.client() as client:
        _print(session, client.get(path(name)))


def show_list(session: Session) -> None:
    with session.client() as client:
        answer = client.get("/topics")
    if session.wants_json:
        output.print_json(answer)
        return
    output.print_table(
        ("TOPIC", "POOL", "INPUT SCHEMA", "OUTPUT SCHEMA", "STATUS", "WORKERS", "PACK", "RISK TAGS", "REQUIRES"),
        (
            (
                item.get("name"),
                item.get("pool"),
                item.get("input_schema_id"),
                item.get("output_schema_id"),
                item.get("status"),
                item.get("active_worker_count"),
                item.get("pack_id"),
                item.get("risk_tags"),
                item.get("requires"),
            )
            for item in output.items(answer)
        ),
        "no topics are registered, so jobs on any topic are taken",
    )


def delete(session: Session, name: str) -> None:
    with session.client() as client:
        client.call("DELETE", path(name))
    if session.wants_json:
        output.print_json({"name": name, "deleted": True})
    else:
        output.notice(f"deleted {name}")


def path(name: str) -> str:
    return f"/topics/{quote(name, safe='')}"


def _print(session: Session, topic: Json) -> None:
    if session.wants_json:
        output.print_json(topic)
    else:
        output.print_fields((name, topic.get(name)) for name in _FIELDS.split())
