"""The configuration a new data directory starts with."""

from pathlib import Path

import pytest

from cordum.embedded import defaults

SHIPPED = Path(__file__).parents[3] / "config"
"""A link to the packaged files, so that there is one copy."""


@pytest.mark.parametrize("name", defaults.FILES)
def test_what_is_shipped_can_be_found_where_people_look_for_it(name: str) -> None:
    assert (SHIPPED / name).read_text() == defaults.shipped(name)


def test_files_that_are_there_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "safety.yaml").write_text("mine")
    defaults.install(tmp_path)
    assert (tmp_path / "safety.yaml").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(defaults.FILES)
