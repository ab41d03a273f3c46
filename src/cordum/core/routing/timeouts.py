"""How long a job may take and how often it is tried: `config/timeouts.yaml` (spec-scheduler 7.2).

Of two limits the narrower one holds: a workflow's own for its jobs, else the topic's, else the common one.
"""

import math
from collections.abc import Mapping
from typing import Final

import msgspec

from cordum.core.ids import Topic
from cordum.core.routing.errors import RoutingConfigError
from cordum.core.routing.strict import convert

DEFAULT_TRIES: Final = 3
"""How often a job is tried when neither its policy nor its topic says otherwise."""

SCHEDULED_TIMEOUT: Final = 60.0
"""Seconds a job may stand in SCHEDULED (spec-scheduler 12)."""


class TopicTimeouts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a topic sets for itself: seconds a job may run (0: the common limit), retries after the first try."""

    timeout_seconds: float = 0
    max_retries: int | None = None


class WorkflowTimeouts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a workflow sets for its jobs.

    Attributes:
        child_timeout_seconds: how long one of them may be with a worker; 0: as its topic says.
        total_timeout_seconds: how long after the first job of a run the last one must have ended; 0: any time.
        max_retries: after the first try of each; None: as its topic says.
    """

    child_timeout_seconds: float = 0
    total_timeout_seconds: float = 0
    max_retries: int | None = None


class ReconcilerTimeouts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The common limits, in seconds: the built-in ones, for want of a file. 0 in a file means a short default."""

    dispatch_timeout_seconds: float = 300
    running_timeout_seconds: float = 9000
    scan_interval_seconds: float = 30


class TimeoutsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    topics: Mapping[Topic, TopicTimeouts] = {}
    workflows: Mapping[str, WorkflowTimeouts] = {}
    reconciler: ReconcilerTimeouts = ReconcilerTimeouts()

    def running_timeout(self, topic: Topic, workflow_id: str = "") -> float:
        """Seconds a job of `topic`, as a step of a workflow if it is one, may be with a worker."""
        workflow = self.workflows.get(workflow_id) if workflow_id else None
        if workflow is not None and workflow.child_timeout_seconds:
            return workflow.child_timeout_seconds
        own = self.topics.get(topic)
        return own.timeout_seconds if own and own.timeout_seconds else self.reconciler.running_timeout_seconds

    def tries(self, topic: Topic, workflow_id: str = "") -> int:
        """How often a job of `topic`, as a step of a workflow if it is one, is tried in all."""
        workflow = self.workflows.get(workflow_id) if workflow_id else None
        if workflow is not None and workflow.max_retries is not None:
            return workflow.max_retries + 1
        own = self.topics.get(topic)
        return own.max_retries + 1 if own and own.max_retries is not None else DEFAULT_TRIES

    def total_timeout(self, workflow_id: str) -> float:
        """Seconds a run of a workflow may take from its first job on; 0 for no limit."""
        workflow = self.workflows.get(workflow_id) if workflow_id else None
        return workflow.total_timeout_seconds if workflow is not None else 0.0

    @property
    def shortest_running_timeout(self) -> float:
        """Seconds; no job can have run too long that runs shorter than this."""
        own = [topic.timeout_seconds for topic in self.topics.values() if topic.timeout_seconds]
        own += [entry.child_timeout_seconds for entry in self.workflows.values() if entry.child_timeout_seconds]
        return min([self.reconciler.running_timeout_seconds, *own])


_ZERO_MEANS: Final = ReconcilerTimeouts(
    dispatch_timeout_seconds=120, running_timeout_seconds=300, scan_interval_seconds=30
)


def parse_timeouts(data: object, source: str) -> TimeoutsConfig:
    """The timeouts of a parsed YAML or JSON document; an empty one means the built-in values.

    Raises:
        RoutingConfigError: an unknown key, a wrong type, a negative number or one without an end.
    """
    if data is None:
        return TimeoutsConfig()
    config = convert(data, TimeoutsConfig, source)
    for place, value in _numbers(config):
        if value < 0:
            raise RoutingConfigError(f"{source}: {place}: must not be negative, is {value:g}")
        if not math.isfinite(value):
            raise RoutingConfigError(f"{source}: {place}: must be a finite number of seconds, is {value:g}")
    set_to = config.reconciler
    return msgspec.structs.replace(
        config,
        reconciler=ReconcilerTimeouts(
            dispatch_timeout_seconds=set_to.dispatch_timeout_seconds or _ZERO_MEANS.dispatch_timeout_seconds,
            running_timeout_seconds=set_to.running_timeout_seconds or _ZERO_MEANS.running_timeout_seconds,
            scan_interval_seconds=set_to.scan_interval_seconds or _ZERO_MEANS.scan_interval_seconds,
        ),
    )


def _numbers(config: TimeoutsConfig) -> list[tuple[str, float]]:
    groups: list[tuple[str, msgspec.Struct]] = [("reconciler", config.reconciler)]
    groups += [(f"topics.{name}", entry) for name, entry in config.topics.items()]
    groups += [(f"workflows.{name}", entry) for name, entry in config.workflows.items()]
    return [
        (f"{place}.{field}", getattr(entry, field) or 0) for place, entry in groups for field in entry.__struct_fields__
    ]
