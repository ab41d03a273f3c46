"""What became of a submit, and how a repetition is told the same again (spec-gateway sections 2.6 and 14.17)."""

from enum import StrEnum

import msgspec

from cordum.core.ids import JobId, TraceId
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.services.gateway.errors import ApiError


class Status(StrEnum):
    """The outcome in one word."""

    ACCEPTED = "accepted"
    APPROVAL_REQUIRED = "approval_required"
    DENIED = "denied"
    DUPLICATE = "duplicate"
    """A repetition of a submit that was accepted."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A submit that was taken in. A denied one is raised as ApiError `policy_denied`."""

    status: Status
    job_id: JobId
    trace_id: TraceId
    reason: str = ""
    replayed: bool = False


def accepted(record: JobRecord) -> Outcome:
    return Outcome(status=Status.ACCEPTED, job_id=record.id, trace_id=record.trace_id, reason=record.pending_reason)


def approval_required(record: JobRecord) -> Outcome:
    return Outcome(
        status=Status.APPROVAL_REQUIRED, job_id=record.id, trace_id=record.trace_id, reason=record.safety_reason
    )


def denial(record: JobRecord) -> ApiError:
    """The refusal of a denied submit: says why, and under which id the attempt is kept."""
    return ApiError(
        "policy_denied",
        record.safety_reason or None,
        extra={
            "job_id": record.id,
            "trace_id": record.trace_id,
            "outcome": Status.DENIED.value,
            "decision": "DENY",
            "rule_id": record.safety_rule_id,
        },
        headers={"X-Trace-Id": record.trace_id},
    )


def original_outcome(record: JobRecord) -> Outcome:
    """What the first submit of this job was told, whatever has happened to the job since.

    Raises:
        ApiError: it was told that policy denies the job.
    """
    if record.state is JobState.DENIED and record.error_code == "policy_denied":
        raise denial(record)
    outcome = approval_required(record) if record.approval_status else accepted(record)
    status = Status.DUPLICATE if outcome.status is Status.ACCEPTED else outcome.status
    return msgspec.structs.replace(outcome, status=status, replayed=True)
