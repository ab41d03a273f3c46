"""cordumctl approval: list, approve, reject, context, repair."""

from typing import Annotated, Any

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
        job = _part(item, "job")
        rows.append(
            (
                item.get("job_id") or job.get("id"),
                _status(item),
                item.get("topic") or job.get("topic"),
                item.get("policy_reason") or item.get("reason"),
                item.get("policy_rule_id"),
                job.get("principal") or item.get("submitted_by"),
                item.get("requested_at") or output.moment(job.get("updated_at")),
                _left(item.get("time_remaining_ms")),
            )
        )
    headings = ("JOB", "STATUS", "TOPIC", "WHY", "RULE", "ASKED BY", "SINCE", "TIME LEFT")
    output.print_table(headings, rows, "nothing waits for approval")
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


@app.command("job", cls=ApiCommand)
def job_(
    ctx: typer.Context,
    job_id: JobId,
    yes: Annotated[bool, typer.Option("--approve", help="As `approval approve`")] = False,
    no: Annotated[bool, typer.Option("--reject", help="As `approval reject`")] = False,
    reason: Reason = "",
    note: Note = "",
) -> None:
    """Decide about a job: --approve or --reject."""
    from cordum.cli.errors import UsageError

    if yes == no:
        raise UsageError("say either --approve or --reject")
    _resolve(session(ctx), job_id, "approve" if yes else "reject", reason, note)


@app.command(cls=ApiCommand)
def context(ctx: typer.Context, job_id: JobId) -> None:
    """Show everything there is to know before deciding about a job."""
    from cordum.cli import output

    asked = session(ctx)
    with asked.client() as client:
        answer = client.get(f"/approvals/{_quoted(job_id)}/context")
    if asked.wants_json:
        output.print_json(answer)
        return
    item = _part(answer, "approval")
    about, radius = _part(item, "decision_summary"), _part(answer, "blast_radius")
    rule = _part(_part(answer, "policy_snapshot_summary"), "matched_rule")
    touches = [*radius.get("systems", ()), *radius.get("namespaces", ()), *radius.get("resources", ())]
    output.print_fields(
        [
            ("job", item.get("job_id", job_id)),
            ("status", _status(item)),
            ("what", about.get("subject")),
            ("why asked", about.get("why")),
            ("then", about.get("next_effect")),
            ("rule", rule.get("id")),
            ("limits", rule.get("constraints_summary")),
            ("scope", radius.get("scope_description")),
            ("touches", ", ".join(str(one) for one in touches)),
            ("undo", answer.get("rollback_hint")),
            ("asked by", item.get("submitted_by")),
            ("since", item.get("requested_at")),
            ("time left", _left(answer.get("time_remaining_ms"))),
            ("may decide", ", ".join(item.get("roles") or ()) or "whoever may approve"),
            ("said yes", ", ".join(str(one.get("by")) for one in item.get("approvers") or ())),
            ("decided by", item.get("decided_by")),
            ("input", item.get("job_input")),
        ]
    )
    prior = answer.get("prior_approvals") or []
    if prior:
        output.notice("\nearlier ones of this topic:")
        rows = [
            (one.get("job_id"), one.get("decision"), one.get("resolved_by"), output.moment(one.get("resolved_at")))
            for one in prior
        ]
        output.print_table(("JOB", "DECISION", "BY", "WHEN"), rows, "")


@app.command(cls=ApiCommand)
def repair(
    ctx: typer.Context,
    job_id: JobId,
    apply: Annotated[bool, typer.Option("--apply", help="Mend it; without this nothing is changed")] = False,
    note: Note = "",
) -> None:
    """Find out what is wrong with an approval that is stuck, and mend it."""
    from cordum.cli import output

    asked = session(ctx)
    body: dict[str, object] = {"apply": apply, **({"note": note} if note else {})}
    with asked.client() as client:
        answer = client.post(f"/approvals/{_quoted(job_id)}/repair", body)
    if asked.wants_json:
        output.print_json(answer)
        return
    plan = _part(answer, "plan")
    output.print_fields(
        [
            ("job", answer.get("job_id", job_id)),
            ("state", answer.get("state")),
            ("found", plan.get("reason") or "nothing is wrong with it"),
            ("plan", plan.get("kind")),
            ("done", "yes" if answer.get("applied") else "no"),
        ]
    )
    if answer.get("publish_error"):
        output.notice(str(answer["publish_error"]))
    elif answer.get("repairable") and not apply:
        output.notice(f"to do it: cordumctl approval repair {job_id} --apply")


def _resolve(asked: Session, job_id: str, verb: str, reason: str, note: str) -> None:
    from cordum.cli import output
    from cordum.cli.errors import RefusedError

    body = {name: value for name, value in (("reason", reason), ("note", note)) if value}
    with asked.client() as client:
        try:
            answer = client.post(f"/approvals/{_quoted(job_id)}/{verb}", body)
        except RefusedError as refused:
            refused.hint = _hint(refused.body, job_id) or refused.hint
            raise
    if asked.wants_json:
        output.print_json(answer)
        return
    done = {"approve": "approved", "reject": "rejected"}[verb]
    output.print_fields([("job", answer.get("job_id", job_id)), ("approval", answer.get("status") or done)])
    if answer.get("status") == "approval_recorded":
        output.notice(
            f"{answer.get('approvals')} of {answer.get('required')} people have approved; the job still waits"
        )
    if answer.get("publish_deferred"):
        output.notice("written down, and not announced yet: the scheduler does it within a minute")


def _hint(body: dict[str, object], job_id: str) -> str:
    """What to do about a refusal."""
    match body.get("code"):
        case "self_approval_denied":
            return (
                "somebody else has to decide: use the key of another person with --api-key (`cordumctl up` prints an "
                "approver's), or set one up:\n"
                '  add {"key": "<new key>", "tenant": "<tenant>", "role": "operator", "principal_id": "<their name>"} '
                "to CORDUM_API_KEYS; docs/guides/approvals.md explains it"
            )
        case "approval_role_required":
            roles = body.get("required_roles")
            wanted = " or ".join(map(str, roles)) if isinstance(roles, list) else ""
            return f"ask somebody whose role is {wanted}" if wanted else ""
        case "approval_stale_snapshot":
            return f"the policy in force refuses it; `cordumctl approval repair {job_id}` says what can be done"
        case "approval_stale_request" | "approval_terminal_run":
            return f"it cannot be approved any more; `cordumctl approval repair {job_id} --apply` puts it away"
        case "approval_retryable_lock":
            return "try again in a moment"
        case _:
            return ""


def _status(item: dict[str, Any]) -> str:
    status = str(item.get("approval_status") or "")
    if status != "pending":
        return status
    required = item.get("required") or 1
    given = f" {item.get('approvals', 0)}/{required}" if required != 1 else ""
    return f"{status}{given}{' escalated' if item.get('escalated') else ''}"


def _left(milliseconds: object) -> str:
    if not isinstance(milliseconds, int):
        return ""
    minutes = milliseconds // 60_000
    return f"{minutes // 60}h{minutes % 60:02d}m" if minutes >= 60 else f"{minutes}m" if minutes else "< 1m"


def _part(answer: dict[str, Any], name: str) -> dict[str, Any]:
    part = answer.get(name)
    return part if isinstance(part, dict) else {}


def _quoted(job_id: str) -> str:
    from urllib.parse import quote

    return quote(job_id, safe="")
