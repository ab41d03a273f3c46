from collections.abc import Iterator

import pytest
from prometheus_client import Counter
from prometheus_client.parser import text_string_to_metric_families

from cordum import __version__
from cordum.runtime import metrics
from cordum.runtime.metrics import GATEWAY, KERNEL, SCHEDULER, Family

GUIDE_SCHEDULER = {
    "cordum_jobs_received_total": "counter",
    "cordum_jobs_dispatched_total": "counter",
    "cordum_jobs_completed_total": "counter",
    "cordum_safety_denied_total": "counter",
    "cordum_safety_unavailable_total": "counter",
    "cordum_scheduler_dispatch_latency_seconds": "histogram",
    "cordum_scheduler_stale_jobs": "gauge",
    "cordum_scheduler_active_goroutines": "gauge",
    "cordum_scheduler_orphan_replayed_total": "counter",
}
GUIDE_GATEWAY = {"cordum_http_requests_total": "counter", "cordum_http_request_duration_seconds": "histogram"}


def exposed(service: str | None = None) -> str:
    return metrics.exposition(service)[0].decode()


def samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


@pytest.mark.seed("S69")
@pytest.mark.parametrize(("service", "expected"), [(SCHEDULER, GUIDE_SCHEDULER), (GATEWAY, GUIDE_GATEWAY)])
def test_the_guides_names_are_there_before_the_first_event(service: str, expected: dict[str, str]) -> None:
    text = exposed(service)
    for name, kind in expected.items():
        assert f"# TYPE {name} {kind}\n" in text


@pytest.mark.seed("S69")
def test_announced_topics_start_at_zero_in_every_status() -> None:
    metrics.announce_topics(["job.metrics-test"])
    found = {
        (name, labels.get("status", "")): value
        for name, labels, value in samples(exposed(SCHEDULER))
        if labels.get("topic") == "job.metrics-test"
    }
    assert found["cordum_jobs_received_total", ""] == 0
    assert found["cordum_jobs_dispatched_total", ""] == 0
    for status in ("succeeded", "failed", "timeout", "denied", "cancelled", "output_quarantined"):
        assert found["cordum_jobs_completed_total", status] == 0


def test_a_process_exposes_only_its_own_metrics() -> None:
    assert "cordum_dlq_entries" in exposed(GATEWAY)
    assert "cordum_dlq_entries" not in exposed(SCHEDULER)
    assert "cordum_dlq_entries" in exposed()


def test_every_process_says_which_version_runs() -> None:
    for service in (GATEWAY, SCHEDULER, KERNEL):
        assert f'cordum_build_info{{commit="",version="{__version__}"}} 1.0' in exposed(service)


@pytest.mark.seed("S76")
def test_dispatch_latency_has_edges_around_half_a_second_and_one() -> None:
    metrics.DISPATCH_LATENCY.labels("job.edges").observe(0.7)
    edges = {
        labels["le"]: value
        for name, labels, value in samples(exposed(SCHEDULER))
        if name == "cordum_scheduler_dispatch_latency_seconds_bucket" and labels["topic"] == "job.edges"
    }
    assert (edges["0.5"], edges["1.0"]) == (0, 1)


def test_decision_latency_has_an_edge_at_five_milliseconds() -> None:
    metrics.EVAL_DURATION.labels("job.edges").observe(0.004)
    edges = {
        labels["le"]: value
        for name, labels, value in samples(exposed(KERNEL))
        if name == "cordum_output_eval_duration_seconds_bucket" and labels["topic"] == "job.edges"
    }
    assert (edges["0.001"], edges["0.005"]) == (0, 1)


def test_stale_jobs_are_shown_by_lower_case_state() -> None:
    states = {
        labels["state"] for name, labels, _ in samples(exposed(SCHEDULER)) if name == "cordum_scheduler_stale_jobs"
    }
    assert {"dispatched", "running", "scheduled", "pending"} <= states


def test_label_sets_are_bounded() -> None:
    family = Family(Counter("cordum_test_total", "test", ["topic"], registry=None), ("topic",))
    for number in range(metrics.MAX_LABEL_SETS):
        family.labels(f"job.{number}").inc()
    assert family.labels("job.0") is family.labels("job.0")
    late, later = family.labels("job.made-up"), family.labels("job.also-made-up")
    assert late is later is family.labels(metrics.OTHER)


def test_a_series_can_be_forgotten() -> None:
    metrics.LAST_HEARTBEAT.labels("gone").set(1)
    assert 'pool="gone"' in exposed(SCHEDULER)
    metrics.LAST_HEARTBEAT.remove("gone")
    metrics.LAST_HEARTBEAT.remove("never-there")
    assert 'pool="gone"' not in exposed(SCHEDULER)


def test_the_exposition_is_prometheus_text() -> None:
    body, content_type = metrics.exposition()
    assert content_type.startswith("text/plain; version=")
    assert list(text_string_to_metric_families(body.decode()))
    assert "_created" not in body.decode()
