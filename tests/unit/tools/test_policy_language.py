"""The reference of the policy language names every key, and stops when one has no description."""

import dataclasses
import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def language() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "tools" / "policy_language.py"), run_name="policy_language")


def test_every_key_of_every_section_is_on_the_page(language: dict[str, Any]) -> None:
    page = language["page"]()
    for section in language["SECTIONS"]:
        table = page.split(f"\n## {section.title}\n", 1)[1].split("\n## ", 1)[0]
        assert [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")] == list(section.keys)


def test_the_page_in_the_repository_is_the_one_that_is_generated(language: dict[str, Any]) -> None:
    assert (ROOT / "docs/reference/policy-language.md").read_text().endswith(language["page"]())


def test_a_key_without_a_description_stops_the_generator(language: dict[str, Any]) -> None:
    section = language["SECTIONS"][0]
    for keys in ((*section.keys, "new_key"), section.keys[1:]):
        with pytest.raises(SystemExit, match="The document"):
            language["_check"](dataclasses.replace(section, keys=keys))
