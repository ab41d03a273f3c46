"""cordumctl worker credential: create, list, revoke."""

from pathlib import Path
from typing import Annotated

import typer

from cordum.cli.command import ApiCommand, session

app = typer.Typer(no_args_is_help=True, help="Tokens by which workers prove their names")

WorkerName = Annotated[str, typer.Option("--worker-id", metavar="ID", help="The worker's name on the bus")]
AsJson = Annotated[bool, typer.Option("--json", help="The same as -o json")]


@app.command(cls=ApiCommand)
def create(
    ctx: typer.Context,
    worker_id: WorkerName,
    allowed_pools: Annotated[
        str | None, typer.Option("--allowed-pools", metavar="POOL,...", help="Where it may work; '' for anywhere")
    ] = None,
    allowed_topics: Annotated[
        str | None, typer.Option("--allowed-topics", metavar="TOPIC,...", help="What it may get; '' for anything")
    ] = None,
    agent_id: Annotated[str | None, typer.Option("--agent-id", metavar="ID", help="The agent it stands for")] = None,
    proof_key: Annotated[
        list[str] | None,
        typer.Option(
            "--proof-key",
            metavar="[ID=]FILE",
            help="Public key (PEM, P-256) of its trust handshake; the id is else the file's name; repeat for more",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Issue a worker's credential, or a new token for it. The token is shown now and never again.

    Of a worker that has a credential, the old token stops working at once, and what is not given here stays as it was.
    """
    from cordum.cli import output

    body: dict[str, object] = {"worker_id": worker_id}
    for name, given in (("allowed_pools", allowed_pools), ("allowed_topics", allowed_topics)):
        if given is not None:
            body[name] = [word.strip() for word in given.split(",") if word.strip()]
    if agent_id is not None:
        body["agent_id"] = agent_id
    if proof_key:
        body["proof_keys"] = [_proof_key(word) for word in proof_key]
    asked = session(ctx)
    with asked.client() as client:
        answer = client.post("/workers/credentials", body)
    if asked.wants_json or as_json:
        output.print_json(answer)
        return
    output.print_fields(
        [
            ("worker", answer.get("worker_id")),
            ("pools", answer.get("allowed_pools") or "any"),
            ("topics", answer.get("allowed_topics") or "any"),
            ("agent", answer.get("agent_id")),
            ("proof keys", [key.get("id") for key in answer.get("proof_keys") or []]),
            ("token", answer.get("token")),
        ]
    )
    output.notice("the worker sends the token as auth_token of its heartbeats; it is not shown again")


@app.command("list", cls=ApiCommand)
def list_(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the credentials issued, revoked ones too; never their tokens."""
    from cordum.cli import output

    asked = session(ctx)
    with asked.client() as client:
        answer = client.get("/workers/credentials")
    if asked.wants_json or as_json:
        output.print_json(answer)
        return
    output.print_table(
        ("WORKER", "STATUS", "POOLS", "TOPICS", "AGENT", "PROOF KEYS", "ISSUED", "BY"),
        (
            (
                item.get("worker_id"),
                item.get("status"),
                item.get("allowed_pools") or "any",
                item.get("allowed_topics") or "any",
                item.get("agent_id"),
                [key.get("id") for key in item.get("proof_keys") or []],
                item.get("created_at"),
                item.get("created_by"),
            )
            for item in output.items(answer)
        ),
        "no credentials; issue one: cordumctl worker credential create --worker-id ID",
    )


@app.command(cls=ApiCommand)
def revoke(ctx: typer.Context, worker_id: WorkerName, as_json: AsJson = False) -> None:
    """Revoke a worker's credential, and its session with it."""
    from urllib.parse import quote

    from cordum.cli import output

    asked = session(ctx)
    with asked.client() as client:
        client.call("DELETE", f"/workers/credentials/{quote(worker_id, safe='')}")
    if asked.wants_json or as_json:
        output.print_json({"worker_id": worker_id, "revoked": True})
    else:
        output.notice(f"revoked {worker_id}")


def _proof_key(word: str) -> dict[str, str]:
    from cordum.cli.errors import UsageError

    key_id, _, path = word.rpartition("=")
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--proof-key {path}: cannot be read: {error}") from error
    return {"id": key_id or Path(path).stem, "public_key": text}
