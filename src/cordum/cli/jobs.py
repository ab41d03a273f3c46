"""What `cordumctl job ...` does."""

import itertools
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from cordum.cli import output
from cordum.cli.client import Client, Json
from cordum.cli.command import Session
from cordum.cli.errors import CliError, RefusedError, UsageError
from cordum.core.jobs.states import TERMINAL, JobState

_LONGEST_WAIT = 20.0
"""Seconds one request waits for a change; short enough for proxies that cut silent connections."""
_SHORTEST_PAUSE = 0.25


def request_body(
    *,
    prompt: str,
    topic: str,
    labels: Sequence[str],
    risk_tags: Sequence[str],
    requires: Sequence[str],
    capability: str,
    context: str,
    priority: str,
    idempotency_key: str,
) -> Json:
    """The body of a submit. Raises UsageError for a label without `=` or a context that is not JSON."""
    body: Json = {"prompt": sys.stdin.read() if prompt == "-" else prompt, "topic": topic}
    optional = {
        "labels": parse_labels(labels),
        "risk_tags": list(risk_tags),
        "requires": list(requires),
        "capability": capability,
        "priority": priority,
        "idempotency_key": idempotency_key,
    }
    body.update({name: value for name, value in optional.items() if value})
    if context:
        body["context"] = parse_context(context)
    return body


def parse_labels(labels: Sequence[str]) -> dict[str, str]:
    """`key=value` items as a mapping."""
    found: dict[str, str] = {}
    for item in labels:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise UsageError(f"--label {item}: write it as KEY=VALUE")
        found[key] = value
    return found


def parse_context(text: str) -> object:
    """JSON given directly, or the JSON in the file named after `@`."""
    source = "--context"
    if text.startswith("@"):
        source = f"--context {text}"
        try:
            text = Path(text[1:]).expanduser().read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{source}: cannot be read: {error}") from error
    try:
        parsed: object = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(
            f"{source}: not JSON: {error}", "quote it for the shell: --context '{\"amount\": 5}'"
        ) from error
    return parsed


def submit(session: Session, body: Mapping[str, object], wait: float | None) -> None:
    """Submits; with `wait` follows the job for so many seconds."""
    key = str(body.get("idempotency_key", ""))
    with session.client() as client:
        try:
            answer = client.post("/jobs", body, {"Idempotency-Key": key} if key else None)
        except RefusedError as refused:
            raise _with_reason(client, refused) from refused
        job_id = str(answer.get("job_id", ""))
        if wait is not None:
            _follow(session, client, job_id, wait)
            return
    if session.wants_json:
        output.print_json(answer)
        return
    output.print_fields(
        [("job", job_id), ("state", str(answer.get("status", "")).upper()), ("reason", answer.get("reason"))]
    )
    if answer.get("status") == "approval_required":
        output.notice(f"it waits for somebody else: cordumctl approval approve {job_id}")
    else:
        output.notice(f"follow it: cordumctl job watch {job_id}")


def show(session: Session, job_id: str) -> None:
    with session.client() as client:
        _print_job(session, client.get(_path(job_id)))


def show_list(session: Session, query: Mapping[str, object]) -> None:
    with session.client() as client:
        answer = client.get("/jobs", query)
    if session.wants_json:
        output.print_json(answer)
        return
    output.print_table(
        ("ID", "STATE", "TOPIC", "VERDICT", "WORKER", "TRIES", "UPDATED"),
        (
            (
                item.get("id"),
                item.get("state"),
                item.get("topic"),
                item.get("safety_decision"),
                item.get("worker_id"),
                item.get("attempts"),
                output.moment(item.get("updated_at")),
            )
            for item in output.items(answer)
        ),
        "no jobs",
    )
    if answer.get("next_cursor"):
        output.notice(f"more: --cursor {answer['next_cursor']}")


def cancel(session: Session, job_id: str) -> None:
    with session.client() as client:
        answer = client.post(f"{_path(job_id)}/cancel")
    if session.wants_json:
        output.print_json(answer)
    else:
        output.print_fields([("job", answer.get("id", job_id)), *_rest(answer, ("state", "reason"))])


def watch(session: Session, job_id: str, timeout: float) -> None:
    with session.client() as client:
        _follow(session, client, job_id, timeout)


def states(client: Client, job_id: str, timeout: float) -> Iterator[Json]:
    """The job each time its state, or the reason why it waits, has changed, until it ends.

    Raises:
        CliError: it has not ended after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    seen: tuple[str, str] | None = None
    # The first look does not wait, so that the present state is shown at once; the second, short one is for the reason
    # why a job waits, which the scheduler finds a moment later.
    waits = itertools.chain((0.0, 1.0), itertools.repeat(_LONGEST_WAIT))
    for longest in waits:
        began = time.monotonic()
        left = deadline - began
        wait = max(0.0, min(left, longest))
        job = client.get(_path(job_id), {"wait": f"{wait:.1f}s"} if wait else None, waits=wait)
        state = str(job.get("state", ""))
        if (state, str(job.get("pending_reason", ""))) != seen:
            seen = (state, str(job.get("pending_reason", "")))
            yield job
        if has_ended(state):
            return
        if time.monotonic() >= deadline:
            reason = f" ({job['pending_reason']})" if job.get("pending_reason") else ""
            raise CliError(
                f"job {job_id} is still {state}{reason} after {timeout:.0f} s",
                "is a worker for its topic running? see `cordumctl worker list`",
            )
        # A gateway that answers at once instead of waiting must not be asked in a tight loop.
        time.sleep(max(0.0, min(_SHORTEST_PAUSE - (time.monotonic() - began), left)))


def has_ended(state: str) -> bool:
    try:
        return JobState(state) in TERMINAL
    except ValueError:
        return False


def _follow(session: Session, client: Client, job_id: str, timeout: float) -> None:
    last: Json = {}
    for job in states(client, job_id, timeout):
        last = job
        if not session.wants_json:
            line = output.cell(job.get("state"))
            output.console().print(time.strftime("%H:%M:%S"), line, *_remarks(job))
    if session.wants_json:
        output.print_json(last)
    else:
        _print_job(session, last)
    if last.get("state") != JobState.SUCCEEDED:
        raise CliError(f"job {job_id} ended with {last.get('state')}")


def _remarks(job: Json) -> list[str]:
    state = job.get("state")
    if state == JobState.APPROVAL_REQUIRED:
        return [f"cordumctl approval approve {job.get('id')}"]
    found = job.get("pending_reason") if state == JobState.PENDING else job.get("worker_id")
    return [str(found)] if found else []


def _print_job(session: Session, job: Json) -> None:
    if session.wants_json:
        output.print_json(job)
        return
    fields = (
        "id state topic tenant principal worker_id pool attempts pending_reason safety_decision safety_rule_id "
        "safety_reason safety_snapshot approval_status approval_by approval_reason failure_reason error_message "
        "error_code trace_id capability risk_tags requires labels context result"
    )
    output.print_fields(
        [
            *((name, job.get(name)) for name in fields.split()),
            ("created", output.moment(job.get("created_at"))),
            ("updated", output.moment(job.get("updated_at"))),
        ]
    )


def _with_reason(client: Client, refused: RefusedError) -> RefusedError:
    """A denied job is kept, with the rule's reason; the refusal itself may not say it."""
    job_id = refused.body.get("job_id")
    if not isinstance(job_id, str) or not job_id:
        return refused
    try:
        job = client.get(_path(job_id))
    except CliError:
        return refused
    rule = f", rule {job['safety_rule_id']}" if job.get("safety_rule_id") else ""
    reason = job.get("safety_reason") or refused.message
    return RefusedError(f"denied: {reason}{rule} (job {job_id})", "", refused.status, refused.body)


def _rest(answer: Json, names: Sequence[str]) -> list[tuple[str, object]]:
    return [(name, answer.get(name)) for name in names]


def _path(job_id: str) -> str:
    return f"/jobs/{quote(job_id, safe='')}"
