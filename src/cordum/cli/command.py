"""Options every command that talks to the API has: --url, --api-key, --tenant, -o."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand
from typer.main import get_command

if TYPE_CHECKING:
    from cordum.cli.client import Client


class Output:
    """The words of -o; the rest of the output module is loaded when something is printed."""

    TABLE = "table"
    JSON = "json"


@dataclass(frozen=True)
class Session:
    """How the command was called: whom it talks to, and how it prints."""

    url: str | None
    api_key: str | None
    tenant: str | None
    output: str

    @property
    def wants_json(self) -> bool:
        return self.output == Output.JSON

    def client(self) -> "Client":
        """Opens the connection; loads the HTTP library only now."""
        from cordum.cli.client import Client
        from cordum.cli.target import resolve

        return Client(resolve(self.url, self.api_key, self.tenant))


def _format(value: str) -> str:
    if value not in (Output.TABLE, Output.JSON):
        raise typer.BadParameter("choose table or json")
    return value


def _donor(
    url: Annotated[
        str | None,
        typer.Option(
            "--url", envvar="CORDUM_API_URL", metavar="URL", help="Gateway; else the local stack's", show_default=False
        ),
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(
            "--api-key", envvar="CORDUM_API_KEY", metavar="KEY", help="Else the local stack's", show_default=False
        ),
    ] = None,
    tenant: Annotated[
        str | None,
        typer.Option(
            "--tenant", envvar="CORDUM_TENANT_ID", metavar="ID", help="Else the key's own", show_default=False
        ),
    ] = None,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="table|json", help="How to print", callback=_format)
    ] = "table",
) -> None:
    """Never called: its parameters are given to every API command."""


_NAMES = ("url", "api_key", "tenant", "output")


class ApiCommand(TyperCommand):
    """A command whose callback gets a `Session` as `ctx.obj`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        donor = typer.Typer(add_completion=False)
        donor.command()(_donor)
        self.params.extend(option for option in get_command(donor).params if option.name in _NAMES)

    def invoke(self, ctx: Any) -> Any:
        ctx.obj = Session(**{name: ctx.params.pop(name) for name in _NAMES})
        return super().invoke(ctx)


def session(ctx: typer.Context) -> Session:
    """The session of a command declared with `cls=ApiCommand`."""
    assert isinstance(ctx.obj, Session)
    return ctx.obj
