"""What an approval is good for: one dispatch of one request, under the demand it answered (spec-safety section 11)."""

from cordum.core.jobs.quorum import Vote, enough
from cordum.core.jobs.record import JobRecord
from cordum.core.policy.decision import Decision, Verdict


def covers(record: JobRecord, verdict: Verdict, job_hash: str) -> bool:
    """Whether people have approved this very job under this very demand for approval, and it has not run since.

    Bound to the job's hash and to the policy: the same snapshot, or a newer one in which the same rule asks again,
    under terms that the votes meet. Any other verdict than REQUIRE_APPROVAL is never overruled by an approval.
    """
    return _answers(record, verdict, job_hash) and (
        record.approval_policy_snapshot == verdict.snapshot or record.safety_rule_id == verdict.rule_id != ""
    )


def covers_gate(record: JobRecord, verdict: Verdict, job_hash: str) -> bool:
    """The same for a job that is nothing but a question to people: under a new policy it asks the same question."""
    return _answers(record, verdict, job_hash)


def _answers(record: JobRecord, verdict: Verdict, job_hash: str) -> bool:
    return (
        verdict.decision is Decision.REQUIRE_APPROVAL
        and record.approval_status == "approved"
        and not record.approval_dispatch_id
        and bool(job_hash)
        and record.approval_job_hash == job_hash
        and enough(votes_of(record), verdict.approval, record.approval_escalated_at)
    )


def why_not(record: JobRecord, verdict: Verdict, job_hash: str) -> str:
    """Why a given approval does not cover a job, in words."""
    if record.approval_dispatch_id:
        return "its approval was used by an earlier attempt"
    if not job_hash or record.approval_job_hash != job_hash:
        return "what was approved is another request"
    if not enough(votes_of(record), verdict.approval, record.approval_escalated_at):
        return "the policy of today asks for more, or for others, to approve"
    return "another rule asks for approval than the one that was answered"


def votes_of(record: JobRecord) -> tuple[Vote, ...]:
    """Who said yes so far."""
    if record.approval_votes or not record.approval_by:
        return record.approval_votes
    return (Vote(who=f"principal:{record.approval_by}", by=record.approval_by, role=record.approval_role),)
