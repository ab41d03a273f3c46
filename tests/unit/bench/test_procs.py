import os
import sys

import pytest
from bench import procs


def test_cpu_time_is_read_past_a_command_with_brackets_and_spaces() -> None:
    tick = 1 / os.sysconf("SC_CLK_TCK")
    fields = "S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1 0"
    assert procs.parse_stat(f"42 (a ) odd (name) {fields}") == pytest.approx(200 * tick)
    with pytest.raises(ValueError):
        procs.parse_stat("42 (short) S 1")


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_this_process_has_memory_and_a_gone_one_has_none() -> None:
    assert procs.memory(os.getpid()).rss > 1_000_000
    assert procs.memory(2**22 + 1) == procs.Memory(0, 0)
    assert procs.cpu_seconds(2**22 + 1) == 0


def test_costs_are_per_operation_and_others_are_what_is_left() -> None:
    spent = procs.CpuSpent({"gateway": 0.5, "driver": 0.25}, machine=1.75)
    assert spent.per_operation(1000) == {"gateway": 500, "driver": 250}
    assert spent.per_operation(0) == {}
    assert spent.others(2.0) == 0.5
