"""Merging indexes and cutting pages."""

from hypothesis import given
from hypothesis import strategies as st

from cordum.core.ids import JobId, Micros
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.store.job_cache import RecordCache
from cordum.store.job_lists import _cut, _frontier
from cordum.store.link import Reply


def record(name: str, at: int) -> JobRecord:
    return JobRecord(id=JobId(name), state=JobState.PENDING, updated_at=Micros(at))


def read_in_chunks(indexes: list[list[tuple[str, int]]], chunk: int) -> list[str]:
    """Everything in the indexes, as a list would come upon it."""
    found: list[str] = []
    upper: int | None = None
    for _ in range(1000):
        replies: list[Reply] = []
        for index in indexes:
            below = [entry for entry in index if upper is None or entry[1] <= upper][:chunk]
            replies.append([text for name, at in below for text in (name, str(at))])
        entries, upper = _frontier(replies, chunk)
        found += [name for name, _ in entries]
        if upper is None:
            return found
    raise AssertionError("the chunks never end")


@given(
    times=st.lists(st.lists(st.integers(1, 60), unique=True, max_size=30), min_size=1, max_size=3),
    chunk=st.integers(4, 10),
)
def test_every_entry_of_every_index_is_met_once_newest_first(times: list[list[int]], chunk: int) -> None:
    indexes = [[(f"{number}-{at}", at) for at in sorted(index, reverse=True)] for number, index in enumerate(times)]
    found = read_in_chunks(indexes, chunk)
    assert sorted(found) == sorted(name for index in indexes for name, _ in index)
    assert [int(name.split("-")[1]) for name in found] == sorted((at for index in times for at in index), reverse=True)


def test_a_time_is_not_split_between_two_chunks() -> None:
    index = [("a", 5), ("b", 4), ("c", 4), ("d", 3)]
    assert read_in_chunks([index], 2) == ["a", "b", "c", "d"]


def test_a_page_keeps_jobs_of_one_microsecond_together() -> None:
    found = [(Micros(5), record("a", 5)), (Micros(4), record("b", 4)), (Micros(4), record("c", 4))]
    page = _cut(found, 2, None)
    assert page is not None
    assert [item.id for item in page.items] == ["a", "b", "c"]
    assert page.next_cursor is None


def test_a_page_is_not_cut_while_it_could_be_fuller() -> None:
    assert _cut([(Micros(5), record("a", 5))], 2, Micros(4)) is None


def test_the_cache_knows_versions_and_keeps_one_object_for_each() -> None:
    cache = RecordCache()
    first = cache.put(record("a", 5))
    assert cache.put(record("a", 5)) is first
    assert cache.get("a", "5") is first
    assert cache.get("a", "6") is None
    assert cache.put(record("a", 6)) is not first
    assert cache.get("a", "5") is None


def test_the_cache_is_bounded_and_forgets_the_oldest() -> None:
    cache = RecordCache(capacity=16)
    for number in range(100):
        cache.put(record(f"j-{number}", number + 1))
        assert len(cache) <= 16
    assert cache.get("j-99", "100") is not None
    assert cache.get("j-0", "1") is None
