"""The checks of `cordumctl doctor boundary`, each on what the API says."""

import io
from pathlib import Path

import pytest

from cordum.cli.boundary import checks, loglines
from cordum.cli.boundary.finding import Outcome
from cordum.cli.errors import UsageError

GOOD = {"name": "job.a", "pool": "p", "input_schema_id": "in", "output_schema_id": "out", "active_worker_count": 1}
GATE = {"name": "sys.approval.gate", "pool": "", "active_worker_count": 0}


def test_topics_are_complete_with_pool_and_schema() -> None:
    assert checks.topics_complete([GOOD, GATE], ["job.a=p"]).outcome is Outcome.PASS
    for topics, expected, why in (
        ([], [], "no topic is registered"),
        ([{**GOOD, "pool": ""}], [], "job.a: no pool"),
        ([{**GOOD, "input_schema_id": None}], [], "job.a: no input schema"),
        ([GOOD], ["job.b"], "job.b: not registered"),
        ([GOOD], ["job.a=q"], "job.a: in pool p, not q"),
    ):
        found = checks.topics_complete(topics, expected)
        assert found.outcome is Outcome.FAIL and why in found.details[0]
    assert checks.topics_complete([{**GOOD, "output_schema_id": ""}], []).details == ["job.a: no output schema"]
    disabled = {"name": "job.old", "status": "disabled"}
    assert checks.topics_complete([GOOD, disabled], []).outcome is Outcome.PASS


def test_an_active_topic_needs_a_living_worker() -> None:
    assert checks.topics_served([GOOD, GATE, {"name": "job.old", "status": "deprecated"}]).outcome is Outcome.PASS
    found = checks.topics_served([{**GOOD, "active_worker_count": 0}])
    assert found.outcome is Outcome.FAIL and found.details == ["job.a: no living worker"]


def test_every_connected_worker_shows_a_credential_in_force() -> None:
    worker = {"worker_id": "w1", "pool": "p", "online": True, "attestation": "verified"}
    issued = {"worker_id": "w1", "allowed_pools": ["p"]}
    assert checks.workers_covered([worker, {"worker_id": "gone", "online": False}], [issued]).outcome is Outcome.PASS
    unchecked = checks.workers_covered([{**worker, "attestation": ""}], [issued])
    assert unchecked.outcome is Outcome.PASS and "WORKER_ATTESTATION=off" in unchecked.details[0]
    for told, credential, why in (
        (worker, {"worker_id": "w2"}, "no credential"),
        (worker, {**issued, "revoked_at": "2026-01-01T00:00:00Z"}, "no credential"),
        ({**worker, "pool": "q"}, issued, "does not allow pool q"),
        ({**worker, "attestation": "auth_token_missing"}, issued, "auth_token_missing"),
    ):
        found = checks.workers_covered([told], [credential])
        assert found.outcome is Outcome.FAIL and why in found.details[0]


def test_refusals_count_from_the_services_and_from_logs() -> None:
    counted = [{"event": "attestation failed", "subject": "w1", "count": 3}]
    assert checks.refusals_ceased([], {}, 3600, 0).outcome is Outcome.PASS
    assert checks.refusals_ceased(counted, {"unknown_topic": 3}, 3600, 3).outcome is Outcome.PASS
    found = checks.refusals_ceased(counted, {"unknown_topic": 2, "attestation failed": 0}, 3600, 0)
    assert found.outcome is Outcome.FAIL
    assert found.details == [
        "attestation failed: 3 in the last 60 min: w1 3×",
        "unknown_topic: 2 lines in the logs given",
    ]


@pytest.mark.seed("S104")
def test_the_fixed_words_are_counted_in_json_and_plain_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "scheduler.log"
    log.write_text(
        '{"level":"error","msg":"worker heartbeat rejected: attestation failed","event":"attestation failed"}\n'
        '{"msg":"a job said attestation failed","event":"job_failed"}\n'
        'scheduler-1 | {"msg":"x","event":"unknown_topic"}\n'
        "ERROR schema_validation_failed topic=job.a\n"
        '{"broken unknown_topic\n'
        "nothing of note\n"
    )
    assert loglines.count([log]) == {"attestation failed": 1, "unknown_topic": 2, "schema_validation_failed": 1}
    monkeypatch.setattr("sys.stdin", io.StringIO('{"event":"unknown_topic"}\n'))
    assert loglines.count([Path("-")])["unknown_topic"] == 1
    assert loglines.count([]) == {}
    with pytest.raises(UsageError):
        loglines.count([tmp_path / "missing.log"])
