"""cordumctl doctor redis: whether Redis is well, in whatever topology the services use it."""

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Adds the command to `doctor`."""
    app.command("redis")(redis)


def redis(
    nodes: Annotated[
        int, typer.Option("--nodes", min=0, help="Nodes the cluster is to have; 0: as many as are listed")
    ] = 0,
    masters: Annotated[
        int, typer.Option("--masters", min=0, help="Primaries the cluster is to have; 0: three or more")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
) -> None:
    """Check Redis as the REDIS_* variables name it: state, slots, roles, failed nodes, replication, saved data.

    Exit code 0: healthy; 1: not; 2: nobody answers, or the settings cannot be used.
    """
    import asyncio

    from cordum.cli import output
    from cordum.cli.boundary.report import Report
    from cordum.cli.errors import FAILED, USAGE
    from cordum.cli.redis_health.report import examine
    from cordum.runtime.settings import RedisSettings, SettingsError, load
    from cordum.store.errors import StoreSettingsError

    try:
        health = asyncio.run(examine(load(RedisSettings), nodes=nodes, masters=masters))
    except (SettingsError, StoreSettingsError) as error:
        typer.echo(f"cordumctl: {error.message}", err=True)
        raise typer.Exit(USAGE) from None
    report = Report(tuple(health.findings))
    if as_json:
        output.print_json({"topology": health.topology, "healthy": report.passed, **report.shown()})
    else:
        output.console().print(f"topology: {health.topology}")
        report.print()
    raise typer.Exit(USAGE if not health.answered else 0 if report.passed else FAILED)
