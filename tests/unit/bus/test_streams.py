"""What streams and consumers must look like."""

import pytest

from cordum.bus import StreamSetupError, subjects
from cordum.bus.streams import StreamLimits, durable_name, mended_stream, narrowed, new_stream

LIMITS = StreamLimits(replicas=3, max_age=3600.0, max_bytes=10_000_000)


def test_a_fresh_stream_is_what_the_spec_says() -> None:
    made = new_stream(subjects.STREAM_SYS, subjects.SYS_SUBJECTS, LIMITS)
    assert made == {
        "name": "CORDUM_SYS",
        "subjects": ["sys.job.submit", "sys.job.result", "sys.job.dlq", "sys.job.cancel", "sys.audit.export"],
        "retention": "limits",
        "storage": "file",
        "discard": "old",
        "num_replicas": 3,
        "max_age": 3_600_000_000_000,
        "max_bytes": 10_000_000,
        "duplicate_window": 120_000_000_000,
    }


def test_the_duplicate_window_is_never_longer_than_the_age() -> None:
    assert new_stream("X", (), StreamLimits(max_age=60.0))["duplicate_window"] == 60_000_000_000


def test_no_subject_of_ours_is_one_that_must_not_be_stored() -> None:
    for pattern in (*subjects.SYS_SUBJECTS, *subjects.JOBS_SUBJECTS):
        assert not any(subjects.covers(pattern, transient) for transient in subjects.TRANSIENT)


@pytest.mark.parametrize(
    ("found", "extra"),
    [
        ([], []),
        (["sys.>"], []),
        (["sys.job.*"], []),
        (["sys.job.submit", "acme.orders"], ["acme.orders"]),
        (["sys.heartbeat"], []),
        ([">"], []),
        (["sys.*.changed"], []),
    ],
)
def test_wide_subjects_are_narrowed_and_strange_ones_kept(found: list[str], extra: list[str]) -> None:
    assert narrowed(found, subjects.SYS_SUBJECTS) == [*subjects.SYS_SUBJECTS, *extra]


def test_a_subject_within_one_of_ours_is_not_named_twice() -> None:
    assert narrowed(["job.default", "worker.*.jobs"], subjects.JOBS_SUBJECTS) == list(subjects.JOBS_SUBJECTS)


def test_mending_keeps_what_it_does_not_know() -> None:
    found = {"name": "CORDUM_SYS", "subjects": ["sys.>"], "storage": "file", "metadata": {"x": "y"}, "num_replicas": 1}
    mended = mended_stream(found, subjects.SYS_SUBJECTS, LIMITS)
    assert mended["metadata"] == {"x": "y"}
    assert mended["subjects"] == list(subjects.SYS_SUBJECTS)
    assert mended["num_replicas"] == 3
    assert mended_stream(mended, subjects.SYS_SUBJECTS, LIMITS) == mended


def test_a_stream_in_memory_is_refused() -> None:
    with pytest.raises(StreamSetupError, match="CORDUM_SYS keeps its messages in memory"):
        mended_stream({"name": "CORDUM_SYS", "storage": "memory"}, subjects.SYS_SUBJECTS, LIMITS)


def test_durable_names_are_those_of_the_reference() -> None:
    assert durable_name("cordum-scheduler", "sys.job.submit") == "dur_cordum-scheduler__sys_job_submit"
    assert durable_name("q", "worker.*.>") == "dur_q__worker_STAR_GT"
