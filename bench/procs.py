"""What processes cost, read from /proc: CPU time, resident and proportional memory. Zeros where there is no /proc."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")

DRIVER = "driver"


@dataclass(frozen=True)
class Memory:
    """Bytes. `pss` shares pages between those that map them and is 0 where the kernel does not tell."""

    rss: int
    pss: int


def parse_stat(text: str) -> float:
    """CPU seconds of a /proc/<pid>/stat line; the command in it may hold spaces and brackets."""
    fields = text.rpartition(")")[2].split()
    if len(fields) < 13:
        raise ValueError("not a /proc/<pid>/stat line")
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far, all threads; 0 when it is gone."""
    try:
        return parse_stat((_PROC / str(pid) / "stat").read_text())
    except (OSError, ValueError):
        return 0.0


def memory(pid: int) -> Memory:
    """What a process holds now; zeros when it is gone or not ours to read."""
    rss = pss = 0
    try:
        rss = int((_PROC / str(pid) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                pss = int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return Memory(rss, pss)


def machine_busy_seconds() -> float:
    """CPU seconds all cores together have spent working since boot (idle and I/O wait left out)."""
    try:
        fields = [int(field) for field in (_PROC / "stat").read_text().splitlines()[0].split()[1:9]]
    except (OSError, ValueError, IndexError):
        return 0.0
    return (sum(fields) - fields[3] - fields[4]) * _TICK_S


class CpuMeter:
    """CPU time between `start` and `stop`, by process name; the driver itself included."""

    def __init__(self, pids: Mapping[str, list[int]]) -> None:
        self._pids = dict(pids)
        self._before: dict[int, float] = {}
        self._driver = 0.0
        self._busy = 0.0

    def start(self) -> None:
        self._before = {pid: cpu_seconds(pid) for pids in self._pids.values() for pid in pids}
        self._driver = _own_seconds()
        self._busy = machine_busy_seconds()

    def stop(self) -> "CpuSpent":
        spent = {
            name: sum(max(0.0, cpu_seconds(pid) - self._before.get(pid, 0.0)) for pid in pids)
            for name, pids in self._pids.items()
        }
        spent[DRIVER] = _own_seconds() - self._driver
        return CpuSpent(spent, max(0.0, machine_busy_seconds() - self._busy))


@dataclass(frozen=True)
class CpuSpent:
    """CPU seconds by process name, and of the whole machine, over one measurement."""

    by_name: Mapping[str, float]
    machine: float

    def per_operation(self, operations: float) -> dict[str, float]:
        """Microseconds each process spent per operation."""
        return {name: seconds * 1e6 / operations for name, seconds in self.by_name.items()} if operations > 0 else {}

    def others(self, elapsed: float) -> float:
        """Cores that programs outside the measurement kept busy meanwhile (what makes a figure rough)."""
        return max(0.0, self.machine - sum(self.by_name.values())) / elapsed if elapsed > 0 else 0.0


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system
