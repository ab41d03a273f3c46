"""Changed files are noticed by their content; one that is broken changes nothing and is told of once."""

from pathlib import Path

import pytest
from blockbuster import BlockBuster

from cordum.runtime.clock import ManualClock
from cordum.services.scheduler import config_files
from cordum.services.scheduler.config_files import ConfigFiles, ConfigFileWatch, read_config_files

GOOD = "topics: {job.a: main}\n"


class Watched:
    def __init__(self, directory: Path) -> None:
        self.pools, self.timeouts = directory / "pools.yaml", directory / "timeouts.yaml"
        self.pools.write_text(GOOD)
        self.used: list[ConfigFiles] = []
        self.clock = ManualClock()
        files = read_config_files(str(self.pools), str(self.timeouts))
        self.watch = ConfigFileWatch(str(self.pools), str(self.timeouts), files.digest, self.used.append, self.clock)


@pytest.fixture
def watched(tmp_path: Path, event_loop_guard: BlockBuster) -> Watched:
    return Watched(tmp_path)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []

    def note(_text: str, **fields: object) -> None:
        lines.append(str(fields["error"]))

    monkeypatch.setattr(config_files.log, "error", note)
    return lines


async def test_what_was_read_at_the_start_is_not_read_again(watched: Watched) -> None:
    watched.pools.touch()
    await watched.watch.look()
    assert watched.used == []


async def test_new_content_is_used_once(watched: Watched) -> None:
    watched.pools.write_text("topics: {job.a: main, job.b: main}\n")
    for _ in range(3):
        await watched.watch.look()
    assert [sorted(files.pools.topics) for files in watched.used] == [["job.a", "job.b"]]

    watched.timeouts.write_text("topics: {job.a: {timeout_seconds: 5}}\n")
    await watched.watch.look()
    assert watched.used[-1].timeouts.running_timeout("job.a") == 5  # type: ignore[arg-type]


async def test_a_broken_file_changes_nothing_and_is_told_of_once(watched: Watched, told: list[str]) -> None:
    watched.timeouts.write_text("topics: {job.a: {timeout: 5}}\n")
    for _ in range(3):
        await watched.watch.look()
    assert watched.used == [] and len(told) == 1
    assert "timeouts.yaml" in told[0] and "unknown field `timeout`" in told[0]

    watched.timeouts.write_text("topics: {job.a: {timeout_seconds: -5}}\n")
    await watched.watch.look()
    assert len(told) == 2

    watched.timeouts.write_text("topics: {job.a: {timeout_seconds: 5}}\n")
    await watched.watch.look()
    assert len(watched.used) == 1 and len(told) == 2


async def test_a_file_that_goes_away_is_told_of_and_may_come_back(watched: Watched, told: list[str]) -> None:
    watched.pools.unlink()
    await watched.watch.look()
    await watched.watch.look()
    assert len(told) == 1 and "cannot be read" in told[0] and watched.used == []

    watched.pools.write_text(GOOD)
    await watched.watch.look()
    assert len(watched.used) == 1
