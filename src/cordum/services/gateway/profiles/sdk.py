"""Answers as the published Python SDK 0.1.0 reads them (spec-gateway section 13, traps 1 to 8).

Its models want ISO times where everybody else gets microseconds, bare lists where others get `{items}`, and know fewer
words. A word it does not know makes it raise; so every decision is given as one it knows, and what is no allow is never
given as one.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from cordum.core.ids import Micros
from cordum.services.gateway.times import rfc3339_micros

Adapter = Callable[[Any], Any]
Body = dict[str, Any]

_DECISIONS: Final = {
    "ALLOW": "ALLOW",
    "REQUIRE_APPROVAL": "REQUIRE_APPROVAL",
    "QUARANTINE": "QUARANTINE",
    "DENY": "DENY",
    # It knows no throttling: it is not to go on now. `decision_type` says which kind of no it is.
    "THROTTLE": "DENY",
}
_RESOLVED: Final = {"approved": "APPROVED", "pending": "PENDING", "": "PENDING"}
_RULE_WORDS: Final = {
    "allow": "ALLOW",
    "allow_with_constraints": "ALLOW",
    "require_approval": "REQUIRE_APPROVAL",
    "quarantine": "QUARANTINE",
}
_OUTPUT_WORDS: Final = {"redact": "REDACT", "allow": "LOG"}


def decision(body: Body) -> Body:
    """An answer about policy; a word we do not know is a DENY."""
    return {**body, "decision": _DECISIONS.get(str(body.get("decision")), "DENY")}


def decisions(body: Body) -> Body:
    """Answers to a batch."""
    return {**body, "items": [decision(item) for item in body.get("items", [])]}


def job(body: Body) -> Body:
    """A job: times as text, those that are not known left out."""
    return _with_times(body, ("created_at", "updated_at", "started_at", "completed_at"))


def jobs(body: Body) -> Body:
    """A page of jobs; the cursor is text."""
    return _cursor({**body, "items": [job(item) for item in body.get("items", [])]})


def job_decisions(body: list[Body]) -> list[Body]:
    """The decisions about a job; one without a time has none."""
    return [_without_empty(item, ("evaluated_at",)) for item in body]


def approval(body: Body) -> Body:
    """An approval: `decision` is what became of it, not what the policy asked for."""
    shown = _without_empty(body, ("requested_at",))
    shown["decision"] = _RESOLVED.get(str(body.get("approval_status") or ""), "REJECTED")
    shown["safety_decision"] = body.get("decision")
    shown["decided_at"] = body.get("decided_at") or None
    if isinstance(body.get("job"), dict):
        shown["job"] = job(body["job"])
    return shown


def approvals(body: Body) -> Body:
    """A page of approvals."""
    return _cursor({**body, "items": [approval(item) for item in body.get("items", [])]})


def dead_letters(body: Body) -> list[Body]:
    """Dead letters as a bare list."""
    return [_without_empty(item, ("failed_at",)) for item in body.get("items", [])]


def dead_letter_page(body: Body) -> Body:
    """A page of dead letters."""
    return _cursor({**body, "items": dead_letters(body)})


def bundles(body: Body) -> Body:
    """Bundles as a list of summaries, under both names."""
    items = [_without_empty(item, ("updated_at",)) for item in body.get("items", [])]
    return _without_empty({**body, "bundles": items, "items": items}, ("updated_at",))


def bundle(body: Body) -> Body:
    """One bundle."""
    return _without_empty(body, ("updated_at", "created_at"))


def snapshots(body: Body) -> list[Body]:
    """Snapshot ids as objects, in a bare list."""
    return [{"id": item} if isinstance(item, str) else item for item in body.get("snapshots", [])]


def snapshot(body: Body) -> Body:
    """One snapshot of the bundles, or the answer to a publish or a rollback, which it reads as one."""
    shown = _without_empty(body, ("created_at",))
    if "id" not in shown and isinstance(shown.get("snapshot_after"), str):
        shown["id"] = shown["snapshot_after"]
    return shown


def bundle_snapshots(body: Body) -> Body:
    """Snapshots of the bundles."""
    return {**body, "items": [snapshot(item) for item in body.get("items", [])]}


def output_rule(body: Body) -> Body:
    """A rule about results, with the word for what it does."""
    word = str(body.get("decision", "")).lower()
    scanners = body.get("scanners") or []
    return {
        **body,
        "name": body.get("name") or body.get("id", ""),
        "action": _OUTPUT_WORDS.get(word, "BLOCK"),
        "scanner_type": body.get("scanner_type") or (scanners[0] if scanners else ""),
    }


def output_rules(body: Body) -> list[Body]:
    """Rules about results as a bare list."""
    return [output_rule(item) for item in body.get("items", [])]


def policy_rules(body: Body) -> Body:
    """The policy's rules, each with the word for what it does."""
    return {**body, "items": [_policy_rule(item) for item in body.get("items", [])]}


def audit(body: Body) -> list[Body]:
    """The audit as a bare list."""
    return [_without_empty(item, ("timestamp",)) for item in body.get("items", [])]


def _policy_rule(body: Body) -> Body:
    word = str(body.get("decision", "")).lower()
    match = body.get("match")
    return {
        **body,
        "name": body.get("name") or body.get("id", ""),
        "action": _RULE_WORDS.get(word, "DENY"),
        "conditions": match if isinstance(match, dict) else {},
    }


def _with_times(body: Body, names: tuple[str, ...]) -> Body:
    shown = dict(body)
    for name in names:
        value = shown.get(name)
        if isinstance(value, int) and value > 0:
            shown[name] = rfc3339_micros(Micros(value))
        elif name in shown and not (isinstance(value, str) and value):
            del shown[name]
    return shown


def _without_empty(body: Body, names: tuple[str, ...]) -> Body:
    return {name: value for name, value in body.items() if value or name not in names}


def _cursor(body: Body) -> Body:
    cursor = body.get("next_cursor")
    return {**body, "next_cursor": str(cursor)} if isinstance(cursor, int) else body


_API: Final = "/api/v1"
ADAPTERS: Final[Mapping[tuple[str, str], Adapter]] = {
    ("GET", f"{_API}/jobs"): jobs,
    ("GET", f"{_API}/jobs/{{job_id}}"): job,
    ("GET", f"{_API}/jobs/{{job_id}}/decisions"): job_decisions,
    ("GET", f"{_API}/approvals"): approvals,
    ("GET", f"{_API}/dlq"): dead_letters,
    ("GET", f"{_API}/dlq/page"): dead_letter_page,
    ("POST", f"{_API}/policy/evaluate"): decision,
    ("POST", f"{_API}/policy/evaluate-batch"): decisions,
    ("POST", f"{_API}/policy/simulate"): decision,
    ("POST", f"{_API}/policy/explain"): decision,
    ("GET", f"{_API}/policy/snapshots"): snapshots,
    ("GET", f"{_API}/policy/rules"): policy_rules,
    ("GET", f"{_API}/policy/output/rules"): output_rules,
    ("PUT", f"{_API}/policy/output/rules/{{rule_id}}"): output_rule,
    ("GET", f"{_API}/policy/bundles"): bundles,
    ("GET", f"{_API}/policy/bundles/{{bundle_id}}"): bundle,
    ("PUT", f"{_API}/policy/bundles/{{bundle_id}}"): bundle,
    ("POST", f"{_API}/policy/bundles/{{bundle_id}}/simulate"): decision,
    ("GET", f"{_API}/policy/bundles/snapshots"): bundle_snapshots,
    ("POST", f"{_API}/policy/bundles/snapshots"): snapshot,
    ("GET", f"{_API}/policy/bundles/snapshots/{{snapshot_id}}"): snapshot,
    ("POST", f"{_API}/policy/publish"): snapshot,
    ("POST", f"{_API}/policy/rollback"): snapshot,
    ("GET", f"{_API}/policy/audit"): audit,
}


def adapter_of(method: str, path: str) -> Adapter | None:
    """What makes the SDK's form of a route's answer; None where it reads ours."""
    return ADAPTERS.get((method, path))
