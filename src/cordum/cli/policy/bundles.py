"""`cordumctl policy bundles ...`."""

import sys
from pathlib import Path
from urllib.parse import quote

from cordum.cli import output
from cordum.cli.client import Json
from cordum.cli.command import Session
from cordum.cli.errors import CliError, UsageError
from cordum.cli.policy.files import read_text
from cordum.cli.policy.refused import shown_in


def path_of(bundle: str) -> str:
    """The route of a bundle; `/` travels as `~`. Raises UsageError for an empty id."""
    if not bundle.strip():
        raise UsageError("a bundle needs an id, such as secops/payments")
    return f"/policy/bundles/{quote(bundle.replace('/', '~'), safe='~')}"


def show_all(asked: Session) -> None:
    with asked.client() as client:
        answer = client.get("/policy/bundles")
    if asked.wants_json:
        output.print_json(answer)
        return
    output.print_table(
        ("BUNDLE", "STATUS", "SIGNED", "AUTHOR", "MESSAGE", "CHANGED"),
        (
            (
                item.get("id"),
                item.get("status"),
                item.get("signed"),
                item.get("author"),
                item.get("message"),
                output.moment(item.get("updated_at")),
            )
            for item in output.items(answer)
        ),
        "no bundles",
    )


def get(asked: Session, bundle: str, out: Path | None) -> None:
    """Prints or writes the content exactly, so that what is put back is the same byte by byte."""
    with asked.client() as client:
        answer = client.get(path_of(bundle))
    if asked.wants_json:
        output.print_json(answer)
        return
    content = answer.get("content")
    if not isinstance(content, str):
        raise CliError(f"{bundle} has no content")
    if out is None:
        sys.stdout.buffer.write(content.encode())
        sys.stdout.buffer.flush()
        return
    try:
        out.write_bytes(content.encode())
    except OSError as error:
        raise UsageError(f"{out}: {error.strerror or error}") from error
    output.notice(f"wrote {out}")


def put(asked: Session, bundle: str, file: Path, *, enabled: bool, message: str) -> None:
    content = read_text(file)
    body: Json = {"content": content, "message": message}
    if not enabled:
        body["enabled"] = False
    with asked.client() as client, shown_in(file, content):
        answer = client.call("PUT", path_of(bundle), body=body)
    if asked.wants_json:
        output.print_json(answer)
        return
    output.print_fields([(name, answer.get(name)) for name in ("id", "status", "sha256", "tests_failed")])
    output.print_table(
        ("LINE", "LINT", "RULE", "WHAT"),
        (
            tuple(item.get(name) for name in ("line", "kind", "rule_id", "message"))
            for item in answer.get("warnings") or []
            if isinstance(item, dict)
        ),
        "nothing to warn of",
    )
    if answer.get("status") in ("draft", "changed"):
        output.notice(f"it decides nothing yet: cordumctl policy publish --bundle {bundle}")


def delete(asked: Session, bundle: str, *, acknowledged: bool) -> None:
    params = {"acknowledge_relaxed": "true"} if acknowledged else {}
    with asked.client() as client, shown_in(Path(bundle), ""):
        client.call("DELETE", path_of(bundle), params=params)
    if asked.wants_json:
        output.print_json({"id": bundle, "deleted": True})
    else:
        output.notice(f"deleted {bundle}")
