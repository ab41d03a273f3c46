"""`cordumctl topic smoke`: a representative job on every active topic (guide section 5, operator checks)."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from cordum.cli import output
from cordum.cli.client import Client, Json
from cordum.cli.command import Session
from cordum.cli.errors import CliError, RefusedError, UsageError
from cordum.cli.jobs import states
from cordum.core.jobs.states import JobState

MAX_PAYLOAD: Final = 2 * 1024 * 1024
LABEL: Final = {"smoke": "true"}
GATES: Final = frozenset({"sys.approval.gate", "job.cordum.approval-gate"})
"""Topics of the control plane itself: nobody submits to them."""


@dataclass
class Trial:
    """What became of one topic's job."""

    topic: str
    outcome: str = ""
    passed: bool = False
    job_id: str = ""
    seconds: float = 0.0
    worker_id: str = ""
    detail: str = ""


def run(
    session: Session,
    only: Sequence[str],
    payload: Path | None,
    *,
    timeout: float,
    accept_approval: bool,
    wants_json: bool,
) -> None:
    """Submits, waits `timeout` seconds at most, reports.

    Raises:
        UsageError: a topic that is not registered, or a payload that is no JSON.
        CliError: a job did not succeed.
    """
    with session.client() as client:
        trials = try_out(client, only, payload, timeout=timeout, accept_approval=accept_approval)
    failed = [trial.topic for trial in trials if not trial.passed]
    if wants_json or session.wants_json:
        output.print_json({"passed": not failed, "topics": [asdict(trial) for trial in trials]})
    else:
        output.print_table(
            ("TOPIC", "PASSED", "OUTCOME", "SECONDS", "WORKER", "JOB", "DETAIL"),
            (
                (item.topic, item.passed, item.outcome, item.seconds, item.worker_id, item.job_id, item.detail)
                for item in trials
            ),
            "no active topics",
        )
    if failed:
        raise CliError(f"{len(failed)} of {len(trials)} topics failed: {', '.join(failed)}")


def try_out(
    client: Client, only: Sequence[str], payload: Path | None, *, timeout: float, accept_approval: bool
) -> list[Trial]:
    """Submits, waits `timeout` seconds at most, tidies up. Raises UsageError and CliError as `run` does."""
    topics = _chosen(client, only)
    payloads = {str(topic["name"]): _payload(client, topic, payload) for topic in topics}
    began = time.monotonic()
    trials = [_submit(client, name, context) for name, context in payloads.items()]
    for trial in trials:
        if trial.job_id:
            _follow(client, trial, began, timeout)
        trial.passed = trial.outcome == JobState.SUCCEEDED or (
            accept_approval and trial.outcome == JobState.APPROVAL_REQUIRED
        )
        if trial.job_id and not trial.passed:
            _tidy(client, trial)
    return trials


def _chosen(client: Client, only: Sequence[str]) -> list[Json]:
    known = {str(topic.get("name")): topic for topic in output.items(client.get("/topics"))}
    if missing := [name for name in only if name not in known]:
        raise UsageError(f"--topic {missing[0]}: not registered", "see `cordumctl topic list`")
    if only:
        return [known[name] for name in dict.fromkeys(only)]
    active = [topic for name, topic in sorted(known.items()) if name not in GATES and topic.get("status") == "active"]
    if not active:
        raise CliError("no active topic is registered, so there is nothing to try", "see `cordumctl topic create`")
    return active


def _payload(client: Client, topic: Json, given: Path | None) -> object:
    """The context of a topic's job: what was given for it, else the first example of its schema; None for none."""
    name = str(topic["name"])
    if given is not None:
        file = given / f"{name}.json" if given.is_dir() else given
        if file.is_file() or not given.is_dir():
            return _read(file)
    schema_id = topic.get("input_schema_id")
    if not schema_id:
        return None
    try:
        schema = client.get(f"/schemas/{quote(str(schema_id), safe='')}").get("schema")
    except RefusedError:
        return None
    examples = schema.get("examples") if isinstance(schema, dict) else None
    return examples[0] if isinstance(examples, list) and examples else None


def _read(file: Path) -> object:
    try:
        if file.stat().st_size > MAX_PAYLOAD:
            raise UsageError(f"--payload {file}: is larger than {MAX_PAYLOAD} bytes")
        parsed: object = json.loads(file.read_text())
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise UsageError(f"--payload {file}: not a JSON file that can be read: {error}") from error
    return parsed


def _submit(client: Client, topic: str, context: object) -> Trial:
    body: dict[str, object] = {"prompt": f"smoke test of {topic}", "topic": topic, "labels": LABEL}
    if context is not None:
        body["context"] = context
    try:
        answer = client.post("/jobs", body)
    except RefusedError as refused:
        code = str(refused.body.get("code") or "refused")
        return Trial(topic, outcome=code, job_id="", detail=refused.message)
    outcome = JobState.APPROVAL_REQUIRED if answer.get("status") == "approval_required" else JobState.PENDING
    return Trial(
        topic, outcome=outcome.value, job_id=str(answer.get("job_id", "")), detail=str(answer.get("reason") or "")
    )


def _follow(client: Client, trial: Trial, began: float, timeout: float) -> None:
    if trial.outcome == JobState.APPROVAL_REQUIRED:
        return
    left = max(0.5, timeout - (time.monotonic() - began))
    try:
        for job in states(client, trial.job_id, left):
            trial.outcome = str(job.get("state", ""))
            trial.worker_id = str(job.get("worker_id") or "")
            trial.detail = str(job.get("error_message") or job.get("pending_reason") or job.get("safety_reason") or "")
            if trial.outcome == JobState.APPROVAL_REQUIRED:
                break
    except CliError as error:
        # What it waits for may have been found out after its state last changed.
        waits_for = client.get(_job(trial.job_id)).get("pending_reason")
        trial.detail = str(waits_for or trial.detail or error.message)
    if trial.outcome == JobState.SUCCEEDED:
        trial.detail = ""
    trial.seconds = round(time.monotonic() - began, 2)


def _tidy(client: Client, trial: Trial) -> None:
    """Takes back a job that has not ended, so that nothing is left behind; one that has ended is not touched."""
    try:
        client.post(f"{_job(trial.job_id)}/cancel")
    except CliError as error:
        trial.detail = trial.detail or error.message


def _job(job_id: str) -> str:
    return f"/jobs/{quote(job_id, safe='')}"
