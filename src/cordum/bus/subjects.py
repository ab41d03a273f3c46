"""Subjects, streams and the names under which the control plane speaks (spec-scheduler sections 1, 2.2 and 2.3)."""

import re
from typing import Final

from cordum.bus.errors import BadSubjectError
from cordum.core.ids import WorkerId

JOB_SUBMIT: Final = "sys.job.submit"
JOB_RESULT: Final = "sys.job.result"
JOB_DLQ: Final = "sys.job.dlq"
JOB_CANCEL: Final = "sys.job.cancel"
JOB_PROGRESS: Final = "sys.job.progress"
HEARTBEAT: Final = "sys.heartbeat"
HANDSHAKE: Final = "sys.handshake"
WORKER_CHALLENGE: Final = "sys.worker.handshake.challenge"
WORKER_AUTHENTICATE: Final = "sys.worker.handshake.authenticate"
CONFIG_CHANGED: Final = "sys.config.changed"
AUDIT_EXPORT: Final = "sys.audit.export"
AUDIT_OUTPUT_POLICY: Final = "sys.audit.output_policy"
WORKFLOW_EVENT: Final = "sys.workflow.event"
ALERT: Final = "sys.alert"

ALL_JOB_EVENTS: Final = "sys.job.>"
ALL_AUDIT_EVENTS: Final = "sys.audit.>"
ALL_TOPICS: Final = "job.>"
ALL_WORKER_JOBS: Final = "worker.*.jobs"
"""Every job sent to one worker directly; schedulers listen to learn what their peers dispatch."""

STREAM_SYS: Final = "CORDUM_SYS"
STREAM_JOBS: Final = "CORDUM_JOBS"
SYS_SUBJECTS: Final = (JOB_SUBMIT, JOB_RESULT, JOB_DLQ, JOB_CANCEL, AUDIT_EXPORT)
"""What `CORDUM_SYS` stores. Never `sys.>`: see `TRANSIENT`."""
JOBS_SUBJECTS: Final = (ALL_TOPICS, ALL_WORKER_JOBS)
TRANSIENT: Final = (
    HEARTBEAT,
    HANDSHAKE,
    JOB_PROGRESS,
    CONFIG_CHANGED,
    WORKER_CHALLENGE,
    WORKER_AUTHENTICATE,
    WORKFLOW_EVENT,
    ALERT,
    AUDIT_OUTPUT_POLICY,
)
"""What no stream may store: it is stale in seconds, and JetStream would answer a request in the scheduler's place."""

APPROVAL_GATES: Final = frozenset({"sys.approval.gate", "job.cordum.approval-gate"})
"""Topics of gate jobs: never dispatched, they succeed once approved."""

SCHEDULER_ID: Final = "cordum-scheduler"
SAGA_ID: Final = "cordum-scheduler-saga"
GATEWAY_ID: Final = "api-gateway-http"
"""Sender of submitted jobs."""
GATEWAY_CONTROL_ID: Final = "api-gateway"
"""Sender of cancels, approvals, DLQ retries and config changes."""
WORKFLOW_ENGINE_ID: Final = "workflow-engine"
AUDIT_ID: Final = "audit-publisher"
RESERVED_IDS: Final = frozenset({SCHEDULER_ID, SAGA_ID, GATEWAY_ID, GATEWAY_CONTROL_ID, WORKFLOW_ENGINE_ID, AUDIT_ID})
"""Names of the control plane; no worker may use one."""

SCHEDULER_QUEUE: Final = "cordum-scheduler"
GATEWAY_QUEUE: Final = "cordum-gateway"
WORKFLOW_ENGINE_QUEUE: Final = "cordum-workflow-engine"
AUDIT_QUEUE: Final = "audit-exporters"

MAX_TOKEN_LENGTH: Final = 128
MAX_SUBJECT_LENGTH: Final = 512

_LITERAL: Final = r"[!-)+\-/-=?-~,]"  # printable ASCII without space, dot and the wildcards
_TOKEN = re.compile(rf"{_LITERAL}{{1,{MAX_TOKEN_LENGTH}}}")
_SUBJECT = re.compile(rf"{_LITERAL}+(?:\.{_LITERAL}+)*")


def worker_jobs(worker_id: WorkerId | str) -> str:
    """The subject on which one worker takes jobs.

    Raises:
        BadSubjectError: the id is not one subject token, or it is a name of the control plane.
    """
    if not _TOKEN.fullmatch(worker_id):
        raise BadSubjectError(f"worker id {worker_id[:MAX_TOKEN_LENGTH]!r} cannot be part of a subject")
    if worker_id in RESERVED_IDS:
        raise BadSubjectError(f"worker id {worker_id!r} is reserved for the control plane")
    return f"worker.{worker_id}.jobs"


def is_publishable(subject: str) -> bool:
    """Whether one may publish on this subject: no wildcards, no empty or blank tokens, nothing that ends a line."""
    return len(subject) <= MAX_SUBJECT_LENGTH and _SUBJECT.fullmatch(subject) is not None


def covers(pattern: str, subject: str) -> bool:
    """Whether every message on `subject` (which may hold wildcards itself) also matches `pattern`."""
    wanted, given = pattern.split("."), subject.split(".")
    for index, token in enumerate(wanted):
        if token == ">":
            return len(given) > index
        if index >= len(given) or given[index] == ">":
            return False
        if token not in ("*", given[index]):
            return False
    return len(wanted) == len(given)
