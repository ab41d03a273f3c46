import pytest
from bench.stats import Run, latencies_ms, median, percentile, summarise


def test_percentile_is_the_nearest_rank() -> None:
    ordered = [float(value) for value in range(1, 101)]
    assert percentile(ordered, 0.50) == 50
    assert percentile(ordered, 0.99) == 99
    assert percentile(ordered, 1.0) == 100
    assert percentile(ordered, 0.0) == 1
    assert percentile([7.0], 0.99) == 7


@pytest.mark.parametrize(("samples", "share"), [([], 0.5), ([1.0], 1.5), ([1.0], -0.1)])
def test_percentile_refuses_what_has_no_answer(samples: list[float], share: float) -> None:
    with pytest.raises(ValueError):
        percentile(samples, share)


def test_latencies_are_sorted_and_become_milliseconds() -> None:
    assert latencies_ms([0.003, 0.001, 0.002]) == (2.0, 3.0)
    assert latencies_ms([]) == (None, None)


def test_median_of_an_even_count_is_the_mean_of_the_middle_two() -> None:
    assert median([3, 1, 2]) == 2
    assert median([4, 1, 2, 3]) == 2.5
    with pytest.raises(ValueError):
        median([])


def test_a_summary_takes_each_median_by_itself_and_keeps_every_fault() -> None:
    summary = summarise(
        [
            Run(value=10, p50_ms=1, p99_ms=9, cpu_us={"gateway": 100, "redis": 5}, faults=("a",)),
            Run(value=30, p50_ms=3, p99_ms=7, cpu_us={"gateway": 300}),
            Run(value=20, p50_ms=2, p99_ms=8, cpu_us={"gateway": 200, "redis": 7}, faults=("a", "b")),
        ]
    )
    assert (summary.value, summary.p50_ms, summary.p99_ms) == (20, 2, 8)
    assert summary.cpu_us == {"gateway": 200, "redis": 6}
    assert summary.faults == ("a", "b")
