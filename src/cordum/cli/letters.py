"""What the commands about dead letters do: listing, sorting, and dealing with one or with many."""

import sys
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import typer

from cordum.cli import output
from cordum.cli.client import Client, Json
from cordum.cli.command import Session
from cordum.cli.errors import CliError, UsageError

MOST_PER_CALL: Final = 500
FAILURES_SHOWN: Final = 20
_DONE: Final = {"retry": "retried", "delete": "deleted"}


@dataclass(frozen=True)
class Choice:
    """Which letters: these jobs', or those that match, or all."""

    job_ids: tuple[str, ...]
    reason: str
    topic: str
    code: str
    every: bool

    def body(self) -> dict[str, object]:
        """As the API takes it.

        Raises:
            UsageError: nothing is named, or too much.
        """
        filters = {"reason": self.reason, "topic": self.topic, "code": self.code}
        named = {name: value for name, value in filters.items() if value}
        if self.job_ids and not named and not self.every:
            if len(self.job_ids) > MOST_PER_CALL:
                raise UsageError(f"more than {MOST_PER_CALL} jobs at once", "name a filter instead")
            return {"job_ids": list(self.job_ids)}
        if named and not self.job_ids:
            # --all beside a filter means: all of those.
            return dict(named)
        if self.every and not self.job_ids:
            return {"all": True}
        raise UsageError(
            "say which dead letters: jobs, or --reason, --topic, --code, or --all",
            "`cordumctl dlq triage` shows what there is",
        )


@dataclass(frozen=True)
class How:
    """Whether to ask first, whether to do it at all, and why."""

    yes: bool
    dry_run: bool
    note: str


def show_list(asked: Session, query: dict[str, object]) -> None:
    """One page as a table."""
    with asked.client() as client:
        answer = client.get("/dlq/page", query)
    if asked.wants_json:
        output.print_json(answer)
        return
    output.print_table(
        ("JOB", "STATUS", "REASON", "TOPIC", "TRIES", "SINCE"),
        (
            (
                item.get("job_id"),
                item.get("status"),
                item.get("reason"),
                item.get("topic"),
                item.get("attempts"),
                output.moment(item.get("created_at")),
            )
            for item in output.items(answer)
        ),
        "no dead letters",
    )
    if answer.get("next_cursor"):
        output.notice(f"more: --cursor {answer['next_cursor']}")


def show(asked: Session, job_id: str) -> None:
    """One letter."""
    with asked.client() as client:
        answer = client.get(f"/dlq/{quote(job_id, safe='')}")
    if asked.wants_json:
        output.print_json(answer)
        return
    names = ("job_id", "topic", "tenant", "status", "reason", "reason_code", "last_state", "attempts", "created_at")
    output.print_fields((name.replace("_", " "), answer.get(name)) for name in names)


def triage(asked: Session, query: dict[str, object]) -> None:
    """Every letter, by group."""
    with asked.client() as client:
        answer = client.get("/dlq/triage", query)
    if asked.wants_json:
        output.print_json(answer)
        return
    groups = [group for group in answer.get("groups") or [] if isinstance(group, dict)]
    output.print_table(
        ("LETTERS", "REASON", "TOPICS", "OLDEST", "WHAT TO DO"),
        (
            (
                str(group.get("count")),
                group.get("reason"),
                _counted(group.get("topics")),
                output.moment(group.get("oldest")),
                group.get("advice"),
            )
            for group in groups
        ),
        "no dead letters",
    )
    if groups:
        output.notice(f"{answer.get('total')} in all; retry or delete a group with --reason TEXT")


def _counted(topics: object) -> str:
    return ", ".join(f"{topic} ({count})" for topic, count in topics.items()) if isinstance(topics, dict) else ""


def deal_with(asked: Session, action: str, choice: Choice, how: How) -> None:
    """Retries or deletes.

    Raises:
        UsageError: nothing is named, or nobody can be asked.
        CliError: some could not be dealt with.
    """
    body = choice.body()
    with asked.client() as client:
        if len(choice.job_ids) == 1 and not how.dry_run and (action == "retry" or not how.note):
            _one(asked, client, action, choice.job_ids[0], how.note)
        else:
            _many(asked, client, action, body, how)


def _one(asked: Session, client: Client, action: str, job_id: str, note: str) -> None:
    path = f"/dlq/{quote(job_id, safe='')}"
    if action == "retry":
        answer = client.post(f"{path}/retry", {"reason": note} if note else None)
        if asked.wants_json:
            output.print_json(answer)
        else:
            output.print_fields([("new job", answer.get("job_id"))])
        return
    client.call("DELETE", path)
    if asked.wants_json:
        output.print_json({"job_id": job_id, "deleted": True})
    else:
        output.notice(f"deleted {job_id}")


def _many(asked: Session, client: Client, action: str, body: dict[str, object], how: How) -> None:
    if how.dry_run or not how.yes:
        found = client.post(f"/dlq/{action}", {**body, "dry_run": True, "limit": MOST_PER_CALL})
        if how.dry_run:
            _show_plan(asked, action, found)
            return
        _ask(action, _number(found, "left"))
    total: dict[str, Any] = {"action": action, "done": 0, "gone": 0, "left": 0, "failed": [], "items": []}
    cursor: object = None
    while True:
        wanted = {**body, "limit": MOST_PER_CALL, "note": how.note}
        answer = client.post(f"/dlq/{action}", wanted | ({"cursor": cursor} if cursor else {}))
        for name in ("done", "gone"):
            total[name] += _number(answer, name)
        for name in ("failed", "items"):
            total[name] += answer.get(name) or []
        cursor, total["left"] = answer.get("next_cursor"), _number(answer, "left")
        if not cursor:
            break
        output.notice(f"{total['done']} {_DONE[action]}, {total['left']} left")
    if asked.wants_json:
        output.print_json(total)
    else:
        _show_summary(action, total)
    if total["failed"]:
        raise CliError(
            f"{len(total['failed'])} of {total['done'] + len(total['failed'])} could not be {_DONE[action]}",
            "they are still in the dead-letter queue",
        )
    if total["left"]:
        raise CliError(f"{total['left']} are left", "time was up: say it again")


def _show_plan(asked: Session, action: str, found: Json) -> None:
    if asked.wants_json:
        output.print_json(found)
        return
    for item in output.items(found):
        sys.stdout.write(f"{item.get('job_id')}\n")
    shown, left = len(output.items(found)), _number(found, "left")
    more = f" (the first {shown} are shown)" if left > shown else ""
    output.notice(f"{left} would be {_DONE[action]}{more}; nothing was done")


def _ask(action: str, number: int) -> None:
    if not number:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{number} dead letters would be {_DONE[action]}, and nobody can be asked", "say --yes")
    typer.confirm(f"{action} {number} dead letters?", abort=True, err=True)


def _show_summary(action: str, total: dict[str, Any]) -> None:
    for item in total["items"]:
        if item.get("new_job_id"):
            sys.stdout.write(f"{item['job_id']} -> {item['new_job_id']}\n")
    for failure in total["failed"][:FAILURES_SHOWN]:
        output.notice(f"{failure.get('job_id')}: {failure.get('error')}")
    words = [f"{total['done']} {_DONE[action]}"]
    words += [f"{total['gone']} not there"] if total["gone"] else []
    words += [f"{len(total['failed'])} failed"] if total["failed"] else []
    output.notice(", ".join(words))


def _number(answer: Json, name: str) -> int:
    value = answer.get(name)
    return value if isinstance(value, int) else 0
