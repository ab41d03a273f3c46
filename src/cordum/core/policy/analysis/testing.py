"""A policy's own tests, and which of its rules they reach (spec-safety section 14, point 6)."""

from collections.abc import Iterable, Mapping

import msgspec

from cordum.core.output.scanners import SCANNERS, ScannerSet
from cordum.core.policy.analysis.region import Body
from cordum.core.policy.analysis.requests import BadRequestError, request_from_dict
from cordum.core.policy.compile import CompiledPolicy, compile_policy
from cordum.core.policy.decision import Decision
from cordum.core.policy.document import PolicyDocument, PolicyTest
from cordum.core.policy.evaluate import evaluate
from cordum.core.policy.outcome import Outcome
from cordum.core.policy.parse import DECISION_WORDS
from cordum.core.policy.request import PolicyRequest

EXPECTATIONS = ("decision", "rule_id", "reason", "decided_by", "approval_required")
"""What a test may expect: `reason` is a part of the reason, everything else the exact value."""


class TestResult(msgspec.Struct, frozen=True, kw_only=True):
    """How one test ended. `problems` says what was not as expected; empty when it passed."""

    __test__ = False

    name: str
    passed: bool
    problems: tuple[str, ...]
    request: Body
    expected: Body
    decision: str
    rule_id: str
    reason: str


class MatcherCoverage(msgspec.Struct, frozen=True):
    """For how many of the tests' requests one condition of a rule held, and for how many it did not."""

    name: str
    held: int
    failed: int


class RuleCoverage(msgspec.Struct, frozen=True):
    """How many tests a rule decided."""

    rule_id: str
    line: int
    hits: int
    matchers: tuple[MatcherCoverage, ...]

    @property
    def one_sided(self) -> tuple[str, ...]:
        """Conditions that were only ever seen to hold, or only ever to fail."""
        return tuple(matcher.name for matcher in self.matchers if not (matcher.held and matcher.failed))


class TestReport(msgspec.Struct, frozen=True):
    """All results in the order of the tests, and the coverage of every rule in the order in which they decide; input
    rules come last. Output rules are no part of it."""

    __test__ = False

    results: tuple[TestResult, ...]
    coverage: tuple[RuleCoverage, ...]

    @property
    def passed(self) -> bool:
        return all(result.passed for result in self.results)

    @property
    def missed(self) -> tuple[str, ...]:
        """Rules that decided no test."""
        return tuple(rule.rule_id for rule in self.coverage if not rule.hits)


def run_tests(
    document: PolicyDocument, tests: Iterable[PolicyTest] | None = None, *, scanners: ScannerSet = SCANNERS
) -> TestReport:
    """Runs the tests in the document, or those given. Never raises for a test: a bad one fails with the reason.

    `scanners` are those the document was parsed with.
    """
    policy = compile_policy(document, scanners=scanners)
    results: list[TestResult] = []
    requests: list[PolicyRequest] = []
    hits: dict[str, int] = {}
    for test in document.tests if tests is None else tests:
        try:
            request = request_from_dict(test.request)
        except BadRequestError as error:
            results.append(_result(test, None, (error.message,)))
            continue
        requests.append(request)
        outcome = evaluate(policy, request)
        if outcome.rule_id:
            hits[outcome.rule_id] = hits.get(outcome.rule_id, 0) + 1
        results.append(_result(test, outcome, tuple(_problems(test.expect, outcome))))
    return TestReport(tuple(results), _coverage(policy, document, requests, hits))


def _result(test: PolicyTest, outcome: Outcome | None, problems: tuple[str, ...]) -> TestResult:
    return TestResult(
        name=test.name,
        passed=not problems,
        problems=problems,
        request=test.request,
        expected=test.expect,
        decision=outcome.decision.value if outcome else "",
        rule_id=outcome.rule_id if outcome else "",
        reason=outcome.reason if outcome else "",
    )


def _problems(expect: Mapping[str, object], outcome: Outcome) -> Iterable[str]:
    if not expect:
        yield "expects nothing: say at least `decision`"
    for name, wanted in expect.items():
        got: object
        match name:
            case "decision":
                got = outcome.decision.value.lower()
                right = _same_decision(wanted, outcome.decision)
            case "rule_id":
                got = outcome.rule_id
                right = wanted == got
            case "reason":
                got = outcome.reason
                right = isinstance(wanted, str) and wanted in outcome.reason
            case "decided_by":
                got = outcome.decided_by.value
                right = wanted == got
            case "approval_required":
                got = outcome.decision is Decision.REQUIRE_APPROVAL
                right = wanted in (got, str(got).lower())
            case _:
                yield f'cannot expect "{name}"; known are {", ".join(EXPECTATIONS)}'
                continue
        if not right:
            yield f"{name}: expected {_shown(wanted)}, got {_shown(got)}"


def _same_decision(wanted: object, got: Decision) -> bool:
    """`allow` takes an allow with constraints as well, as the wire's ALLOW does."""
    word = DECISION_WORDS.get(str(wanted).strip().lower())
    return word is got or (word is Decision.ALLOW and got.permits)


def _coverage(
    policy: CompiledPolicy, document: PolicyDocument, requests: list[PolicyRequest], hits: Mapping[str, int]
) -> tuple[RuleCoverage, ...]:
    lines = {rule.id: rule.line for rule in document.rules}
    full = [
        request if request.tenant else msgspec.structs.replace(request, tenant=policy.default_tenant)
        for request in requests
    ]
    covered: list[RuleCoverage] = []
    for rule in policy.rules:
        matchers = []
        for matcher in rule.matchers:
            held = sum(matcher.test(request) for request in full)
            matchers.append(MatcherCoverage(matcher.name, held, len(full) - held))
        name = rule.outcome.rule_id
        covered.append(RuleCoverage(name, lines.get(name, 0), hits.get(name, 0), tuple(matchers)))
    content = [rule for rule in document.input_rules if rule.enabled]
    return (*covered, *(RuleCoverage(rule.id, rule.line, hits.get(rule.id, 0), ()) for rule in content))


def _shown(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()
