"""cordumctl job: submit, get, list, cancel, watch."""

from typing import Annotated

import typer

from cordum.cli.command import ApiCommand, session

app = typer.Typer(no_args_is_help=True, help="Submit jobs and follow them")

LabelOptions = Annotated[list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="May be repeated")]
RiskTagOptions = Annotated[list[str] | None, typer.Option("--risk-tag", metavar="TAG", help="May be repeated")]
JobId = Annotated[str, typer.Argument(metavar="JOB_ID")]
Timeout = Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=1, max=86_400, help="How long to wait")]


@app.command(cls=ApiCommand)
def submit(
    ctx: typer.Context,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What is to be done; - reads it from standard input")],
    topic: Annotated[str, typer.Option(help="Which kind of job, job.something")] = "job.default",
    label: LabelOptions = None,
    risk_tag: RiskTagOptions = None,
    requires: Annotated[
        list[str] | None, typer.Option("--requires", metavar="CAPABILITY", help="The worker must offer it; repeatable")
    ] = None,
    capability: Annotated[str, typer.Option(help="What the job uses, for policy")] = "",
    context: Annotated[str, typer.Option(metavar="JSON|@FILE", help="Input for the worker, any JSON")] = "",
    priority: Annotated[str, typer.Option(help="batch, interactive or critical")] = "",
    idempotency_key: Annotated[str, typer.Option(metavar="KEY", help="Submitting twice makes one job")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; exit 1 unless it SUCCEEDED")] = False,
    timeout: Timeout = 60.0,
) -> None:
    """Submit a job."""
    from cordum.cli import jobs

    request = jobs.request_body(
        prompt=prompt,
        topic=topic,
        labels=label or [],
        risk_tags=risk_tag or [],
        requires=requires or [],
        capability=capability,
        context=context,
        priority=priority,
        idempotency_key=idempotency_key,
    )
    jobs.submit(session(ctx), request, timeout if wait else None)


@app.command(cls=ApiCommand)
def get(ctx: typer.Context, job_id: JobId) -> None:
    """Show one job with its verdict, input and output."""
    from cordum.cli import jobs

    jobs.show(session(ctx), job_id)


@app.command("list", cls=ApiCommand)
def list_(
    ctx: typer.Context,
    state: Annotated[str, typer.Option(metavar="STATE", help="Such as RUNNING or FAILED")] = "",
    topic: Annotated[str, typer.Option(metavar="TOPIC")] = "",
    trace_id: Annotated[str, typer.Option(metavar="ID")] = "",
    limit: Annotated[int, typer.Option(min=1, max=500)] = 20,
    cursor: Annotated[str, typer.Option(help="Where the page before ended (its next_cursor)")] = "",
) -> None:
    """List jobs, newest first."""
    from cordum.cli import jobs

    jobs.show_list(
        session(ctx), {"state": state.upper(), "topic": topic, "trace_id": trace_id, "limit": limit, "cursor": cursor}
    )


@app.command(cls=ApiCommand)
def cancel(ctx: typer.Context, job_id: JobId) -> None:
    """Cancel a job; one that has ended stays as it is."""
    from cordum.cli import jobs

    jobs.cancel(session(ctx), job_id)


@app.command(cls=ApiCommand)
def watch(ctx: typer.Context, job_id: JobId, timeout: Timeout = 600.0) -> None:
    """Print each state of a job until it ends; exit 1 unless it SUCCEEDED."""
    from cordum.cli import jobs

    jobs.watch(session(ctx), job_id, timeout)
