"""cordumctl policy publish, rollback, snapshots, replay: what changes the policy in force, and what would change."""

from pathlib import Path
from typing import Annotated

import typer

from cordum.cli.command import ApiCommand, session
from cordum.cli.commands.policy.ask import DEFAULT_BUNDLE, Acknowledged

app = typer.Typer()

Message = Annotated[str, typer.Option("--message", "-m", help="Why; kept in the audit trail")]
Note = Annotated[str, typer.Option(help="A remark; kept with the snapshot")]


@app.command(cls=ApiCommand)
def publish(
    ctx: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="Put this file first; else what is there", show_default=False),
    ] = None,
    bundle: Annotated[
        list[str] | None,
        typer.Option(
            "--bundle", metavar="ID", help="May be repeated; else all drafts under secops/", show_default=False
        ),
    ] = None,
    as_: Annotated[
        str, typer.Option("--as", metavar="BUNDLE", help="With FILE: the bundle it becomes")
    ] = DEFAULT_BUNDLE,
    message: Message = "",
    note: Note = "",
    acknowledge_relaxed: Acknowledged = False,
) -> None:
    """Bring bundles into force; a snapshot of what was before is kept."""
    from cordum.cli.policy.publishing import publish as run

    run(session(ctx), file, as_, bundle or [], message, note, acknowledged=acknowledge_relaxed)


@app.command(cls=ApiCommand)
def rollback(
    ctx: typer.Context,
    snapshot: Annotated[str, typer.Argument(metavar="SNAPSHOT", help="As `policy snapshots` lists it")],
    message: Message = "",
    note: Note = "",
    acknowledge_relaxed: Acknowledged = False,
) -> None:
    """Back to a snapshot."""
    from cordum.cli.policy.publishing import rollback as run

    run(session(ctx), snapshot, message, note, acknowledged=acknowledge_relaxed)


@app.command(cls=ApiCommand)
def snapshots(ctx: typer.Context) -> None:
    """List the snapshots one can roll back to, newest first."""
    from cordum.cli.policy.publishing import snapshots as run

    run(session(ctx))


@app.command(cls=ApiCommand)
def replay(
    ctx: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="A candidate; else the policy in force", show_default=False)
    ] = None,
    bundle: Annotated[str, typer.Option("--bundle", metavar="ID", help="A stored bundle as the candidate")] = "",
    since: Annotated[str, typer.Option(metavar="TIME", help="How long ago (24h, 7d), or a time (RFC 3339)")] = "24h",
    until: Annotated[str, typer.Option(metavar="TIME", help="Else now", show_default=False)] = "",
    topic: Annotated[str, typer.Option(metavar="PATTERN", help="Only jobs on such topics")] = "",
    decision: Annotated[str, typer.Option(metavar="WORD", help="Only jobs decided so")] = "",
    max_jobs: Annotated[int, typer.Option(min=1, max=1000)] = 500,
) -> None:
    """Decide past jobs again; exit code 1 when one would be let run that was not."""
    from cordum.cli.policy.replaying import run

    raise typer.Exit(run(session(ctx), file, bundle, since, until, topic, decision, max_jobs))
