"""Log files of children."""

import os
from pathlib import Path

import pytest

from cordum.embedded import logfile


def test_the_tail_is_the_last_lines_oldest_first(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("".join(f"line {number}\n" for number in range(100)))
    assert logfile.tail(path, 2) == ["line 98", "line 99"]
    assert logfile.tail(path, 5, start=path.stat().st_size - 8) == ["line 99"]


def test_of_a_large_file_only_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("".join(f"{number:0100d}\n" for number in range(5000)))
    assert all(len(line) == 100 for line in logfile.tail(path, 10_000))


def test_no_file_no_lines(tmp_path: Path) -> None:
    assert logfile.tail(tmp_path / "none", 10) == []
    logfile.shorten(tmp_path / "none")
    logfile.begin_anew(tmp_path / "none")


def test_a_file_that_grew_too_large_is_moved_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logfile, "MAX_BYTES", 100)
    path = tmp_path / "a.log"
    descriptor = logfile.open_for_append(path)
    os.write(descriptor, b"x" * 101)
    logfile.shorten(path)
    os.write(descriptor, b"after\n")
    os.close(descriptor)
    assert path.read_text() == "after\n" and (tmp_path / "a.log.1").stat().st_size == 100
