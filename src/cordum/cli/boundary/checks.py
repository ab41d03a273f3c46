"""The checks on topics, workers and refusals, as functions of what the API says."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from cordum.cli.boundary.finding import Finding, judged

Item = Mapping[str, Any]

EVENTS: Final = ("attestation failed", "unknown_topic", "schema_validation_failed")
"""The fixed words, in logs and in counts."""

SELF_COMPLETING: Final = frozenset({"sys.approval.gate", "job.cordum.approval-gate", "job.guard"})
"""Topics no worker serves: their jobs end when policy, or a person, has agreed."""

_MOST_NAMED: Final = 10


def topics_complete(topics: Sequence[Item], expected: Sequence[str]) -> Finding:
    """Every topic is there, with a pool and schemas.

    Args:
        expected: `topic` or `topic=pool`.
    """
    wrong: list[str] = []
    notes: list[str] = []
    by_name = {str(topic.get("name")): topic for topic in topics}
    for word in expected:
        name, _, pool = word.partition("=")
        if name not in by_name:
            wrong.append(f"{name}: not registered")
        elif pool and by_name[name].get("pool") != pool:
            wrong.append(f"{name}: in pool {by_name[name].get('pool') or 'none'}, not {pool}")
    if not topics:
        wrong.append("no topic is registered, so none is refused: cordumctl topic create")
    for name, topic in sorted(_served(by_name).items()):
        if not topic.get("pool"):
            wrong.append(f"{name}: no pool")
        if not topic.get("input_schema_id"):
            wrong.append(f"{name}: no input schema, so no payload is checked")
        if not topic.get("output_schema_id"):
            notes.append(f"{name}: no output schema")
    return judged("topics", wrong, f"{len(_served(by_name))} topics with pool and input schema", notes)


def topics_served(topics: Sequence[Item]) -> Finding:
    """No active topic is without a living worker."""
    served = _served({str(topic.get("name")): topic for topic in topics})
    wrong = [f"{name}: no living worker" for name, topic in sorted(served.items()) if not _workers_of(topic)]
    return judged("degraded", wrong, f"all of {len(served)} active topics have living workers")


def workers_covered(workers: Sequence[Item], credentials: Sequence[Item]) -> Finding:
    """Every connected worker has a credential in force, and shows it."""
    issued = {str(item.get("worker_id")): item for item in credentials if not item.get("revoked_at")}
    wrong: list[str] = []
    notes: list[str] = []
    online = [worker for worker in workers if worker.get("online")]
    for worker in online:
        name, pool = str(worker.get("worker_id")), str(worker.get("pool"))
        credential, standing = issued.get(name), str(worker.get("attestation") or "")
        if credential is None:
            wrong.append(f"{name}: no credential: cordumctl worker credential create --worker-id {name}")
        elif credential.get("allowed_pools") and pool not in credential["allowed_pools"]:
            wrong.append(f"{name}: its credential does not allow pool {pool}")
        elif standing not in ("", "verified"):
            wrong.append(f"{name}: {standing}")
        elif not standing:
            notes.append(f"{name}: its token is not looked at while WORKER_ATTESTATION=off")
    return judged("credentials", wrong, f"{len(issued)} credentials cover {len(online)} connected workers", notes)


def refusals_ceased(counted: Sequence[Item], logged: Mapping[str, int], window: int, tolerated: int) -> Finding:
    """Nothing is refused, or would be if it were enforced.

    Args:
        counted: what the services counted, with `event`, `subject` and `count`; logged: event -> lines in log files.
        window: seconds the counts are about.
        tolerated: this many of an event do not matter.
    """
    wrong: list[str] = []
    for event in EVENTS:
        rows = [row for row in counted if row.get("event") == event]
        total = sum(int(row.get("count") or 0) for row in rows)
        if total > tolerated:
            named = [f"{row.get('subject') or 'others'} {row.get('count')}×" for row in rows[:_MOST_NAMED]]
            more = f" and {len(rows) - _MOST_NAMED} more" if len(rows) > _MOST_NAMED else ""
            wrong.append(f"{event}: {total} in the last {window // 60} min: {', '.join(named)}{more}")
        if logged.get(event, 0) > tolerated:
            wrong.append(f"{event}: {logged[event]} lines in the logs given")
    where = " and in the logs given" if logged else ""
    return judged("refusals", wrong, f"none of {', '.join(EVENTS)} in the last {window // 60} min{where}")


def _served(topics: Mapping[str, Item]) -> dict[str, Item]:
    """The topics workers are to serve."""
    return {
        name: topic
        for name, topic in topics.items()
        if name not in SELF_COMPLETING and (topic.get("status") or "active") == "active"
    }


def _workers_of(topic: Item) -> int:
    count = topic.get("active_worker_count")
    return count if isinstance(count, int) else 0
