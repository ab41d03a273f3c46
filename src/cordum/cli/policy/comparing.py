"""`cordumctl policy diff`, and how differences are shown."""

import json
from pathlib import Path

from cordum.cli import output
from cordum.cli.client import Json
from cordum.cli.command import Session
from cordum.cli.errors import UsageError
from cordum.cli.policy.files import read_policy, read_text
from cordum.cli.policy.refused import shown_in
from cordum.core.policy.analysis.differences import Comparison, Difference, Direction, compare

LIVE = "live"


def run(asked: Session, before: str, after: str, bundle: str, limit: int) -> int:
    """Compares and prints; gives the exit code: 1 when something is let run that was not."""
    if after == LIVE:
        raise UsageError("`live` can only stand first: policy diff live FILE")
    answer = _with_live(asked, Path(after), bundle) if before == LIVE else _of_files(before, after, limit)
    found = [item for item in answer.get("differences") or [] if isinstance(item, dict)]
    if asked.wants_json:
        output.print_json(answer)
    else:
        print_differences(found)
        if answer.get("complete") is False:
            output.notice("there may be more: content and counts are only sampled, and the search is bounded")
    return 1 if any(item.get("direction") == Direction.RELAXED for item in found) else 0


def _of_files(before: str, after: str, limit: int) -> Json:
    comparison = compare(read_policy(Path(before)), read_policy(Path(after)), limit)
    return as_json(comparison)


def as_json(comparison: Comparison) -> Json:
    """As programs get it."""
    return {
        "complete": comparison.complete,
        "differences": [_difference(difference) for difference in comparison.differences],
    }


def _difference(difference: Difference) -> Json:
    return {
        "request": difference.request,
        "before": difference.before.decision.value,
        "before_rule_id": difference.before.rule_id,
        "after": difference.after.decision.value,
        "after_rule_id": difference.after.rule_id,
        "direction": difference.direction.value,
    }


def _with_live(asked: Session, file: Path, bundle: str) -> Json:
    """What the kernel in force says: the file counts as one bundle among all the others."""
    content = read_text(file)
    with asked.client() as client, shown_in(file, content):
        return client.post("/policy/diff", {"bundle_id": bundle, "content": content})


def print_differences(found: list[Json]) -> None:
    output.print_table(
        ("DIRECTION", "WAS", "BY", "NOW", "BY", "REQUESTS SUCH AS"),
        (
            (
                item.get("direction"),
                item.get("before"),
                item.get("before_rule_id") or "default",
                item.get("after"),
                item.get("after_rule_id") or "default",
                json.dumps(item.get("request"), ensure_ascii=False),
            )
            for item in found
        ),
        "no request is decided otherwise",
    )
