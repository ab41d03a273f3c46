"""The moves of a result under the output policy: held, released, redacted, quarantined, let go by a person.

While a result is held its job runs on, for everybody who looks: there is no state in which a result can be read that
nobody has decided about.
"""

from typing import Final

import msgspec

from cordum.core.ids import DispatchId, Micros, WorkerId
from cordum.core.jobs.lifecycle import Change, held_by
from cordum.core.jobs.output import HIDDEN, OutputSafety
from cordum.core.jobs.record import JobRecord, hash_value
from cordum.core.jobs.states import WITH_WORKER, JobState

QUARANTINED_CODE: Final = "output_quarantined"
"""The error code of such a job, and how its reason begins: the runbook sorts by it."""

UNDECIDED: Final = "output_check_unavailable"
"""Why a job seems to run on although its worker has finished: the safety kernel gives no answer about the result."""


def hold(*, worker: WorkerId, dispatch_id: DispatchId, now: Micros, reason: str = "") -> Change:
    """The result is here and waits for its decision; from now on the loss of its worker loses nothing."""
    return Change(
        to=JobState.RUNNING,
        allowed_from=WITH_WORKER,
        fence=held_by(worker, dispatch_id),
        fields={"output_held": str(now), "pending_reason": reason},
    )


def decided(change: Change, safety: OutputSafety, digest: str) -> Change:
    """The move a result asks for, with what was decided about it.

    Args:
        digest: SHA-256 (hex) of the content that may be read, "" when there is none.
    """
    return msgspec.structs.replace(
        change,
        fields={**change.fields, **_safety_fields(safety), "output_digest": digest},
        clear=(*change.clear, "output_held"),
    )


def withheld(change: Change, safety: OutputSafety, message: str = "") -> Change:
    """The end of a job that did not succeed, without its output, and with `message` for its worker's words."""
    fields = {name: value for name, value in change.fields.items() if name != "result_ptr"}
    if "failure_reason" in fields:
        fields["failure_reason"] = message or f"{HIDDEN} (withheld by the output policy)"
    bare = msgspec.structs.replace(change, fields=fields, clear=(*change.clear, "result_ptr"))
    return decided(bare, safety, "")


def quarantine(record: JobRecord, *, worker: WorkerId, dispatch_id: DispatchId, safety: OutputSafety) -> Change:
    """Nobody may read this result until a person has decided about it."""
    reason = f"{QUARANTINED_CODE}: {safety.reason}" if safety.reason else QUARANTINED_CODE
    return Change(
        to=JobState.OUTPUT_QUARANTINED,
        allowed_from=WITH_WORKER,
        fence=held_by(worker, dispatch_id),
        fields=_safety_fields(safety)
        | {
            "failure_reason": reason,
            "error_code": QUARANTINED_CODE,
            "error_status": "JOB_STATUS_DENIED",
            "last_state": record.state.value,
        },
        clear=("pending_reason", "output_held", "output_digest", "result_ptr"),
        trail=(JobState.OUTPUT_QUARANTINED,),
    )


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """A person's word that a held result may be read after all."""

    by: str
    reason: str
    at: Micros


def release(
    record: JobRecord, word: Release, *, to: JobState, result_ptr: str, digest: str, failure: str = "", code: str = ""
) -> Change:
    """The quarantined job ends as its worker had ended it.

    Args:
        to: SUCCEEDED, or FAILED with `failure` and `code` as the worker gave them.
        result_ptr: where the original can be read from now on, "" when there was none.
    """
    fields = released_fields(record, word, result_ptr=result_ptr, digest=digest)
    cleared: tuple[str, ...] = ("last_state",)
    if to is JobState.FAILED:
        fields |= {"failure_reason": failure, "error_code": code, "error_status": "JOB_STATUS_FAILED"}
    else:
        cleared = ("failure_reason", "error_code", "error_status", "last_state")
    return Change(
        to=to,
        allowed_from=frozenset({JobState.OUTPUT_QUARANTINED}),
        fence={"error_code": QUARANTINED_CODE, "updated_at": str(record.updated_at)},
        fields=fields,
        clear=cleared,
        trail=(to,),
    )


def released_fields(record: JobRecord, word: Release, *, result_ptr: str, digest: str) -> dict[str, str]:
    """What the record says of a released original, whatever the job's state was."""
    safety = msgspec.structs.replace(
        record.output_safety or OutputSafety(decision=record.output_decision),
        released_by=word.by,
        released_at=word.at,
        release_reason=word.reason,
    )
    return {"output_safety": hash_value(safety), "result_ptr": result_ptr, "output_digest": digest}


def confirmed_fields(record: JobRecord, by: str) -> dict[str, str]:
    """What the record says once a person has agreed with the quarantine."""
    safety = record.output_safety or OutputSafety(decision=record.output_decision)
    return {"output_safety": hash_value(msgspec.structs.replace(safety, confirmed_by=by))}


def _safety_fields(safety: OutputSafety) -> dict[str, str]:
    return {"output_decision": safety.decision, "output_safety": hash_value(safety)}
