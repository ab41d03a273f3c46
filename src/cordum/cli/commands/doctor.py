"""cordumctl doctor: checks before, and after, something is changed that everybody depends on."""

from pathlib import Path
from typing import Annotated

import typer

from cordum.cli.command import ApiCommand, session
from cordum.cli.commands import doctor_redis

app = typer.Typer(no_args_is_help=True, help="Check an installation: exit code 0 all well, 1 not, 2 could not look")


@app.callback()
def _group() -> None:
    pass


doctor_redis.register(app)


@app.command(cls=ApiCommand)
def boundary(
    ctx: typer.Context,
    logs: Annotated[
        list[Path] | None,
        typer.Option("--logs", metavar="FILE", help="Also count refusals in this log; - reads standard input"),
    ] = None,
    expect: Annotated[
        list[str] | None,
        typer.Option("--expect-topic", metavar="TOPIC[=POOL]", help="A topic that must be registered; repeat for more"),
    ] = None,
    window: Annotated[
        int, typer.Option("--window", min=300, max=86_400, help="How far back refusals count, in seconds")
    ] = 3600,
    tolerate: Annotated[int, typer.Option("--tolerate", min=0, help="Refusals that do not count as recurring")] = 0,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Submit a job to every topic, as cordumctl topic smoke")
    ] = False,
    payload: Annotated[
        Path | None,
        typer.Option(metavar="FILE|DIR", help="The jobs' contexts for --smoke, as of cordumctl topic smoke"),
    ] = None,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=1, max=3600, help="For --smoke")] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="The same as -o json")] = False,
) -> None:
    """Check what is to be well before boundary checks are enforced: topics, workers, refusals, a smoke test."""
    from cordum.cli import output
    from cordum.cli.boundary.report import Smoke, examine

    asked = session(ctx)
    with asked.client() as client:
        smoking = Smoke(payload, timeout) if smoke else None
        report = examine(client, logs or [], expect or [], window, tolerate, smoking)
    if asked.wants_json or as_json:
        output.print_json(report.shown())
    else:
        report.print()
    raise typer.Exit(report.exit_code)
