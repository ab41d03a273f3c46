"""`make statements` finds the markers and says which statements are proven."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

LIST = "id,section,statement\nS1,1,one\nS2,1,two\nS3,2,three\nS4,2,four\n"
TESTS = """
import pytest

pytestmark = [pytest.mark.seed("S1")]

@pytest.mark.seed("S2")
def test_a(): ...

class TestB:
    @pytest.mark.seed("S2", "S3")
    @pytest.mark.parametrize("x", [1, 2])
    async def test_c(self, x): ...

def helper(): ...
"""


def load() -> ModuleType:
    """The tool as a module: the folder of tools is no package."""
    path = Path(__file__).parents[3] / "tools" / "statements.py"
    spec = importlib.util.spec_from_file_location("statements", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


statements = load()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "statements.csv").write_text(LIST)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_x.py").write_text(TESTS)
    return tmp_path


def run(folder: Path, *more: str) -> int:
    given = ["--tests", folder / "tests", "--list", folder / "statements.csv", "--results", folder / "results.json"]
    code: int = statements.main([*map(str, given), *more])
    return code


def states(text: str) -> dict[str, str]:
    return {line[:5].strip(): line[11:19].strip() for line in text.splitlines() if line.startswith("S")}


def test_without_results_a_marked_statement_has_a_test_that_was_not_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder) == 0
    shown = capsys.readouterr().out
    assert states(shown) == {"S1": "not run", "S2": "not run", "S3": "not run", "S4": "no test"}
    assert "4 statements: 0 passed, 0 failed, 3 not run, 1 no test" in shown


def test_one_failure_among_its_tests_fails_a_statement(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = {
        "test_x.py::test_a": "passed",
        "test_x.py::TestB::test_c[1]": "passed",
        "test_x.py::TestB::test_c[2]": "failed",
    }
    renamed = {f"tests/{name}": outcome for name, outcome in results.items()} | results
    (folder / "results.json").write_text(json.dumps(renamed))
    assert run(folder) == 0
    assert states(capsys.readouterr().out) == {"S1": "failed", "S2": "failed", "S3": "failed", "S4": "no test"}


def test_passed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "results.json").write_text(json.dumps({"test_x.py::test_a": "passed"}))
    assert run(folder) == 0
    assert states(capsys.readouterr().out) == {"S1": "passed", "S2": "passed", "S3": "not run", "S4": "no test"}


def test_missing_shows_only_what_has_no_test(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "--missing") == 0
    assert states(capsys.readouterr().out) == {"S4": "no test"}


def test_a_marker_with_an_unknown_id_fails(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "tests" / "test_y.py").write_text('@pytest.mark.seed("S99")\ndef test_z(): ...\n')
    assert run(folder) == 1
    assert "test_y.py::test_z: there is no statement S99" in capsys.readouterr().err


def test_the_shipped_list_is_complete() -> None:
    listed = statements.read_list(statements.LIST)
    assert list(listed) == [f"S{number}" for number in range(1, 266)]
    assert all(item.section and item.text for item in listed.values())
