"""cordumctl dlq: list, show, triage, retry, delete."""

from typing import Annotated

import typer

from cordum.cli.command import ApiCommand, session

app = typer.Typer(no_args_is_help=True, help="The dead-letter queue: jobs that went wrong")

JobId = Annotated[str, typer.Argument(metavar="JOB_ID")]
JobIds = Annotated[list[str] | None, typer.Argument(metavar="[JOB_ID]...", help="These; or name filters, or --all")]
Reason = Annotated[
    str, typer.Option(metavar="TEXT", help="Whose reason begins so, such as 'timeout: running exceeded'; or a code")
]
Topic = Annotated[str, typer.Option(metavar="TOPIC")]
Code = Annotated[str, typer.Option(metavar="CODE", help="The reason code, such as worker_lost")]
All = Annotated[bool, typer.Option("--all", help="Every dead letter of the tenant")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before dealing with several")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say which they would be")]
Note = Annotated[str, typer.Option(metavar="TEXT", help="Why; it is written to the audit log")]


@app.command("list", cls=ApiCommand)
def list_(
    ctx: typer.Context,
    reason: Reason = "",
    topic: Topic = "",
    code: Code = "",
    limit: Annotated[int, typer.Option(min=1, max=500)] = 50,
    cursor: Annotated[str, typer.Option(help="Where the page before ended (its next_cursor)")] = "",
) -> None:
    """List dead letters, newest first."""
    from cordum.cli import letters

    filters = {"reason": reason, "topic": topic, "code": code}
    letters.show_list(session(ctx), {**filters, "limit": limit, "cursor": cursor})


@app.command(cls=ApiCommand)
def show(ctx: typer.Context, job_id: JobId) -> None:
    """Show one dead letter."""
    from cordum.cli import letters

    letters.show(session(ctx), job_id)


@app.command(cls=ApiCommand)
def triage(ctx: typer.Context, topic: Topic = "", code: Code = "") -> None:
    """Count dead letters by reason, with what the runbook says about each."""
    from cordum.cli import letters

    letters.triage(session(ctx), {"topic": topic, "code": code})


@app.command(cls=ApiCommand)
def retry(
    ctx: typer.Context,
    job_ids: JobIds = None,
    reason: Reason = "",
    topic: Topic = "",
    code: Code = "",
    every: All = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    note: Note = "",
) -> None:
    """Run dead jobs again, each as a new job; policy decides about them anew."""
    from cordum.cli import letters

    chosen = letters.Choice(tuple(job_ids or ()), reason, topic, code, every)
    letters.deal_with(session(ctx), "retry", chosen, letters.How(yes, dry_run, note))


@app.command(cls=ApiCommand)
def delete(
    ctx: typer.Context,
    job_ids: JobIds = None,
    reason: Reason = "",
    topic: Topic = "",
    code: Code = "",
    every: All = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    note: Note = "",
) -> None:
    """Take dead letters off the list; their jobs stay."""
    from cordum.cli import letters

    chosen = letters.Choice(tuple(job_ids or ()), reason, topic, code, every)
    letters.deal_with(session(ctx), "delete", chosen, letters.How(yes, dry_run, note))
