"""The groups of the runbook."""

import pytest

from cordum.core.jobs.triage import ADVICE, TOPICS_SHOWN, Letter, group_of, groups


@pytest.mark.parametrize("text", ADVICE)
def test_a_reason_of_the_runbook_is_a_group_whatever_follows(text: str) -> None:
    assert group_of(text, "code") == group_of(f"{text} (300 s)", "") == text


def test_any_other_letter_is_grouped_by_its_code() -> None:
    assert group_of("worker_lost: gone", "worker_lost") == "worker_lost"
    assert group_of("", "") == "other"
    assert group_of("timeout: deadline expired", "timeout") == "timeout"


def letter(code: str, topic: str, day: int) -> Letter:
    return Letter(reason="", code=code, topic=topic, created_at=f"2026-01-{day:02}T00:00:00Z")


def test_the_largest_group_comes_first_with_its_topics_and_times() -> None:
    many = [letter("a", f"job.{number % 7}", number + 1) for number in range(10)]

    found = groups([letter("b", "job.x", 3), *many, letter("c", "job.y", 4)])

    assert [(group.reason, group.count) for group in found] == [("a", 10), ("b", 1), ("c", 1)]
    first = found[0]
    assert (first.oldest, first.newest) == ("2026-01-01T00:00:00Z", "2026-01-10T00:00:00Z")
    assert list(first.topics.items())[:3] == [("job.0", 2), ("job.1", 2), ("job.2", 2)]
    assert len(first.topics) == TOPICS_SHOWN and first.codes == ("a",) and first.advice == ""
    assert groups([]) == []
