"""What `cordumctl pool ...` does."""

from collections.abc import Mapping
from urllib.parse import quote

from cordum.cli import output
from cordum.cli.client import Json
from cordum.cli.command import Session

_FIELDS = "name status description requires topics active_jobs capacity utilization drain_started_at"


def show_list(session: Session) -> None:
    with session.client() as client:
        answer = client.get("/pools")
    if session.wants_json:
        output.print_json(answer)
        return
    output.print_table(
        ("POOL", "STATUS", "WORKERS", "JOBS", "USE %", "TOPICS", "REQUIRES", "DESCRIPTION"),
        (
            (
                item.get("name"),
                item.get("status"),
                item.get("workers"),
                f"{item.get('active_jobs', 0)}/{item.get('capacity', 0)}",
                round(100 * float(item.get("utilization") or 0)),
                item.get("topics"),
                item.get("requires"),
                item.get("description"),
            )
            for item in output.items(answer)
        ),
        "no pools",
    )


def show(session: Session, name: str) -> None:
    with session.client() as client:
        _print(session, client.get(_path(name)))


def create(session: Session, name: str, body: Mapping[str, object]) -> None:
    with session.client() as client:
        _print(session, client.call("PUT", _path(name), body=body))


def update(session: Session, name: str, body: Mapping[str, object]) -> None:
    with session.client() as client:
        _print(session, client.call("PATCH", _path(name), body=body))


def drain(session: Session, name: str, timeout: int) -> None:
    with session.client() as client:
        _print(session, client.post(f"{_path(name)}/drain", {"timeout_seconds": timeout}))


def delete(session: Session, name: str, *, force: bool) -> None:
    with session.client() as client:
        client.call("DELETE", _path(name), params={"force": "true"} if force else None)
    _say(session, {"name": name, "deleted": True}, f"deleted {name}")


def map_topic(session: Session, name: str, topic: str) -> None:
    with session.client() as client:
        client.call("PUT", f"{_path(name)}/topics/{quote(topic, safe='')}")
    _say(session, {"name": name, "topic": topic, "mapped": True}, f"{name} serves {topic}")


def unmap_topic(session: Session, name: str, topic: str) -> None:
    with session.client() as client:
        client.call("DELETE", f"{_path(name)}/topics/{quote(topic, safe='')}")
    _say(session, {"name": name, "topic": topic, "mapped": False}, f"{name} no longer serves {topic}")


def _path(name: str) -> str:
    return f"/pools/{quote(name, safe='')}"


def _say(session: Session, answer: Json, text: str) -> None:
    if session.wants_json:
        output.print_json(answer)
    else:
        output.notice(text)


def _print(session: Session, pool: Json) -> None:
    if session.wants_json:
        output.print_json(pool)
        return
    workers = pool.get("workers")
    names = [worker.get("worker_id") for worker in workers if isinstance(worker, dict)] if workers else []
    output.print_fields([*((name, pool.get(name)) for name in _FIELDS.split()), ("workers", names)])
