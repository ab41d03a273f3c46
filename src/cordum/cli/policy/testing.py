"""`cordumctl policy test`."""

from pathlib import Path

import msgspec
from rich.text import Text

from cordum.cli import output
from cordum.cli.errors import UsageError
from cordum.cli.policy.files import read_policy
from cordum.core.policy.analysis.testing import TestReport, run_tests


def run(file: Path, *, coverage: bool, wants_json: bool) -> int:
    """Runs the tests of a file and prints; gives the exit code."""
    document = read_policy(file)
    if not document.tests:
        raise UsageError(
            f"{file} has no tests", "add some: tests: [{name: ..., request: {topic: ...}, expect: {decision: deny}}]"
        )
    report = run_tests(document)
    if wants_json:
        output.print_json({"file": str(file), "passed": report.passed, **msgspec.to_builtins(report)})
    else:
        _print(report, coverage=coverage)
    return 0 if report.passed else 1


def _print(report: TestReport, *, coverage: bool) -> None:
    output.print_table(
        ("TEST", "RESULT", "DECISION", "RULE", "WHY"),
        (
            (
                result.name,
                Text("passed", "green") if result.passed else Text("failed", "red"),
                result.decision,
                result.rule_id,
                "\n".join(result.problems),
            )
            for result in report.results
        ),
        "no tests",
    )
    passed = sum(result.passed for result in report.results)
    hit = len(report.coverage) - len(report.missed)
    if coverage:
        output.print_table(
            ("RULE", "LINE", "TESTS", "CONDITIONS SEEN FROM ONE SIDE ONLY"),
            ((rule.rule_id, rule.line or "", rule.hits, ", ".join(rule.one_sided)) for rule in report.coverage),
            "no rules",
        )
    output.notice(f"{passed} of {len(report.results)} passed; {hit} of {len(report.coverage)} rules reached")
