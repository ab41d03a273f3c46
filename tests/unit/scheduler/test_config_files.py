"""The two files: what stops the start, and with which words."""

from pathlib import Path

import pytest

from cordum.core.routing.errors import RoutingConfigError
from cordum.core.routing.timeouts import TimeoutsConfig
from cordum.services.scheduler.config_files import read_config_files

SHIPPED = Path(__file__).parents[3] / "config"


def test_the_shipped_files_are_good() -> None:
    files = read_config_files(str(SHIPPED / "pools.yaml"), str(SHIPPED / "timeouts.yaml"))

    assert "job.default" in files.pools.topics
    limits = files.timeouts.reconciler
    assert (limits.dispatch_timeout_seconds, limits.running_timeout_seconds, limits.scan_interval_seconds) == (
        300,
        900,
        30,
    )


def test_without_a_timeouts_file_the_built_in_values_hold(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("topics: {a: b}")

    assert read_config_files(str(tmp_path / "p"), str(tmp_path / "none")).timeouts == TimeoutsConfig()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the file is empty"),
        ("topics: {a: b}\ntopics: {a: c}", "key 'topics' stands twice (line 2)"),
        ("x: &x {a: b}\ntopics: *x", "refers to itself (line 2)"),
        ("topics: [a", "is no valid YAML"),
        ("topics: {a: b}\n\x00", "is no valid YAML"),
        ("topics: {a: b}\npools: {b: {status: off}}", "pools"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "p").write_text(text)

    with pytest.raises(RoutingConfigError) as refused:
        read_config_files(str(tmp_path / "p"), str(tmp_path / "none"))

    assert str(tmp_path / "p") in refused.value.message
    assert told in refused.value.message


def test_a_missing_pools_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RoutingConfigError, match="cannot be read: No such file"):
        read_config_files(str(tmp_path / "none"), str(tmp_path / "none"))
