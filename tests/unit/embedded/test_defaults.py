"""The configuration a new data directory starts with."""

from pathlib import Path

import pytest

from cordum.embedded import defaults

SHIPPED = Path(__file__).parents[3] / "config"


@pytest.mark.parametrize("name", defaults.FILES)
def test_the_installed_copy_is_the_shipped_file(name: str) -> None:
    assert defaults.shipped(name) == (SHIPPED / name).read_text(), f"cp config/{name} src/cordum/embedded/config/"


def test_files_that_are_there_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "safety.yaml").write_text("mine")
    defaults.install(tmp_path)
    assert (tmp_path / "safety.yaml").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(defaults.FILES)
