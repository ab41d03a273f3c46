"""The refusals an operator watches before and after enforcing the boundary checks (production guide section 5).

Counted here, in the process, wherever one happens; written to the store every few seconds (`store.boundary`), from
where `cordumctl doctor boundary` learns what the guide has people search logs for.
"""

from enum import StrEnum
from typing import Final

from cordum.runtime import metrics

MAX_SUBJECTS: Final = 100
"""Workers and topics told apart between two writings; what goes beyond is counted without a name."""

_LONGEST: Final = 128


class Event(StrEnum):
    """The fixed words: the `event` of the log line, too."""

    ATTESTATION_FAILED = "attestation failed"
    UNKNOWN_TOPIC = "unknown_topic"
    SCHEMA_VALIDATION_FAILED = "schema_validation_failed"


Tally = dict[tuple[Event, str], int]

_tally: Tally = {}


def record(event: Event, subject: str = "") -> None:
    """One refusal, or one that would have been under `enforce`.

    Args:
        subject: the worker, topic or schema it is about.
    """
    metrics.BOUNDARY_EVENTS.labels(event.value).inc()
    key = (event, subject[:_LONGEST])
    if key not in _tally and len(_tally) >= MAX_SUBJECTS:
        key = (event, "")
    _tally[key] = _tally.get(key, 0) + 1


def drain() -> Tally:
    """What was counted since the last call."""
    taken = dict(_tally)
    _tally.clear()
    return taken


def put_back(tally: Tally) -> None:
    """What could not be written after all."""
    for key, count in tally.items():
        _tally[key] = _tally.get(key, 0) + count
