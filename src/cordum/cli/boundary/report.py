"""Puts the five checks together."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cordum.cli import output, smoke
from cordum.cli.boundary import checks, loglines
from cordum.cli.boundary.finding import Finding, Outcome, judged
from cordum.cli.client import Client, Json
from cordum.cli.errors import FAILED, USAGE, CliError, RefusedError, UnreachableError, UsageError

_STYLES = {Outcome.PASS: "green", Outcome.FAIL: "red", Outcome.SKIP: "yellow"}


class CannotLookError(CliError):
    """The installation cannot be examined."""

    code = "cli_cannot_look"
    exit_code = USAGE


@dataclass(frozen=True)
class Smoke:
    """How to try the topics: the jobs' contexts (a file or a directory, None for the schemas' examples), seconds."""

    payload: Path | None
    timeout: float


@dataclass(frozen=True)
class Report:
    """What was found, in the order of the guide."""

    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        return all(finding.outcome is not Outcome.FAIL for finding in self.findings)

    @property
    def exit_code(self) -> int:
        return 0 if self.passed else FAILED

    def shown(self) -> Json:
        return {"passed": self.passed, "checks": [finding.shown() for finding in self.findings]}

    def print(self) -> None:
        for finding in self.findings:
            console = output.console()
            console.print(f"{finding.outcome:<5}", style=_STYLES[finding.outcome], end="")
            console.print(f"{finding.check}: {finding.summary}", markup=False)
            for detail in finding.details:
                console.print(f"       {detail}", markup=False)


def examine(
    client: Client, logs: Sequence[Path], expected: Sequence[str], window: int, tolerated: int, smoking: Smoke | None
) -> Report:
    """Looks, and tries when told how.

    Raises:
        CannotLookError: the gateway does not answer, or not to this key.
    """
    logged = loglines.count(logs)
    try:
        topics = output.items(client.get("/topics"))
        workers = output.items(client.get("/workers"))
        credentials = output.items(client.get("/workers/credentials"))
        counted = output.items(client.get("/boundary/events", {"window_seconds": window}))
    except (UnreachableError, RefusedError) as error:
        raise CannotLookError(error.message, error.hint) from error
    return Report(
        (
            checks.topics_complete(topics, expected),
            checks.topics_served(topics),
            checks.workers_covered(workers, credentials),
            checks.refusals_ceased(counted, logged, window, tolerated),
            _smoke(client, smoking),
        )
    )


def _smoke(client: Client, smoking: Smoke | None) -> Finding:
    if smoking is None:
        return Finding("smoke", Outcome.SKIP, "not tried: add --smoke, or run cordumctl topic smoke")
    try:
        trials = smoke.try_out(client, (), smoking.payload, timeout=smoking.timeout, accept_approval=True)
    except UsageError:
        raise
    except CliError as error:
        return judged("smoke", [error.message], "")
    wrong = [f"{trial.topic}: {trial.outcome} {trial.detail}".rstrip() for trial in trials if not trial.passed]
    return judged("smoke", wrong, f"a job succeeded on each of {len(trials)} topics")
