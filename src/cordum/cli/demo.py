"""`cordumctl demo`: starts a stack of its own, shows the three verdicts, leaves nothing running."""

import asyncio
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cordum.cli.loglines import readable
from cordum.cli.output import cell
from cordum.cli.up import Screen, print_failure
from cordum.embedded import demo
from cordum.embedded.datadir import DataDir
from cordum.embedded.errors import EmbeddedError, StartError
from cordum.embedded.session import Interrupted, until_signalled
from cordum.embedded.stack import Options, Stack

_LOG_LINES = 12


def run(keep: Path | None) -> int:
    """Runs the demo; `keep` names a data directory to leave behind, else it is temporary. Gives the exit code."""
    began = time.monotonic()
    console = Console(highlight=False)
    directory = keep or Path(tempfile.mkdtemp(prefix="cordum-demo-"))
    screen = Screen(console)
    options = Options(default_ports=False, fresh=True, extra=(demo.worker,), scratch=keep is None)
    stack = Stack(DataDir(directory), options, screen.show)
    screen.stack = stack
    console.print("Starting real NATS, real Valkey or Redis, three services and a worker", style="bold")
    try:
        outcomes = asyncio.run(until_signalled(lambda: _steps(stack, screen, console)))
    except Interrupted:
        return 130
    except StartError as error:
        print_failure(error)
        return 1
    except EmbeddedError as error:
        Console(stderr=True, highlight=False).print(Text.assemble(("✗ the demo failed: ", "bold red"), error.message))
        return 1
    _print(console, outcomes)
    console.print(f"Three jobs, three verdicts, {time.monotonic() - began:.1f} s in all; nothing is left running.")
    return 0


async def _steps(stack: Stack, screen: Screen, console: Console) -> list[demo.Outcome]:
    began = time.monotonic()
    async with stack:
        console.print(f"The stack is up after {time.monotonic() - began:.1f} s at {stack.api_url}", style="dim")
        try:
            outcomes = await demo.Demo(stack, lambda text: console.print(text, style="dim")).run()
        except EmbeddedError:
            _print_logs(stack)
            raise
        screen.mute()
        return outcomes


def _print(console: Console, outcomes: list[demo.Outcome]) -> None:
    table = Table(header_style="bold", box=None, padding=(0, 1, 1, 0), pad_edge=False)
    table.add_column("job", min_width=9)
    table.add_column("verdict and rule", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("output or reason", min_width=12)
    table.add_column("ms since submit", no_wrap=True)
    for item in outcomes:
        verdict = Text.assemble(cell(item.verdict), "\n", (item.rule, "dim"))
        steps = "\n".join(f"{at:5.1f} {what}" for what, at in item.steps)
        table.add_row(item.title, verdict, cell(item.state), Text(item.output or item.reason), steps)
    console.print()
    console.print(table)


def _print_logs(stack: Stack) -> None:
    """The last words of every part, on standard error, before they are deleted."""
    console = Console(stderr=True, highlight=False)
    for part in stack.parts:
        console.print(Text(f"── last lines of {part}", "bold"))
        for line in stack.log_tail(part, _LOG_LINES):
            console.print(Text(f"  {readable(line)}", "dim"), soft_wrap=True)
