"""What `cordumctl status` shows."""

from cordum.cli import output
from cordum.cli.command import Session
from cordum.embedded.datadir import DEFAULT, DataDir


def show(session: Session) -> None:
    """Prints the gateway's status; says first whether that is the local stack."""
    with session.client() as client:
        answer = client.get("/status")
        target = client.target
    if session.wants_json:
        output.print_json(answer)
        return
    local = DataDir(DEFAULT).running() if target.from_local_stack else None
    output.print_fields(
        [
            ("gateway", target.url),
            ("local stack", f"process {local.pid}" if local else None),
            *_flat("", answer),
        ]
    )


def _flat(prefix: str, value: dict[str, object]) -> list[tuple[str, object]]:
    """A nested answer as dotted names, so that a part added to the status later is shown without a change here."""
    rows: list[tuple[str, object]] = []
    for name, item in value.items():
        if isinstance(item, dict) and item:
            rows += _flat(f"{prefix}{name}.", item)
        else:
            rows.append((prefix + name, "none" if item in ({}, []) else item))
    return rows
