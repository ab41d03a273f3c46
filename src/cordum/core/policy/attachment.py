"""Which workflow, job or edge session a request belongs to, for rules attached to one (spec-safety 4.3 and 4.9).

An attachment has the id of the bundle that brought it, `job/<id>/policy` or `session/<id>/policy`; a selector may name
either that or the plain id.
"""

from collections.abc import Mapping

from cordum.core.policy.document import Selector, Tier
from cordum.core.policy.request import PolicyRequest

ATTACHMENT = "policy.attachment_id"
_WORKFLOW = ("workflow_id", "workflow.id", "workflow", "workflow_run_id", "workflow.run_id")
_JOB = ("job_id", "job.id", "edge.job_id", "session_id", "edge.session_id")
_SESSION = ("session_id", "edge.session_id")

PRECEDENCE = {Tier.JOB: 0, Tier.WORKFLOW: 1, Tier.GLOBAL: 2}
"""The order in which tiers are asked."""


def workflow_of(labels: Mapping[str, str]) -> str:
    """The workflow's id, or an empty text."""
    return _first(labels, _WORKFLOW)


def jobs_of(request: PolicyRequest) -> tuple[str, ...]:
    """The names the request's job goes by: of its attachment, else its own id, else that in its labels."""
    labels = request.labels
    name = labels.get(ATTACHMENT, "").strip() or request.job_id or _first(labels, _JOB)
    return _names(name, "job")


def sessions_of(request: PolicyRequest) -> tuple[str, ...]:
    """The names of the edge session the request belongs to."""
    labels = request.labels
    found: list[str] = []
    attached = labels.get(ATTACHMENT, "").strip()
    if attached.startswith("session/"):
        found += _names(attached, "session")
    for label in _SESSION:
        found += _names(labels.get(label, "").strip(), "session")
    return tuple(found)


def selects(selector: Selector, request: PolicyRequest) -> bool:
    """Whether everything the selector names is the request's."""
    return (
        (not selector.workflow_id or selector.workflow_id.strip() == workflow_of(request.labels))
        and (not selector.job_id or plain(selector.job_id, "job") in jobs_of(request))
        and (not selector.session_id or plain(selector.session_id, "session") in sessions_of(request))
    )


def plain(name: str, kind: str) -> str:
    """The id within `job/<id>/policy`, or the name as it is."""
    name = name.strip()
    if name.startswith(f"{kind}/") and name.endswith("/policy"):
        return name[len(kind) + 1 : -len("/policy")] or name
    return name


def _names(name: str, kind: str) -> tuple[str, ...]:
    if not name:
        return ()
    inner = plain(name, kind)
    return (name,) if inner == name else (name, inner)


def _first(labels: Mapping[str, str], names: tuple[str, ...]) -> str:
    for name in names:
        value = labels.get(name)
        if value and (value := value.strip()):
            return value
    return ""
