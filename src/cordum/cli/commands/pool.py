"""cordumctl pool: list, get, create, update, drain, delete, map, unmap."""

from typing import Annotated

import typer

from cordum.cli.command import ApiCommand, session

app = typer.Typer(no_args_is_help=True, help="Groups of workers, and which topics they serve")

Name = Annotated[str, typer.Argument(metavar="POOL")]
TopicName = Annotated[str, typer.Argument(metavar="TOPIC")]
Requires = Annotated[
    list[str] | None,
    typer.Option("--requires", metavar="CAPABILITY", help="Its workers offer it; repeatable, or a,b"),
]


@app.command("list", cls=ApiCommand)
def list_(ctx: typer.Context) -> None:
    """List pools."""
    from cordum.cli import pools

    pools.show_list(session(ctx))


@app.command(cls=ApiCommand)
def get(ctx: typer.Context, name: Name) -> None:
    """Show a pool with its workers."""
    from cordum.cli import pools

    pools.show(session(ctx), name)


@app.command(cls=ApiCommand)
def create(
    ctx: typer.Context,
    name: Name,
    requires: Requires = None,
    description: Annotated[str, typer.Option()] = "",
) -> None:
    """Create a pool."""
    from cordum.cli import pools, topics

    pools.create(session(ctx), name, {"requires": topics.words(requires) or [], "description": description})


@app.command(cls=ApiCommand)
def update(
    ctx: typer.Context,
    name: Name,
    requires: Requires = None,
    description: Annotated[str | None, typer.Option()] = None,
    status: Annotated[str | None, typer.Option(help="active, draining or inactive")] = None,
) -> None:
    """Change a pool: what is not given stays as it is."""
    from cordum.cli import pools, topics

    given = {"requires": topics.words(requires), "description": description, "status": status}
    pools.update(session(ctx), name, {key: value for key, value in given.items() if value is not None})


@app.command(cls=ApiCommand)
def drain(
    ctx: typer.Context,
    name: Name,
    timeout: Annotated[int, typer.Option(metavar="SECONDS", min=1, max=3600, help="For its running jobs")] = 300,
) -> None:
    """Give a pool no new jobs; it is inactive once its running ones have ended."""
    from cordum.cli import pools

    pools.drain(session(ctx), name, timeout)


@app.command(cls=ApiCommand)
def delete(
    ctx: typer.Context,
    name: Name,
    force: Annotated[bool, typer.Option("--force", help="Also with topics, workers or jobs, if inactive")] = False,
) -> None:
    """Remove a pool."""
    from cordum.cli import pools

    pools.delete(session(ctx), name, force=force)


@app.command("map", cls=ApiCommand)
def map_(ctx: typer.Context, name: Name, topic: TopicName) -> None:
    """Let a pool serve a topic, besides those that do."""
    from cordum.cli import pools

    pools.map_topic(session(ctx), name, topic)


@app.command(cls=ApiCommand)
def unmap(ctx: typer.Context, name: Name, topic: TopicName) -> None:
    """Let a pool serve a topic no longer."""
    from cordum.cli import pools

    pools.unmap_topic(session(ctx), name, topic)
