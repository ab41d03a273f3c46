"""`cordumctl policy publish`, `rollback` and `snapshots`."""

from pathlib import Path

from cordum.cli import output
from cordum.cli.client import Json
from cordum.cli.command import Session
from cordum.cli.policy.bundles import path_of
from cordum.cli.policy.files import read_text
from cordum.cli.policy.refused import shown_in


def publish(
    asked: Session, file: Path | None, as_: str, bundles: list[str], message: str, note: str, *, acknowledged: bool
) -> None:
    """Puts the file, if there is one, as a bundle, and publishes; prints the snapshots before and after."""
    body = _filled(message=message, note=note)
    chosen = [*bundles, *([as_] if file is not None and as_ not in bundles else [])]
    if chosen:
        body["bundle_ids"] = chosen
    if acknowledged:
        body["acknowledge_relaxed"] = True
    content = "" if file is None else read_text(file)
    with asked.client() as client, shown_in(file or Path("policy"), content):
        if file is not None:
            client.call("PUT", path_of(as_), body={"content": content, **_filled(message=message)})
        answer = client.post("/policy/publish", body)
    if asked.wants_json:
        output.print_json(answer)
        return
    output.print_fields(
        [
            ("published", answer.get("published")),
            ("before", answer.get("snapshot_before")),
            ("after", answer.get("snapshot_after")),
        ]
    )


def rollback(asked: Session, snapshot: str, message: str, note: str, *, acknowledged: bool) -> None:
    body = {"snapshot_id": snapshot, **_filled(message=message, note=note)}
    if acknowledged:
        body["acknowledge_relaxed"] = True
    with asked.client() as client, shown_in(Path(snapshot), ""):
        answer = client.post("/policy/rollback", body)
    if asked.wants_json:
        output.print_json(answer)
        return
    output.print_fields(
        [
            ("back to", answer.get("rollback_to", snapshot)),
            ("before", answer.get("snapshot_before")),
            ("after", answer.get("snapshot_after")),
        ]
    )


def snapshots(asked: Session) -> None:
    with asked.client() as client:
        answer = client.get("/policy/bundles/snapshots")
    if asked.wants_json:
        output.print_json(answer)
        return
    output.print_table(
        ("SNAPSHOT", "CREATED", "NOTE"),
        ((item.get("id"), output.moment(item.get("created_at")), item.get("note")) for item in output.items(answer)),
        "no snapshots yet: publishing makes one",
    )


def _filled(**fields: str) -> Json:
    return {name: value for name, value in fields.items() if value}
