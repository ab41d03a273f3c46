"""cordumctl schema: register, list, get, delete."""

from pathlib import Path
from typing import Annotated

import typer

from cordum.cli.command import ApiCommand, session

app = typer.Typer(no_args_is_help=True, help="JSON Schemas that payloads are held to")

SchemaId = Annotated[str, typer.Argument(metavar="ID")]


@app.command(cls=ApiCommand)
def register(
    ctx: typer.Context,
    schema_id: SchemaId,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A JSON Schema")],
) -> None:
    """Register a schema, or replace one."""
    from cordum.cli import schemas

    schemas.register(session(ctx), schema_id, file)


@app.command("list", cls=ApiCommand)
def list_(ctx: typer.Context) -> None:
    """List the schemas."""
    from cordum.cli import schemas

    schemas.show_list(session(ctx))


@app.command(cls=ApiCommand)
def get(ctx: typer.Context, schema_id: SchemaId) -> None:
    """Print a schema."""
    from cordum.cli import schemas

    schemas.show(session(ctx), schema_id)


@app.command(cls=ApiCommand)
def delete(
    ctx: typer.Context,
    schema_id: SchemaId,
    force: Annotated[bool, typer.Option("--force", help="Even if topics name it")] = False,
) -> None:
    """Take a schema out of the registry."""
    from cordum.cli import schemas

    schemas.delete(session(ctx), schema_id, force=force)
