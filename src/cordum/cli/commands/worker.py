"""cordumctl worker: list, credential."""

import typer

from cordum.cli.command import ApiCommand, session
from cordum.cli.commands import worker_credential

app = typer.Typer(no_args_is_help=True, help="See who does the work, and say who may")
app.add_typer(worker_credential.app, name="credential")


@app.callback()
def _group() -> None:
    pass


@app.command("list", cls=ApiCommand)
def list_(ctx: typer.Context) -> None:
    """List the workers that send heartbeats."""
    from cordum.cli import output

    asked = session(ctx)
    with asked.client() as client:
        answer = client.get("/workers")
    if asked.wants_json:
        output.print_json(answer)
        return
    output.print_table(
        ("ID", "POOL", "ONLINE", "JOBS", "CPU %", "CAPABILITIES", "HEARTBEAT"),
        (
            (
                item.get("worker_id"),
                item.get("pool"),
                item.get("online"),
                f"{item.get('active_jobs', 0)}/{item.get('max_parallel_jobs', 0)}",
                round(float(item.get("cpu_load") or 0), 1),
                item.get("capabilities"),
                f"{float(item.get('heartbeat_age_seconds') or 0):.1f} s ago",
            )
            for item in output.items(answer)
        ),
        "no workers; start one: python examples/echo_worker.py",
    )
