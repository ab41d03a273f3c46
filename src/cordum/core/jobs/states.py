"""Job states and the moves between them (spec-scheduler section 4)."""

from enum import StrEnum


class JobState(StrEnum):
    """Where a job stands. The values are what Redis, the API and the metrics carry."""

    PENDING = "PENDING"
    APPROVAL_REQUIRED = "APPROVAL_REQUIRED"
    SCHEDULED = "SCHEDULED"
    DISPATCHED = "DISPATCHED"
    RUNNING = "RUNNING"
    RETRYING = "RETRYING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMEOUT = "TIMEOUT"
    DENIED = "DENIED"
    OUTPUT_QUARANTINED = "OUTPUT_QUARANTINED"

    @property
    def is_terminal(self) -> bool:
        return self in TERMINAL

    @property
    def label(self) -> str:
        """The lower-case word of metrics and index keys."""
        return self.value.lower()


_S = JobState

TERMINAL = frozenset({_S.SUCCEEDED, _S.FAILED, _S.CANCELLED, _S.TIMEOUT, _S.DENIED, _S.OUTPUT_QUARANTINED})
ACTIVE = frozenset(JobState) - TERMINAL
WITH_WORKER = frozenset({_S.DISPATCHED, _S.RUNNING})
"""A worker holds the job (or is about to): it has a lease and occupies a slot."""
WAITING = frozenset({_S.PENDING, _S.SCHEDULED, _S.RETRYING})
"""The scheduler may still place the job."""

_FINISHED = frozenset({_S.SUCCEEDED, _S.FAILED, _S.CANCELLED, _S.TIMEOUT})

MOVES: dict[JobState, frozenset[JobState]] = {
    _S.PENDING: _FINISHED | WITH_WORKER | {_S.APPROVAL_REQUIRED, _S.SCHEDULED, _S.DENIED, _S.RETRYING},
    _S.APPROVAL_REQUIRED: _FINISHED | WITH_WORKER | {_S.PENDING, _S.SCHEDULED, _S.DENIED},
    _S.SCHEDULED: _FINISHED
    | WITH_WORKER
    | {_S.SCHEDULED, _S.PENDING, _S.APPROVAL_REQUIRED, _S.DENIED, _S.OUTPUT_QUARANTINED, _S.RETRYING},
    _S.DISPATCHED: _FINISHED | {_S.SCHEDULED, _S.PENDING, _S.RUNNING, _S.OUTPUT_QUARANTINED, _S.RETRYING},
    _S.RUNNING: _FINISHED | {_S.RUNNING, _S.SCHEDULED, _S.PENDING, _S.OUTPUT_QUARANTINED, _S.RETRYING},
    _S.RETRYING: _FINISHED
    | WITH_WORKER
    | {_S.PENDING, _S.SCHEDULED, _S.RETRYING, _S.APPROVAL_REQUIRED, _S.DENIED, _S.OUTPUT_QUARANTINED},
    _S.SUCCEEDED: frozenset({_S.OUTPUT_QUARANTINED}),
    _S.FAILED: frozenset(),
    _S.CANCELLED: frozenset(),
    _S.TIMEOUT: frozenset(),
    _S.DENIED: frozenset(),
    _S.OUTPUT_QUARANTINED: frozenset({_S.SUCCEEDED, _S.FAILED}),
}
"""From each state, the states a job may move to.

Wider than the reference in two points: a job whose dispatch failed or whose worker died goes back to PENDING, so that
it is placed again instead of waiting for a timeout; and a person can let a quarantined result go, by which the job ends
as its worker had ended it.
"""


def may_move(before: JobState, after: JobState) -> bool:
    return after in MOVES[before]


def states_before(after: JobState) -> frozenset[JobState]:
    """Every state from which a job may move to `after`."""
    return frozenset(state for state, targets in MOVES.items() if after in targets)
