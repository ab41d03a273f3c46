"""cordumctl policy bundles: list, get, put, delete."""

from pathlib import Path
from typing import Annotated

import typer

from cordum.cli.command import ApiCommand, session
from cordum.cli.commands.policy.ask import Acknowledged

app = typer.Typer(no_args_is_help=True, help="The parts the policy in force is made of")

BundleId = Annotated[str, typer.Argument(metavar="BUNDLE", help="Such as secops/payments")]


@app.command("list", cls=ApiCommand)
def list_(ctx: typer.Context) -> None:
    """List the bundles."""
    from cordum.cli.policy.bundles import show_all

    show_all(session(ctx))


@app.command(cls=ApiCommand)
def get(
    ctx: typer.Context,
    bundle: BundleId,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the content there", show_default=False)
    ] = None,
) -> None:
    """Print a bundle's content, byte by byte as it is stored."""
    from cordum.cli.policy.bundles import get as run

    run(session(ctx), bundle, out)


@app.command(cls=ApiCommand)
def put(
    ctx: typer.Context,
    bundle: BundleId,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A policy file")],
    disabled: Annotated[bool, typer.Option("--disabled", help="Store it without effect")] = False,
    message: Annotated[str, typer.Option("--message", "-m", help="Why; kept in the audit trail")] = "",
) -> None:
    """Store a bundle as a draft: checked by the kernel first, refused with line and column."""
    from cordum.cli.policy.bundles import put as run

    run(session(ctx), bundle, file, enabled=not disabled, message=message)


@app.command(cls=ApiCommand)
def delete(ctx: typer.Context, bundle: BundleId, acknowledge_relaxed: Acknowledged = False) -> None:
    """Delete a bundle, at once."""
    from cordum.cli.policy.bundles import delete as run

    run(session(ctx), bundle, acknowledged=acknowledge_relaxed)
