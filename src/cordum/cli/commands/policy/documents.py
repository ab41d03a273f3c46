"""cordumctl policy lint, test, diff: what can be said about policy files before anybody depends on them."""

from pathlib import Path
from typing import Annotated

import typer

from cordum.cli.command import ApiCommand, session
from cordum.cli.commands.policy.ask import DEFAULT_BUNDLE

app = typer.Typer()

Format = Annotated[str, typer.Option("--output", "-o", metavar="table|json", help="How to print")]
Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="Policy files; - is standard input")]


@app.command()
def lint(
    files: Files,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings are errors")] = False,
    output: Format = "table",
) -> None:
    """What is wrong with a policy file, with requests that show it; exit code 1 on errors."""
    from cordum.cli.policy.linting import run

    raise typer.Exit(run(files, strict=strict, wants_json=output == "json"))


@app.command("test")
def run_tests(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A policy file with tests: in it")],
    coverage: Annotated[bool, typer.Option("--coverage", help="Which rules the tests reach")] = False,
    output: Format = "table",
) -> None:
    """Run the tests in a policy file; exit code 1 when one fails."""
    from cordum.cli.policy.testing import run

    raise typer.Exit(run(file, coverage=coverage, wants_json=output == "json"))


@app.command(cls=ApiCommand)
def diff(
    ctx: typer.Context,
    before: Annotated[str, typer.Argument(metavar="A", help="A policy file, or `live`")],
    after: Annotated[str, typer.Argument(metavar="B", help="A policy file")],
    bundle: Annotated[
        str, typer.Option("--as", metavar="BUNDLE", help="With `live`: B as this bundle")
    ] = DEFAULT_BUNDLE,
    limit: Annotated[int, typer.Option(min=1, max=500, help="Differences shown")] = 50,
) -> None:
    """Which requests are decided differently, one of each kind; exit code 1 when something is let run that was not."""
    from cordum.cli.policy.comparing import run

    raise typer.Exit(run(session(ctx), before, after, bundle, limit))
