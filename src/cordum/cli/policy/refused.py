"""A policy that the gateway refused: its faults in the file it came from, its failed tests, what it would let run."""

import contextlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

from cordum.cli.errors import CliError, RefusedError
from cordum.cli.policy.files import BadPolicyFileError
from cordum.core.policy.errors import Fault

_MOST_SHOWN = 10


@contextlib.contextmanager
def shown_in(file: Path, content: str) -> Iterator[None]:
    """Says of a refusal what it was for. Faults with their places become excerpts of the file."""
    try:
        yield
    except RefusedError as refused:
        code = refused.body.get("code")
        if code == "POLICY_RELAXED":
            hint = "if that is meant: the same with --acknowledge-relaxed"
            raise _with_lines(refused, _relaxed(refused.body), hint) from refused
        if code == "POLICY_TESTS_FAILED":
            hint = "cordumctl policy test FILE runs the tests of one file"
            raise _with_lines(refused, _failed(refused.body), hint) from refused
        faults = tuple(_faults(refused.body))
        if not faults:
            raise
        raise BadPolicyFileError(file, content.encode(), faults) from refused


def _with_lines(refused: RefusedError, lines: Iterator[str], hint: str) -> CliError:
    shown = "".join(f"\n  {line}" for line in itertools.islice(lines, _MOST_SHOWN))
    return CliError(f"{refused.message}{shown}", hint)


def _relaxed(body: dict[str, object]) -> Iterator[str]:
    for item in _listed(body, "differences"):
        if item.get("direction") == "relaxed":
            rule = item.get("after_rule_id") or "the default"
            request = json.dumps(item.get("request"), ensure_ascii=False)
            yield f"{item.get('before')} becomes {item.get('after')} by {rule}: {request}"


def _failed(body: dict[str, object]) -> Iterator[str]:
    for item in _listed(body, "tests"):
        if not item.get("passed"):
            problems = item.get("problems")
            yield f"{item.get('name')}: {'; '.join(map(str, problems)) if isinstance(problems, list) else ''}"


def _faults(body: dict[str, object]) -> Iterator[Fault]:
    for item in _listed(body, "faults"):
        line, column = item.get("line"), item.get("column")
        yield Fault(
            line if isinstance(line, int) else 0,
            column if isinstance(column, int) else 0,
            str(item.get("path") or ""),
            str(item.get("message") or ""),
        )


def _listed(body: dict[str, object], name: str) -> list[dict[str, object]]:
    found = body.get(name)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
