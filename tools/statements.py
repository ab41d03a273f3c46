"""Which statements of the production guide have a test, and which of those tests passed when they last ran.

    python tools/statements.py [--missing] [--tests DIR] [--results FILE]

Statements are listed in docs/reference/statements.csv. A test proves some of them by its marker,
`@pytest.mark.seed("S34", "S35")` on the function, on its class, or as `pytestmark` of the module. What passed is what
the last `make test` wrote down (tests/conftest.py): results of several runs add up, the last one of a test counts.

Exit code 1 when a marker names a statement that does not exist.
"""

import argparse
import ast
import csv
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIST = ROOT / "docs" / "reference" / "statements.csv"
RESULTS = ROOT / ".pytest_cache" / "cordum-seed.json"

PASSED, FAILED, NOT_RUN, MISSING = "passed", "failed", "not run", "no test"


@dataclass
class Statement:
    """One statement, and the tests that claim to prove it."""

    id: str
    section: str
    text: str
    tests: list[str] = field(default_factory=list)

    def state(self, results: dict[str, str]) -> str:
        """Whether its tests passed: all of those that ran must have."""
        if not self.tests:
            return MISSING
        outcomes = {outcome for test in self.tests for outcome in _outcomes(test, results)}
        if "failed" in outcomes:
            return FAILED
        return PASSED if "passed" in outcomes else NOT_RUN


def read_list(path: Path) -> dict[str, Statement]:
    """The statements by id, in the order of the file."""
    with path.open(newline="", encoding="utf-8") as file:
        return {row["id"]: Statement(row["id"], row["section"], row["statement"]) for row in csv.DictReader(file)}


def read_results(path: Path) -> dict[str, str]:
    """The outcome (`passed`, `failed`, `skipped`) of each test that ran, by its node id."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return {str(test): str(outcome) for test, outcome in found.items()} if isinstance(found, dict) else {}


def find_marks(folder: Path, root: Path) -> Iterator[tuple[str, str]]:
    """Every statement id a test is marked with, with the test's node id (without parameters)."""
    for path in sorted(folder.rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        name = path.resolve().relative_to(root).as_posix()
        yield from _marks_of_body(tree.body, name, _module_marks(tree))


def _marks_of_body(body: Sequence[ast.stmt], prefix: str, inherited: list[str]) -> Iterator[tuple[str, str]]:
    for item in body:
        if isinstance(item, ast.ClassDef):
            # A hypothesis state machine is tested under the name it is assigned to; its class stands for it here.
            own = inherited + _seed_ids(item.decorator_list)
            if item.name.startswith("Test"):
                yield from _marks_of_body(item.body, f"{prefix}::{item.name}", own)
            else:
                yield from ((mark, f"{prefix}::{item.name}") for mark in own if mark not in inherited)
        elif isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) and item.name.startswith("test"):
            for mark in dict.fromkeys(inherited + _seed_ids(item.decorator_list)):
                yield mark, f"{prefix}::{item.name}"


def _module_marks(tree: ast.Module) -> list[str]:
    values = [
        item.value
        for item in tree.body
        if isinstance(item, ast.Assign)
        and any(isinstance(target, ast.Name) and target.id == "pytestmark" for target in item.targets)
    ]
    return _seed_ids(part for value in values for part in (value.elts if isinstance(value, ast.List) else [value]))


def _seed_ids(expressions: Iterable[ast.expr]) -> list[str]:
    """The arguments of `pytest.mark.seed(...)` among some expressions, `pytest.param(..., marks=...)` included."""
    found: list[str] = []
    for expression in expressions:
        for node in ast.walk(expression):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "seed":
                found += [
                    item.value for item in node.args if isinstance(item, ast.Constant) and isinstance(item.value, str)
                ]
    return found


def _outcomes(test: str, results: dict[str, str]) -> Iterator[str]:
    for ran, outcome in results.items():
        if ran == test or ran.startswith((f"{test}[", f"{test}::")):
            yield outcome


def report(statements: dict[str, Statement], results: dict[str, str], missing_only: bool) -> str:
    """The table and, under it, the counts."""
    lines = []
    counts: Counter[str] = Counter()
    for item in statements.values():
        state = item.state(results)
        counts[state] += 1
        if missing_only and state != MISSING:
            continue
        lines.append(f"{item.id:<5} {item.section:<4} {state:<8} {len(item.tests) or '':>3}  {item.text}")
    summary = ", ".join(f"{counts[state]} {state}" for state in (PASSED, FAILED, NOT_RUN, MISSING))
    head = f"{'id':<5} {'§':<4} {'state':<8} {'':>3}  statement"
    return "\n".join([head, *lines, "", f"{len(statements)} statements: {summary}"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the report; gives the exit code."""
    parser = argparse.ArgumentParser(description="Which statements of the production guide have a passing test")
    parser.add_argument("--missing", action="store_true", help="only those without a test")
    parser.add_argument("--tests", type=Path, default=ROOT / "tests", metavar="DIR")
    parser.add_argument("--list", type=Path, default=LIST, metavar="FILE")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FILE")
    given = parser.parse_args(arguments)
    statements = read_list(given.list)
    root = ROOT if given.tests.resolve().is_relative_to(ROOT) else given.tests.resolve()
    unknown = []
    for mark, test in find_marks(given.tests, root):
        if mark not in statements:
            unknown.append(f"{test}: there is no statement {mark}")
        elif test not in statements[mark].tests:
            statements[mark].tests.append(test)
    print(report(statements, read_results(given.results), given.missing))
    for line in unknown:
        print(line, file=sys.stderr)
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
