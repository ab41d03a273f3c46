"""`cordumctl policy replay`."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cordum.cli import output
from cordum.cli.client import Json
from cordum.cli.command import Session
from cordum.cli.errors import UsageError
from cordum.cli.policy.files import read_text
from cordum.cli.policy.refused import shown_in

_AGO = re.compile(r"(\d{1,5})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def run(
    asked: Session,
    file: Path | None,
    bundle: str,
    since: str,
    until: str,
    topic: str,
    decision: str,
    max_jobs: int,
) -> int:
    """Replays and prints; gives the exit code: 1 when a job would be let run that was not."""
    if file is not None and bundle:
        raise UsageError("a FILE and --bundle at once: which one is the candidate?")
    now = datetime.now(UTC)
    content = "" if file is None else read_text(file)
    filters = {"topic_pattern": topic, "original_decision": decision}
    body: Json = {
        "from": moment(since, now, "--since"),
        "to": moment(until, now, "--until") if until else _written(now),
        "max_jobs": max_jobs,
        "filters": {name: value for name, value in filters.items() if value},
    }
    if file is not None:
        body["candidate_content"] = content
    elif bundle:
        body["candidate_bundle_id"] = bundle
    else:
        body["use_current_policy"] = True
    with asked.client() as client, shown_in(file or Path(bundle or "policy"), content):
        answer = client.post("/policy/replay", body)
    summary = answer.get("summary")
    counts = summary if isinstance(summary, dict) else {}
    if asked.wants_json:
        output.print_json(answer)
    else:
        _print(answer, counts)
    return 1 if counts.get("relaxed") else 0


def moment(text: str, now: datetime, option: str) -> str:
    """A time as RFC 3339: one that is written so already, or so long before `now` (`90s`, `24h`, `7d`)."""
    ago = _AGO.fullmatch(text.strip())
    if ago is not None:
        return _written(now - timedelta(seconds=int(ago[1]) * _SECONDS[ago[2]]))
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise UsageError(f"{option} {text}: write it as 24h, 7d or 2026-01-31T00:00:00Z") from error
    return _written(found.replace(tzinfo=found.tzinfo or UTC))


def _written(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _print(answer: Json, counts: Json) -> None:
    changes = [item for item in answer.get("changes") or [] if isinstance(item, dict)]
    output.print_table(
        ("JOB", "TOPIC", "DIRECTION", "WAS", "NOW", "RULE"),
        (
            (
                item.get("job_id"),
                item.get("topic"),
                item.get("direction"),
                item.get("original_decision"),
                item.get("new_decision"),
                item.get("new_rule_id"),
            )
            for item in changes
        ),
        "no job would be decided otherwise",
    )
    output.print_fields([(name, counts.get(name)) for name in counts])
    for warning in answer.get("warnings") or []:
        output.notice(str(warning))
