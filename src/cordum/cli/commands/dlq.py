"""cordumctl dlq: list, retry, delete."""

from typing import Annotated

import typer

from cordum.cli.command import ApiCommand, session

app = typer.Typer(no_args_is_help=True, help="The dead-letter queue: jobs that went wrong")

JobId = Annotated[str, typer.Argument(metavar="JOB_ID")]


@app.command("list", cls=ApiCommand)
def list_(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 50,
    cursor: Annotated[str, typer.Option(help="Where the page before ended (its next_cursor)")] = "",
) -> None:
    """List dead letters, newest first."""
    from cordum.cli import output

    asked = session(ctx)
    with asked.client() as client:
        answer = client.get("/dlq/page", {"limit": limit, "cursor": cursor})
    if asked.wants_json:
        output.print_json(answer)
        return
    output.print_table(
        ("JOB", "STATUS", "REASON", "TOPIC", "TRIES", "SINCE"),
        (
            (
                item.get("job_id"),
                item.get("status"),
                item.get("reason"),
                item.get("topic"),
                item.get("attempts"),
                output.moment(item.get("created_at")),
            )
            for item in output.items(answer)
        ),
        "no dead letters",
    )
    if answer.get("next_cursor"):
        output.notice(f"more: --cursor {answer['next_cursor']}")


@app.command(cls=ApiCommand)
def retry(ctx: typer.Context, job_id: JobId) -> None:
    """Run a dead job again, as a new job."""
    from urllib.parse import quote

    from cordum.cli import output

    asked = session(ctx)
    with asked.client() as client:
        answer = client.post(f"/dlq/{quote(job_id, safe='')}/retry")
    if asked.wants_json:
        output.print_json(answer)
    else:
        output.print_fields([("new job", answer.get("job_id"))])


@app.command(cls=ApiCommand)
def delete(ctx: typer.Context, job_id: JobId) -> None:
    """Take a dead letter off the list; its job stays."""
    from urllib.parse import quote

    from cordum.cli import output

    asked = session(ctx)
    with asked.client() as client:
        client.call("DELETE", f"/dlq/{quote(job_id, safe='')}")
    if asked.wants_json:
        output.print_json({"job_id": job_id, "deleted": True})
    else:
        output.notice(f"deleted {job_id}")
