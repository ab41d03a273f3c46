"""cordumctl topic: create, list, get, delete, smoke."""

from pathlib import Path
from typing import Annotated

import typer

from cordum.cli.command import ApiCommand, session

app = typer.Typer(no_args_is_help=True, help="Which kinds of job there are, and who does them")

Name = Annotated[str, typer.Argument(metavar="TOPIC", help="job.something")]


@app.command(cls=ApiCommand)
def create(
    ctx: typer.Context,
    name: Name,
    pool: Annotated[str | None, typer.Option(help="Whose workers do its jobs; needed unless disabled")] = None,
    input_schema: Annotated[str | None, typer.Option(metavar="ID", help="Schema of its payloads")] = None,
    output_schema: Annotated[str | None, typer.Option(metavar="ID", help="Schema of its results")] = None,
    pack_id: Annotated[str | None, typer.Option(metavar="ID", help="The pack it belongs to")] = None,
    requires: Annotated[
        list[str] | None, typer.Option("--requires", metavar="CAPABILITY", help="Its jobs need it; repeatable, or a,b")
    ] = None,
    risk_tags: Annotated[
        list[str] | None, typer.Option("--risk-tags", metavar="TAG", help="For people; repeatable, or a,b")
    ] = None,
    status: Annotated[str | None, typer.Option(help="active, deprecated or disabled")] = None,
) -> None:
    """Register a topic, or change one: what is not given stays as it was."""
    from cordum.cli import topics

    given = {
        "pool": pool,
        "input_schema_id": input_schema,
        "output_schema_id": output_schema,
        "pack_id": pack_id,
        "requires": topics.words(requires),
        "risk_tags": topics.words(risk_tags),
        "status": status,
    }
    topics.create(session(ctx), {"name": name, **{key: value for key, value in given.items() if value is not None}})


@app.command("list", cls=ApiCommand)
def list_(ctx: typer.Context) -> None:
    """List the topics jobs may be submitted to."""
    from cordum.cli import topics

    topics.show_list(session(ctx))


@app.command(cls=ApiCommand)
def get(ctx: typer.Context, name: Name) -> None:
    """Show one topic."""
    from cordum.cli import topics

    topics.show(session(ctx), name)


@app.command(cls=ApiCommand)
def delete(ctx: typer.Context, name: Name) -> None:
    """Take a topic out of the registry; jobs on it are refused from then on."""
    from cordum.cli import topics

    topics.delete(session(ctx), name)


@app.command(cls=ApiCommand)
def smoke(
    ctx: typer.Context,
    topic: Annotated[
        list[str] | None, typer.Option("--topic", metavar="TOPIC", help="Only this one; repeatable")
    ] = None,
    payload: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|DIR",
            help="The jobs' context, JSON: one file for all, or a directory with TOPIC.json; else the first of the "
            "schema's examples",
        ),
    ] = None,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=1, max=3600, help="For all jobs together")] = 60.0,
    accept_approval: Annotated[
        bool, typer.Option("--accept-approval", help="A job that waits for a person has passed")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The same as -o json")] = False,
) -> None:
    """Submit a job on every active topic and see it succeed; exit 1 when one does not.

    The jobs carry the label smoke=true. Those that have not ended in time are cancelled.
    """
    from cordum.cli import smoke

    smoke.run(session(ctx), topic or [], payload, timeout=timeout, accept_approval=accept_approval, wants_json=as_json)
