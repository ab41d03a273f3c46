"""cordumctl policy: ask it, check it, publish it, sign it."""

import typer

from cordum.cli.commands.policy import ask, bundles, documents, keys, publishing

app = typer.Typer(no_args_is_help=True, help="Policy: ask, lint, test, compare, sign, publish, roll back")

for part in (ask.app, documents.app, publishing.app, keys.app):
    app.registered_commands.extend(part.registered_commands)
app.add_typer(bundles.app, name="bundles")
