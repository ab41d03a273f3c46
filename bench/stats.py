"""Percentiles and medians over what was measured."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Run:
    """One repeat of one row.

    `value` is the row's figure (operations per second, MB, a ratio), latencies are milliseconds, `cpu_us` is
    microseconds of CPU time per operation by process name, `others` how many cores other programs took meanwhile.
    """

    value: float
    p50_ms: float | None = None
    p99_ms: float | None = None
    cpu_us: Mapping[str, float] = field(default_factory=dict)
    extra: Mapping[str, float] = field(default_factory=dict)
    others: float = 0.0
    faults: tuple[str, ...] = ()


def percentile(ordered: Sequence[float], share: float) -> float:
    """The nearest-rank percentile of an already sorted, non-empty sequence; `share` is 0..1."""
    if not ordered:
        raise ValueError("no samples")
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"share must be 0..1, not {share}")
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def latencies_ms(seconds: Iterable[float]) -> tuple[float, float] | tuple[None, None]:
    """(p50, p99) in milliseconds, or (None, None) without samples."""
    ordered = sorted(seconds)
    if not ordered:
        return None, None
    return percentile(ordered, 0.50) * 1e3, percentile(ordered, 0.99) * 1e3


def median(values: Iterable[float]) -> float:
    """The middle value; of an even count the mean of the two in the middle."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def summarise(runs: Sequence[Run]) -> Run:
    """The median of every figure over the repeats; a fault of any repeat stays a fault."""
    if not runs:
        raise ValueError("no runs")
    p50 = [run.p50_ms for run in runs if run.p50_ms is not None]
    p99 = [run.p99_ms for run in runs if run.p99_ms is not None]
    return Run(
        value=median(run.value for run in runs),
        p50_ms=median(p50) if p50 else None,
        p99_ms=median(p99) if p99 else None,
        cpu_us=_medians([run.cpu_us for run in runs]),
        extra=_medians([run.extra for run in runs]),
        others=median(run.others for run in runs),
        faults=tuple(dict.fromkeys(fault for run in runs for fault in run.faults)),
    )


def _medians(mappings: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for mapping in mappings for name in mapping)
    return {name: median(mapping[name] for mapping in mappings if name in mapping) for name in names}
