"""cordumctl policy keygen, sign, verify. Exit codes of verify: 0 it holds, 1 it does not, 2 it cannot be told."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()

Source = Annotated[Path | None, typer.Argument(metavar="FILE", help="The policy file", show_default=False)]
In = Annotated[Path | None, typer.Option("--in", metavar="FILE", help="The same as FILE", show_default=False)]


@app.command()
def keygen(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The private key, for you alone")] = Path(
        "policy.key"
    ),
    public: Annotated[
        Path | None, typer.Option("--public", metavar="FILE", help="Else beside it, as .pub", show_default=False)
    ] = None,
    algorithm: Annotated[str, typer.Option(metavar="p256|ed25519")] = "p256",
    force: Annotated[bool, typer.Option("--force", help="Overwrite a key that is there")] = False,
) -> None:
    """Make a key pair to sign policies with."""
    from cordum.cli.policy.keys import keygen as run

    run(out, public, algorithm, force=force)


@app.command()
def sign(
    file: Source = None,
    in_: In = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Else FILE.sig", show_default=False)] = None,
    key: Annotated[
        Path | None, typer.Option("--key", metavar="FILE", help="The private key", show_default=False)
    ] = None,
    key_env: Annotated[
        str, typer.Option("--key-env", metavar="NAME", help="... or the variable that has it")
    ] = "CORDUM_POLICY_SIGNING_KEY",
    key_id: Annotated[str, typer.Option("--key-id", metavar="ID", help="As verifiers know the key")] = "",
    format_: Annotated[str, typer.Option("--format", metavar="json|base64|raw", help="Of the signature")] = "json",
) -> None:
    """Sign a policy file: writes a signature of its exact bytes beside it."""
    from cordum.cli.policy.keys import sign as run

    run(file or in_, out, key, key_env, key_id, format_)


@app.command()
def verify(
    file: Source = None,
    in_: In = None,
    sig: Annotated[Path | None, typer.Option("--sig", metavar="FILE", help="Else FILE.sig", show_default=False)] = None,
    public_key: Annotated[
        Path | None, typer.Option("--public-key", metavar="FILE", help="The public key", show_default=False)
    ] = None,
    public_key_env: Annotated[
        str, typer.Option("--public-key-env", metavar="NAME", help="... or the variable that has it")
    ] = "SAFETY_POLICY_PUBLIC_KEY",
) -> None:
    """Check the signature of a policy file."""
    from cordum.cli.policy.keys import verify as run

    raise typer.Exit(run(file or in_, sig, public_key, public_key_env))
