"""`cordumctl up`: the whole stack in the foreground."""

import asyncio
import shlex
from pathlib import Path

from rich.console import Console
from rich.text import Text

from cordum.cli.loglines import readable
from cordum.embedded.datadir import DEFAULT, DataDir
from cordum.embedded.errors import StartError
from cordum.embedded.keeper import Event, Phase
from cordum.embedded.session import Interrupted, until_signalled
from cordum.embedded.stack import Options, Stack, operator_environment

_MARKS = {
    Phase.STARTING: ("·", "dim"),
    Phase.READY: ("●", "green"),
    Phase.ENDED: ("▲", "bold yellow"),
    Phase.FAILED: ("▲", "bold red"),
    Phase.STOPPED: ("○", "dim"),
}


def run(data_dir: Path, *, fresh: bool, http_port: int) -> int:
    """Keeps the stack running until a signal; gives the exit code."""
    options = Options(
        env=operator_environment(), fresh=fresh, fixed_ports={"gateway.http": http_port} if http_port else {}
    )
    console = Console(highlight=False)
    screen = Screen(console)
    stack = Stack(DataDir(data_dir), options, screen.show)
    screen.stack = stack
    try:
        asyncio.run(until_signalled(lambda: _keep(stack, screen)))
    except Interrupted:
        console.print("stopped; state is kept in", str(stack.data_dir.path), style="dim")
        return 0
    except StartError as error:
        print_failure(error)
        return 1
    return 1  # Only a signal ends it.


async def _keep(stack: Stack, screen: "Screen") -> None:
    async with stack:
        screen.welcome()
        await asyncio.Event().wait()


class Screen:
    """One line for each thing that happens to a part."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.stack: Stack | None = None
        self._muted = False

    def mute(self) -> None:
        """Says no more: what follows is the orderly end."""
        self._muted = True

    def show(self, event: Event) -> None:
        if self._muted or event.phase is Phase.STARTING:
            return  # Starting takes an instant; the READY line says how long.
        mark, style = _MARKS[event.phase]
        line = Text.assemble((f"{mark} ", style), (f"{event.part:<12}", "bold"), (f"{event.phase:<8}", style))
        if event.phase is Phase.READY:
            line.append(self._address(event.part) + event.detail, "dim")
        else:
            line.append(event.detail)
        self._console.print(line)
        if event.phase in (Phase.ENDED, Phase.FAILED) and self.stack is not None:
            for said in self.stack.log_tail(event.part, 3):
                self._console.print(Text(f"    {readable(said)}", "dim"))

    def welcome(self) -> None:
        """Where everything is, and what to do now."""
        stack = self.stack
        assert stack is not None
        folder = stack.data_dir.path
        rows = [
            ("API", stack.api_url),
            ("gRPC", stack.grpc_address),
            ("metrics", stack.metrics_url("gateway")),
            ("API key", f"{stack.secrets.admin_key}  (admin)"),
            ("", f"{stack.secrets.approver_key}  (approver, to approve what admin submits)"),
            ("policy", f"{folder / 'config' / 'safety.yaml'}  (edit it: it is read again at once)"),
            ("logs", str(folder / "logs")),
        ]
        self._console.print()
        for name, value in rows:
            self._console.print(Text.assemble((f"{name:<9}", "bold cyan"), value), soft_wrap=True)
        self._console.print()
        self._console.print("In another terminal:", style="dim")
        for hint in (
            "cordumctl status",
            "python examples/echo_worker.py"
            if folder == DataDir(DEFAULT).path
            else f"set -a; . {shlex.quote(str(folder / 'env'))}; set +a; python examples/echo_worker.py",
            'cordumctl job submit "hello" --wait',
        ):
            self._console.print(Text(f"  {hint}"), soft_wrap=True)
        self._console.print("Ctrl-C ends everything.", style="dim")

    def _address(self, part: str) -> str:
        ports = self.stack.ports if self.stack is not None else {}
        for purpose in ("", ".http", ".grpc", ".metrics"):
            if part + purpose in ports:
                return f"127.0.0.1:{ports[part + purpose]:<6} "
        return ""


def print_failure(error: StartError) -> None:
    """What failed to start and its last words, on standard error."""
    console = Console(stderr=True, highlight=False)
    console.print(Text.assemble(("✗ ", "bold red"), error.message))
    for line in error.log_tail:
        console.print(Text(f"  {readable(line)}", "dim"), soft_wrap=True)
    if error.log_file is not None and error.log_file.exists():
        console.print(Text(f"  the whole log: {error.log_file}"), soft_wrap=True)
