"""cordumctl approval: list, approve, reject."""

from typing import Annotated

import typer

from cordum.cli.command import ApiCommand, Session, session

app = typer.Typer(no_args_is_help=True, help="Decide what policy leaves to a person")

JobId = Annotated[str, typer.Argument(metavar="JOB_ID")]
Reason = Annotated[str, typer.Option(help="Why; kept with the job")]
Note = Annotated[str, typer.Option(help="A remark; kept with the job")]


@app.command("list", cls=ApiCommand)
def list_(
    ctx: typer.Context,
    resolved: Annotated[bool, typer.Option("--resolved", help="Those already decided as well")] = False,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 50,
    cursor: Annotated[str, typer.Option(help="Where the page before ended (its next_cursor)")] = "",
) -> None:
    """List the jobs that wait for a person."""
    from cordum.cli import output

    asked = session(ctx)
    query = {"limit": limit, "cursor": cursor, "include_resolved": "true" if resolved else "false"}
    with asked.client() as client:
        answer = client.get("/approvals", query)
    if asked.wants_json:
        output.print_json(answer)
        return
    rows = []
    for item in output.items(answer):
        job = item.get("job") if isinstance(item.get("job"), dict) else {}
        assert isinstance(job, dict)
        rows.append(
            (
                item.get("job_id") or job.get("id"),
                item.get("approval_status"),
                job.get("topic") or item.get("topic"),
                item.get("policy_reason") or item.get("reason"),
                item.get("policy_rule_id"),
                job.get("principal") or item.get("submitted_by"),
                output.moment(job.get("updated_at")),
            )
        )
    output.print_table(
        ("JOB", "STATUS", "TOPIC", "WHY", "RULE", "ASKED BY", "SINCE"), rows, "nothing waits for approval"
    )
    if answer.get("next_cursor"):
        output.notice(f"more: --cursor {answer['next_cursor']}")


@app.command(cls=ApiCommand)
def approve(ctx: typer.Context, job_id: JobId, reason: Reason = "", note: Note = "") -> None:
    """Let a job run. Not your own: another person's key is needed."""
    _resolve(session(ctx), job_id, "approve", reason, note)


@app.command(cls=ApiCommand)
def reject(ctx: typer.Context, job_id: JobId, reason: Reason = "", note: Note = "") -> None:
    """Refuse a job; it ends as DENIED."""
    _resolve(session(ctx), job_id, "reject", reason, note)


def _resolve(asked: Session, job_id: str, verb: str, reason: str, note: str) -> None:
    from urllib.parse import quote

    from cordum.cli import output
    from cordum.cli.errors import RefusedError

    body = {name: value for name, value in (("reason", reason), ("note", note)) if value}
    with asked.client() as client:
        try:
            answer = client.post(f"/approvals/{quote(job_id, safe='')}/{verb}", body)
        except RefusedError as refused:
            if refused.body.get("code") == "self_approval_denied":
                refused.hint = "use the key of another person with --api-key (`cordumctl up` prints an approver's)"
            raise
    if asked.wants_json:
        output.print_json(answer)
    else:
        done = {"approve": "approved", "reject": "rejected"}[verb]
        output.print_fields([("job", answer.get("job_id", job_id)), ("approval", answer.get("status") or done)])
