"""`/api/v1/jobs/{id}/release-output`, `/held-output` and `/remediate` (spec-safety section 10)."""

from typing import Annotated

import msgspec
from msgspec import Meta

from cordum.bus import messages
from cordum.core.ids import JobId
from cordum.services.gateway.answer import Answer, answer
from cordum.services.gateway.call import Call
from cordum.services.gateway.jobs import views
from cordum.services.gateway.jobs.remediation import RemediationChoice
from cordum.services.gateway.parts import Parts


class ReleaseWord(msgspec.Struct):
    """Why a held result is let go."""

    reason: Annotated[str, Meta(min_length=1, max_length=512, pattern=r"\S")]


class Released(msgspec.Struct):
    """A released job."""

    job_id: str
    state: str
    result_ptr: str


class Remedied(msgspec.Struct):
    """The job that was made from a denied one."""

    job_id: str
    trace_id: str
    remediation_of: str
    status: str = "accepted"


async def release(parts: Parts, call: Call) -> Answer:
    """Lets a held result be read."""
    word: ReleaseWord = call.body
    record = await parts.quarantine.release(call.tenant, JobId(call.params["job_id"]), call.caller, word.reason.strip())
    return answer(Released(job_id=record.id, state=record.state.value, result_ptr=record.result_ptr))


async def show_held(parts: Parts, call: Call) -> Answer:
    """The original of a redacted or quarantined result."""
    job_id = JobId(call.params["job_id"])
    held = await parts.quarantine.look(call.tenant, job_id, call.caller)
    return answer(
        {
            "job_id": job_id,
            "content": views.payload(held.content),
            "message": held.message,
            "original_ptr": held.original_ptr,
            "complete": held.complete,
        }
    )


async def remediate(parts: Parts, call: Call) -> Answer:
    """Tries a denied job again in a way the policy offers."""
    choice: RemediationChoice = call.body or RemediationChoice()
    old_id = JobId(call.params["job_id"])
    record, job = await parts.remediator.remediate(call.tenant, old_id, choice.remediation_id, call.caller)
    await parts.submitter.resubmit(job, record.trace_id, msg_id=messages.msg_id_submit(record.id))
    await parts.auditor.record(
        call.caller,
        "remediate",
        resource_type="job",
        resource_id=record.id,
        extra={"remediation_of": old_id, "remediation_id": choice.remediation_id or ""},
        tenant=call.tenant,
    )
    remedied = Remedied(job_id=record.id, trace_id=record.trace_id, remediation_of=old_id)
    return answer(remedied, headers=(("X-Trace-Id", record.trace_id),))
