"""Message ids, by which JetStream drops doubles for two minutes, and the hash that binds an approval to a request."""

import hashlib
from typing import Final

from cap.pb.cordum.agent.v1.job_pb2 import JobRequest

from cordum.core.ids import DispatchId, JobId

BUS_MSG_ID_LABEL: Final = "cordum.bus_msg_id"
"""A label that asks for a message id of its own, so that a job may be submitted again within two minutes."""
EFFECTIVE_CONFIG_ENV: Final = "CORDUM_EFFECTIVE_CONFIG"

_APPROVAL_PREFIX: Final = "approval_"
_UNHASHED_LABELS: Final = frozenset({BUS_MSG_ID_LABEL, "policy.attachment_id"})


def msg_id_submit(job_id: JobId | str) -> str:
    """Id of a first submit: the same job submitted twice arrives once."""
    return f"jobreq:{job_id}"


def msg_id_resubmit(subject: str, label: str) -> str:
    """Id of a submit that carries the label `cordum.bus_msg_id`."""
    return f"jobreq:{subject}:{label}"


def msg_id_approved(subject: str, job_id: JobId | str, revision: int = 1) -> str:
    """Id of the submit that follows an approval: another one than the first submit's, the same for each repetition.

    A job that was parked again is approved again: `revision` tells its approvals apart.
    """
    return msg_id_resubmit(subject, f"approval:{job_id}:{revision}" if revision > 1 else f"approval:{job_id}")


def msg_id_request(job_id: JobId | str, dispatch_id: DispatchId | str) -> str:
    """Id of a dispatch: published again after a crash it is stored once.

    By dispatch and not by attempt, since a dispatch that is taken back does not count as an attempt: the next one has
    the same number and must not be taken for its double.
    """
    return f"jobreq:{job_id}:{dispatch_id}"


def msg_id_result(subject: str, job_id: JobId | str, attempt: int = 0) -> str:
    """Id of a result or DLQ message. `attempt` keeps the ends of two attempts apart; 0 leaves it out."""
    return f"{subject}:{job_id}:{attempt}" if attempt else f"{subject}:{job_id}"


def job_hash(request: JobRequest) -> str:
    """SHA-256 (hex) of what a job asks for: an approval counts only for this (spec-scheduler section 4.1).

    Left out is what the way through the control plane adds: approval labels, bus and policy labels, effective config,
    and fields this version of CAP does not know.
    """
    asked = JobRequest()
    asked.CopyFrom(request)
    for name in [
        name for name in asked.labels if name.lower().startswith(_APPROVAL_PREFIX) or name in _UNHASHED_LABELS
    ]:
        del asked.labels[name]
    if EFFECTIVE_CONFIG_ENV in asked.env:
        del asked.env[EFFECTIVE_CONFIG_ENV]
    asked.DiscardUnknownFields()
    return hashlib.sha256(asked.SerializeToString(deterministic=True)).hexdigest()
