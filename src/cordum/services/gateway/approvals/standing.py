"""Whether a caller may decide about a job, and what they are told when they may not (spec-gateway section 5)."""

from typing import Final

from cordum.core.access.caller import Caller, same_person
from cordum.core.ids import Micros
from cordum.core.jobs.quorum import deciding_roles, may_decide
from cordum.core.jobs.record import JobRecord
from cordum.core.policy.decision import ApprovalTerms
from cordum.services.gateway.errors import ApiError

GUIDE: Final = "docs/guides/approvals.md"
_SET_UP: Final = (
    "create an API key for another person: add {key, tenant, role: operator, principal_id: <their name>} to "
    "CORDUM_API_KEYS (or the file of CORDUM_API_KEYS_PATH) and let them decide with it",
    "with `cordumctl up`, use the approver's key it printed: cordumctl --api-key <approver key> approval approve <job>",
)


def submitter_of(record: JobRecord) -> str:
    """Whom a job is put down to: as the gateway recorded it, or the principal of a job that came over the bus."""
    if ":" in record.submitted_by or not record.principal:
        return record.submitted_by
    return f"|principal:{record.principal}"


def must_be_another(record: JobRecord, caller: Caller) -> None:
    """Raises ApiError `self_approval_denied` when the caller may be the one who submitted the job."""
    submitter = submitter_of(record)
    if not same_person(submitter, caller.identity):
        return
    raise ApiError(
        "self_approval_denied",
        f"nobody approves or rejects their own job: {_likeness(submitter, caller)}. It takes another person, with an "
        f"API key and a principal of their own; {GUIDE} says how to set up an approver.",
        extra={
            "submitted_by": submitter,
            "caller": caller.identity,
            "how_to": [*_SET_UP],
            "docs": GUIDE,
        },
    )


def _likeness(submitter: str, caller: Caller) -> str:
    if caller.principal and submitter.endswith(f":{caller.principal}"):
        return f"you are {caller.principal}, for whom it was submitted"
    return "it was submitted with the API key you are using"


def must_have_a_say(terms: ApprovalTerms, escalated_at: Micros, caller: Caller) -> None:
    """Raises ApiError `approval_role_required` when the rule leaves the decision to others."""
    if may_decide(terms, caller.role.value, escalated_at):
        return
    wanted = deciding_roles(terms, escalated_at)
    raise ApiError(
        "approval_role_required",
        f"the rule leaves this decision to {' or '.join(wanted)}; your role is {caller.role.value}",
        extra={"required_roles": list(wanted), "role": caller.role.value},
    )
