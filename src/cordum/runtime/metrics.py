"""Every metric, declared once (production guide section 4, spec-ops section 2, spec-scheduler section 17).

A metric names the processes that emit it, so that a scheduler does not report the gateway's gauges as zero.
Label values are bounded: past `MAX_LABEL_SETS` new ones are counted as `other`, so that no stream of made-up topics can
fill the memory. `labels()` is a dictionary lookup; where even that counts, hold on to the child it returns.
"""

from collections.abc import Iterable, Iterator
from typing import Final, Generic, TypeVar

import msgspec
import prometheus_client
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import CollectorRegistry

from cordum import __version__
from cordum.core.jobs.states import TERMINAL, WITH_WORKER, JobState

GATEWAY: Final = "cordum-api-gateway"
SCHEDULER: Final = "cordum-scheduler"
KERNEL: Final = "cordum-safety-kernel"
EVERY: Final = (GATEWAY, SCHEDULER, KERNEL)

OTHER: Final = "other"
MAX_LABEL_SETS: Final = 1_000

REGISTRY: Final = CollectorRegistry()

# The `_created` series double the size of a scrape and nothing reads them.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]

M = TypeVar("M", Counter, Gauge, Histogram)


class Family(Generic[M]):
    """A metric with labels; `labels()` gives the one series of these label values, made on first use."""

    def __init__(self, parent: M, label_names: tuple[str, ...]) -> None:
        self._parent: M = parent
        self._label_names = label_names
        self._children: dict[tuple[str, ...], M] = {}

    def labels(self, *values: str) -> M:
        """The series of these label values, in the order declared; `other` when there are too many already."""
        child = self._children.get(values)
        return child if child is not None else self._make(values)

    def remove(self, *values: str) -> None:
        """Takes one series out, when what it measures is gone; harmless when there is none."""
        if self._children.pop(values, None) is not None:
            self._parent.remove(*values)

    def _make(self, values: tuple[str, ...]) -> M:
        if len(self._children) >= MAX_LABEL_SETS:
            values = (OTHER,) * len(self._label_names)
            if (child := self._children.get(values)) is not None:
                return child
        child = self._parent.labels(*values)
        self._children[values] = child
        return child


class Declaration(msgspec.Struct, frozen=True):
    """What the reference page says about a metric, and which processes expose it."""

    name: str
    type: str
    labels: tuple[str, ...]
    services: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()


_declared: Final[list[tuple[Declaration, Counter | Gauge | Histogram]]] = []


def declarations() -> list[Declaration]:
    """Every metric, in the order of this file."""
    return [declaration for declaration, _ in _declared]


def _counter(name: str, text: str, services: tuple[str, ...]) -> Counter:
    counter = Counter(name, text, registry=REGISTRY)
    _declared.append((Declaration(name, "counter", (), services, text), counter))
    return counter


def _counters(name: str, text: str, services: tuple[str, ...], *labels: str) -> Family[Counter]:
    parent = Counter(name, text, labels, registry=REGISTRY)
    _declared.append((Declaration(name, "counter", labels, services, text), parent))
    return Family(parent, labels)


def _gauge(name: str, text: str, services: tuple[str, ...]) -> Gauge:
    gauge = Gauge(name, text, registry=REGISTRY)
    _declared.append((Declaration(name, "gauge", (), services, text), gauge))
    return gauge


def _gauges(name: str, text: str, services: tuple[str, ...], *labels: str) -> Family[Gauge]:
    parent = Gauge(name, text, labels, registry=REGISTRY)
    _declared.append((Declaration(name, "gauge", labels, services, text), parent))
    return Family(parent, labels)


DEFAULT_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
DECISION_BUCKETS: Final = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1)
LOCK_WAIT_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
APPROVAL_BUCKETS: Final = (1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 24 * 3600.0, 72 * 3600.0, 168 * 3600.0)
BATCH_BUCKETS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)


def _histogram(name: str, text: str, services: tuple[str, ...], buckets: tuple[float, ...]) -> Histogram:
    histogram = Histogram(name, text, registry=REGISTRY, buckets=buckets)
    _declared.append((Declaration(name, "histogram", (), services, text, buckets), histogram))
    return histogram


def _histograms(
    name: str, text: str, services: tuple[str, ...], *labels: str, buckets: tuple[float, ...] = DEFAULT_BUCKETS
) -> Family[Histogram]:
    parent = Histogram(name, text, labels, registry=REGISTRY, buckets=buckets)
    _declared.append((Declaration(name, "histogram", labels, services, text, buckets), parent))
    return Family(parent, labels)


# Scheduler (guide section 4)

JOBS_RECEIVED = _counters("cordum_jobs_received_total", "Jobs received by topic", (SCHEDULER,), "topic")
JOBS_DISPATCHED = _counters("cordum_jobs_dispatched_total", "Jobs dispatched by topic", (SCHEDULER,), "topic")
JOBS_COMPLETED = _counters(
    "cordum_jobs_completed_total", "Jobs that ended, by topic and status", (SCHEDULER,), "topic", "status"
)
# Most denials happen at submit, where the gateway asks; the scheduler counts those it meets before dispatch.
SAFETY_DENIED = _counters(
    "cordum_safety_denied_total", "Jobs denied by the safety kernel", (GATEWAY, SCHEDULER), "topic"
)
SAFETY_UNAVAILABLE = _counters(
    "cordum_safety_unavailable_total", "Jobs put off because the safety kernel gave no answer", (SCHEDULER,), "topic"
)
DISPATCH_LATENCY = _histograms(
    "cordum_scheduler_dispatch_latency_seconds", "From receiving a job to dispatching it", (SCHEDULER,), "topic"
)
JOB_LOCK_WAIT = _histogram(
    "cordum_scheduler_job_lock_wait_seconds",
    "How long a handler waited until a job was its own: claim or compare-and-set, tries included",
    (SCHEDULER,),
    LOCK_WAIT_BUCKETS,
)
STALE_JOBS = _gauges(
    "cordum_scheduler_stale_jobs", "Jobs longer in a state than they may be, at the last tick", (SCHEDULER,), "state"
)
CLOCK_JUMPS = _counter(
    "cordum_scheduler_clock_jumps_total", "How often the wall clock was seen to have been set", (SCHEDULER,)
)
ACTIVE_GOROUTINES = _gauge("cordum_scheduler_active_goroutines", "Handlers at work", (SCHEDULER,))
ORPHAN_REPLAYED = _counters(
    "cordum_scheduler_orphan_replayed_total",
    "Waiting jobs whose message was lost, published again",
    (SCHEDULER,),
    "topic",
)
LAST_HEARTBEAT = _gauges(
    "cordum_last_heartbeat_timestamp", "When a worker of the pool was last heard, Unix seconds", (SCHEDULER,), "pool"
)
DISPATCH_ROLLBACK = _counters(
    "cordum_scheduler_dispatch_rollback_total",
    "Dispatches taken back because they could not be published",
    (SCHEDULER,),
    "topic",
)
DLQ_EMIT_FAILURES = _counters(
    "cordum_dlq_emit_failures_total", "Dead letters that could not be written or published", (SCHEDULER,), "topic"
)
JOB_CANCEL_FAILURES = _counter(
    "cordum_job_cancel_failures_total", "Cancellations that could not be carried out", (SCHEDULER,)
)
VALIDATION_REJECTIONS = _counter(
    "cordum_validation_rejections_total", "Messages refused because their content is not valid", (SCHEDULER,)
)

INPUT_FAIL_OPEN = _counters(
    "cordum_scheduler_input_fail_open_total",
    "Jobs that ran without a decision, because POLICY_CHECK_FAIL_MODE is open",
    (SCHEDULER,),
    "topic",
)
OUTPUT_CHECKED = _counters(
    "cordum_output_policy_checked_total", "Results the output policy has looked at", (SCHEDULER,), "topic"
)
OUTPUT_QUARANTINED = _counters(
    "cordum_output_policy_quarantined_total", "Results put into quarantine", (SCHEDULER,), "topic"
)
OUTPUT_SKIPPED = _counters(
    "cordum_output_policy_skipped_total",
    "Results released unchecked, because OUTPUT_POLICY_FAIL_MODE is open",
    (SCHEDULER,),
    "topic",
)
OUTPUT_TIMEOUTS = _counters(
    "cordum_output_policy_async_timeout_total", "Checks of results that ran out of time", (SCHEDULER,), "topic"
)
OUTPUT_EVALUATIONS = _counters(
    "cordum_output_evaluations_total", "Answers of the output policy, by topic", (SCHEDULER,), "topic"
)
OUTPUT_DENIALS = _counters(
    "cordum_output_denials_total", "Results denied or put into quarantine", (SCHEDULER,), "topic"
)
OUTPUT_REDACTIONS = _counters(
    "cordum_output_redactions_total", "Results released without what was found in them", (SCHEDULER,), "topic"
)
OUTPUT_CHECK_LATENCY = _histograms(
    "cordum_output_check_latency_seconds",
    "How long a result was held for its check: sync without a redaction, sync_redact with one",
    (SCHEDULER,),
    "topic",
    "phase",
)

# Gateway (guide section 4)

HTTP_REQUESTS = _counters(
    "cordum_http_requests_total", "HTTP requests by method, route and status", (GATEWAY,), "method", "route", "status"
)
HTTP_REQUEST_DURATION = _histograms(
    "cordum_http_request_duration_seconds", "Request latency by method and route", (GATEWAY,), "method", "route"
)
DLQ_ENTRIES = _gauge("cordum_dlq_entries", "Dead letters that wait for somebody", (GATEWAY,))
DLQ_DEPTH = _gauge("cordum_dlq_depth", "The same as cordum_dlq_entries, under the runbook's name", (GATEWAY,))
APPROVAL_DECISIONS = _counters(
    "cordum_approval_decisions_total", "Approvals resolved, by decision", (GATEWAY, SCHEDULER), "decision"
)
APPROVAL_LATENCY = _histogram(
    "cordum_approval_latency_seconds",
    "Time from the request for approval to the decision",
    (GATEWAY,),
    buckets=APPROVAL_BUCKETS,
)
APPROVAL_QUEUE_DEPTH = _gauges("cordum_approval_queue_depth", "Jobs that wait for approval", (SCHEDULER,), "risk_tier")
SAGA_RECORDED = _counter("cordum_saga_recorded_total", "Compensations kept for a rollback", (SCHEDULER,))
SAGA_ROLLBACKS = _counter("cordum_saga_rollbacks_total", "Saga rollbacks triggered", (SCHEDULER,))
SAGA_DISPATCHED = _counter("cordum_saga_compensation_dispatched_total", "Compensations submitted", (SCHEDULER,))
SAGA_FAILED = _counter(
    "cordum_saga_compensation_failed_total",
    "Compensation dispatch failures: not published (tried again), denied by policy, or unreadable",
    (SCHEDULER,),
)
SAGA_ACTIVE = _gauge("cordum_saga_active", "Rollbacks that this scheduler works on", (SCHEDULER,))
SAGA_DURATION = _histogram(
    "cordum_saga_rollback_duration_seconds",
    "From the beginning of a rollback to its last compensation's submit",
    (SCHEDULER,),
    (*DEFAULT_BUCKETS, 30.0, 60.0, 120.0),
)
SAGA_UNMARSHAL_ERRORS = _counter(
    "cordum_saga_unmarshal_errors_total", "Compensations that could not be read", (SCHEDULER,)
)

APPROVAL_EXPIRED = _counter("cordum_approval_expired_total", "Requests for approval that lapsed", (SCHEDULER,))
APPROVAL_ESCALATED = _counter(
    "cordum_approval_escalated_total", "Requests for approval that were escalated", (SCHEDULER,)
)

AUDIT_FAILURES = _counter(
    "cordum_audit_failures_total", "Audit events that could not be written at once", (GATEWAY, SCHEDULER)
)
AUDIT_WAITING = _gauge("cordum_audit_waiting", "Audit events that wait to be written", (GATEWAY, SCHEDULER))
AUDIT_LOST = _counter("cordum_audit_lost_total", "Audit events that only the process log knows", (GATEWAY, SCHEDULER))

WS_CLIENTS = _gauge("cordum_gateway_ws_clients_active", "Clients of the event stream", (GATEWAY,))
WS_DURATION = _histogram(
    "cordum_gateway_ws_connection_duration_seconds",
    "How long clients stay at the event stream",
    (GATEWAY,),
    (1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 24 * 3600.0),
)
WS_PINGS = _counter("cordum_gateway_ws_pings_sent_total", "Pings to clients of the event stream", (GATEWAY,))
WS_PONGS = _counter("cordum_gateway_ws_pongs_received_total", "Pings that were answered in time", (GATEWAY,))
WS_PONG_TIMEOUTS = _counter(
    "cordum_gateway_ws_pong_timeouts_total", "Clients closed because a ping was not answered in time", (GATEWAY,)
)
WS_PACKETS_DROPPED = _counter(
    "cordum_gateway_ws_packets_dropped_total", "Events that evicted clients did not get", (GATEWAY,)
)
WS_EVENTS_DROPPED = _counter(
    "cordum_gateway_ws_events_dropped_total", "Events nobody got: too many at once, or Redis was away", (GATEWAY,)
)
WS_EVICTIONS = _counter(
    "cordum_gateway_ws_slow_client_evictions_total", "Clients closed because they did not keep up", (GATEWAY,)
)
WS_REVALIDATIONS = _counters(
    "cordum_gateway_ws_revalidation_total", "Credentials looked at again while they watch", (GATEWAY,), "outcome"
)

# Safety kernel

EVAL_DURATION = _histograms(
    "cordum_output_eval_duration_seconds",
    "How long the safety kernel takes for one decision",
    (KERNEL,),
    "topic",
    buckets=DECISION_BUCKETS,
)
SAFETY_DECISIONS = _counters("cordum_safety_decisions_total", "Decisions of the safety kernel", (KERNEL,), "decision")
POLICY_SNAPSHOT_INFO = _gauges(
    "cordum_policy_snapshot_info", "1 for the policy snapshot in force", (KERNEL,), "snapshot"
)
POLICY_LOAD_FAILURES = _counters(
    "cordum_policy_load_failures_total",
    "Policies that were found and not used, by the bundle to blame (`base`: the file or URL)",
    (KERNEL,),
    "bundle",
    "reason",
)
POLICY_AGE = _gauge(
    "cordum_policy_age_seconds",
    "How long ago the policy in force was last seen to be the one that is stored",
    (KERNEL,),
)
POLICY_STALE = _gauge(
    "cordum_policy_stale", "1 while the policy in force is not the one that is stored, which cannot be used", (KERNEL,)
)

SHADOW_EVALS = _counters(
    "cordum_shadow_eval_total", "Jobs that a shadow policy was compared on", (KERNEL,), "decision", "diff"
)
SHADOW_DROPPED = _counters(
    "cordum_shadow_eval_dropped_total", "Comparisons with a shadow policy that were given up", (KERNEL,), "reason"
)
SHADOW_QUEUE = _gauge("cordum_shadow_eval_queue_depth", "Jobs that wait to be compared", (KERNEL,))
SHADOW_DURATION = _histogram(
    "cordum_shadow_eval_duration_seconds", "How long one comparison takes", (KERNEL,), buckets=DECISION_BUCKETS
)
VELOCITY_UNAVAILABLE = _counter(
    "cordum_velocity_unavailable_total", "Velocity rules for which nobody could count a request", (KERNEL,)
)
UNKNOWN_SCANNER = _counter(
    "cordum_safety_unknown_scanner_total", "Scanners that refused policies name and nobody knows", (KERNEL,)
)
REGEX_REJECTED = _counter(
    "cordum_safety_regex_rejected_total", "Patterns that cannot be used, for which a policy was refused", (KERNEL,)
)

BOUNDARY_EVENTS = _counters(
    "cordum_boundary_events_total",
    "Workers, topics and payloads that the boundary checks refused, or would refuse if they were enforced",
    (GATEWAY, SCHEDULER),
    "event",
)

WORKER_HANDSHAKES = _counters(
    "cordum_worker_handshakes_total",
    "Trust handshakes of workers, by how they went",
    (SCHEDULER,),
    "purpose",
    "outcome",
)
SESSIONS_REFUSED = _counters(
    "cordum_worker_sessions_refused_total",
    "Packets dropped for their session token, or for having none, by kind and reason",
    (SCHEDULER,),
    "kind",
    "reason",
)

# Every process

BUS_UNMARSHAL_FAILURES = _counters(
    "cordum_bus_unmarshal_failure_total", "Messages that could not be read", EVERY, "subject", "reason"
)
STORE_UNREPLICATED = _counter(
    "cordum_store_unreplicated_total", "Batches of writes that went without the replicas they were to wait for", EVERY
)
GROUPCOMMIT_QUEUED = _gauges("cordum_groupcommit_queued", "Items that wait for the next batch", EVERY, "name")
GROUPCOMMIT_IN_FLIGHT = _gauges("cordum_groupcommit_in_flight", "Batches on their way", EVERY, "name")
GROUPCOMMIT_BATCH_SIZE = _histograms(
    "cordum_groupcommit_batch_size", "Items per batch", EVERY, "name", buckets=BATCH_BUCKETS
)
CERT_EXPIRES = _gauges(
    "cordum_cert_expires_seconds",
    "When the served certificate ends, Unix seconds",
    (GATEWAY, KERNEL),
    "component",
    "path",
)
BUILD_INFO = _gauges("cordum_build_info", "1, with the version that runs", EVERY, "version", "commit")

# What can be foreseen is there before its first event, at 0 (S69).
BUILD_INFO.labels(__version__, "").set(1)
for _state in sorted(WITH_WORKER | {JobState.PENDING, JobState.SCHEDULED}):
    STALE_JOBS.labels(_state.label)
APPROVAL_QUEUE_DEPTH.labels("all")
for _word in ("approved", "denied", "expired", "repaired"):
    APPROVAL_DECISIONS.labels(_word)


def announce_topics(topics: Iterable[str]) -> None:
    """Lets the series of these topics exist, at 0, before the first job (S69)."""
    for topic in topics:
        for family in (
            *(JOBS_RECEIVED, JOBS_DISPATCHED, SAFETY_DENIED, SAFETY_UNAVAILABLE, ORPHAN_REPLAYED, INPUT_FAIL_OPEN),
            *(OUTPUT_CHECKED, OUTPUT_QUARANTINED, OUTPUT_DENIALS, OUTPUT_REDACTIONS, OUTPUT_SKIPPED),
        ):
            family.labels(topic)
        for state in TERMINAL:
            JOBS_COMPLETED.labels(topic, state.label)
        DISPATCH_LATENCY.labels(topic)


class _View:
    """The metrics of one process, as a registry for the exposition."""

    def __init__(self, service: str) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        for declaration, metric in _declared:
            if self._service in declaration.services:
                yield from metric.collect()


def exposition(service: str | None = None) -> tuple[bytes, str]:
    """What `/metrics` answers: the body in Prometheus text format, and its content type.

    Args:
        service: only the metrics this process emits; all of them when None.
    """
    return generate_latest(REGISTRY if service is None else _View(service)), CONTENT_TYPE_LATEST
