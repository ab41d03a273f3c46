"""cordumctl topic: list."""

import typer

from cordum.cli.command import ApiCommand, session

app = typer.Typer(no_args_is_help=True, help="See which kinds of job there are")


@app.callback()
def _group() -> None:
    pass


@app.command("list", cls=ApiCommand)
def list_(ctx: typer.Context) -> None:
    """List the topics jobs may be submitted to."""
    from cordum.cli import output

    asked = session(ctx)
    with asked.client() as client:
        answer = client.get("/topics")
    if asked.wants_json:
        output.print_json(answer)
        return
    output.print_table(
        ("TOPIC", "POOL", "STATUS", "WORKERS", "RISK TAGS", "REQUIRES"),
        (
            (
                item.get("name"),
                item.get("pool"),
                item.get("status"),
                item.get("active_worker_count"),
                item.get("risk_tags"),
                item.get("requires"),
            )
            for item in output.items(answer)
        ),
        "no topics",
    )
