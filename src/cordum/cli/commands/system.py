"""cordumctl up, demo, status, version."""

from pathlib import Path
from typing import Annotated

import typer

from cordum.cli.command import ApiCommand, session


def status(ctx: typer.Context) -> None:
    """How the system is: what the gateway sees."""
    from cordum.cli import status

    status.show(session(ctx))


def version(
    output: Annotated[str, typer.Option("--output", "-o", metavar="table|json", help="How to print")] = "table",
) -> None:
    """The version of this program."""
    import cordum

    typer.echo(f'{{"version": "{cordum.__version__}"}}' if output == "json" else f"cordumctl {cordum.__version__}")


def up(
    data_dir: Annotated[Path, typer.Option(metavar="DIR", help="Where state is kept")] = Path(".cordum"),
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over: delete state, logs and keys, keep config/")
    ] = False,
    http_port: Annotated[
        int, typer.Option(min=0, max=65_535, metavar="PORT", help="0: 8081 when free, else any", show_default=False)
    ] = 0,
) -> None:
    """Run the whole stack in the foreground until Ctrl-C."""
    from cordum.cli.up import run

    raise typer.Exit(run(data_dir, fresh=fresh, http_port=http_port))


def demo(
    keep: Annotated[
        Path | None, typer.Option("--data-dir", metavar="DIR", help="Keep state and logs there", show_default=False)
    ] = None,
) -> None:
    """Three jobs, three verdicts, in seconds; leaves nothing running."""
    from cordum.cli.demo import run

    raise typer.Exit(run(keep))


def register(app: typer.Typer) -> None:
    """Adds the commands that have no noun."""
    app.command()(up)
    app.command()(demo)
    app.command(cls=ApiCommand)(status)
    app.command()(version)
