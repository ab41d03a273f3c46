"""Subjects: what may be published on, and what a worker id may be."""

import pytest

from cordum.bus import BadSubjectError, subjects


def test_a_worker_has_a_subject_of_its_own() -> None:
    assert subjects.worker_jobs("bench-w0") == "worker.bench-w0.jobs"


@pytest.mark.parametrize("worker_id", ["", "a.b", "*", ">", "a b", "a\r\nPUB x", "ä", "x" * 129, "a\n"])
def test_a_worker_id_that_is_no_token_is_refused(worker_id: str) -> None:
    with pytest.raises(BadSubjectError):
        subjects.worker_jobs(worker_id)


@pytest.mark.parametrize("worker_id", sorted(subjects.RESERVED_IDS))
def test_no_worker_may_bear_a_name_of_the_control_plane(worker_id: str) -> None:
    with pytest.raises(BadSubjectError, match="reserved"):
        subjects.worker_jobs(worker_id)


@pytest.mark.parametrize("subject", ["sys.job.submit", "job.a-b_c.d", "worker.w@h:1/x.jobs", "_INBOX.x.1"])
def test_plain_subjects_are_publishable(subject: str) -> None:
    assert subjects.is_publishable(subject)


@pytest.mark.parametrize("subject", ["", "a..b", ".a", "a.", "a.*", "a.>", "a b", "a\r\nPING", "a\n", "a." * 300 + "b"])
def test_wildcards_blanks_and_line_ends_are_not_publishable(subject: str) -> None:
    assert not subjects.is_publishable(subject)


@pytest.mark.parametrize(
    ("pattern", "subject", "expected"),
    [
        ("sys.>", "sys.job.submit", True),
        ("sys.>", "sys", False),
        ("sys.*", "sys.job.submit", False),
        ("sys.*.submit", "sys.job.submit", True),
        ("sys.job.submit", "sys.job.submit", True),
        ("sys.job.submit", "sys.job.result", False),
        ("worker.*.jobs", "worker.*.jobs", True),
        ("worker.a.jobs", "worker.*.jobs", False),
        ("worker.*", "worker.>", False),
        ("worker.>", "worker.*.jobs", True),
    ],
)
def test_covers_says_whether_a_pattern_takes_in_a_subject(pattern: str, subject: str, expected: bool) -> None:
    assert subjects.covers(pattern, subject) is expected
