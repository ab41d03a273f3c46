"""What a candidate policy would decide, found out by the very code that decides (spec-safety section 13, W18).

A candidate is the base with the bundles as they are now stored and some of them changed. It is compiled beside the
policy in force, in a thread, and thrown away: it decides nothing, counts nothing and is remembered nowhere.
"""

import asyncio
from typing import Final

import msgspec

from cordum.core.errors import CordumError
from cordum.core.output.scanners import ScannerSet
from cordum.core.policy.analysis.differences import DEFAULT_LIMIT, compare
from cordum.core.policy.analysis.lint import lint
from cordum.core.policy.analysis.note import Level
from cordum.core.policy.analysis.testing import run_tests
from cordum.core.policy.document import PolicyDocument
from cordum.rpc.gen.cordum.v1 import kernel_pb2
from cordum.services.safety_kernel.judge import Judge
from cordum.services.safety_kernel.keeper import PolicyKeeper
from cordum.services.safety_kernel.loading import LoadedPolicy, PolicyLoader
from cordum.services.safety_kernel.source import PolicySource

MAX_REQUESTS: Final = 1024
MAX_CHANGES: Final = 1024
MAX_TESTS: Final = 10_000
MAX_WARNINGS: Final = 200
MAX_WAITING: Final = 8
"""Trials that wait for the one under way; there is one at a time, for it takes what decisions need too."""


class TrialTooLargeError(CordumError):
    """The trial asks for too much."""

    code = "policy_trial_too_large"


class TrialsBusyError(CordumError):
    """Too many trials are waiting; try again in a moment."""

    code = "policy_trials_busy"


class Trials:
    """Makes trials, one after the other."""

    def __init__(self, source: PolicySource, loader: PolicyLoader, keeper: PolicyKeeper) -> None:
        self._source = source
        self._loader = loader
        self._keeper = keeper
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def run(self, request: kernel_pb2.TrialRequest) -> kernel_pb2.TrialResponse:
        """The answer; a policy that cannot be loaded is an answer too.

        Raises:
            TrialTooLargeError: more than 1024 requests or changes.
            TrialsBusyError: eight others are waiting.
            LoadError: the bundles as they are stored cannot be read.
        """
        if len(request.requests) > MAX_REQUESTS:
            raise TrialTooLargeError(f"{len(request.requests)} requests; at most {MAX_REQUESTS} in one trial")
        if len(request.changes) > MAX_CHANGES:
            raise TrialTooLargeError(f"{len(request.changes)} changed bundles; at most {MAX_CHANGES} in one trial")
        if self._waiting > MAX_WAITING:
            raise TrialsBusyError
        self._waiting += 1
        try:
            async with self._turn:
                return await self._run(request)
        finally:
            self._waiting -= 1

    async def _run(self, request: kernel_pb2.TrialRequest) -> kernel_pb2.TrialResponse:
        bundles = await self._source.read_bundles()
        found = msgspec.structs.replace(self._keeper.found, bundles=bundles)
        in_force = self._keeper.loaded
        candidate = await asyncio.to_thread(self._loader.candidate, found, dict(request.changes))
        response = kernel_pb2.TrialResponse(
            current_snapshot=self._keeper.snapshot,
            faults=[
                kernel_pb2.TrialFault(
                    bundle=part.part,
                    path=part.fault.path,
                    line=part.fault.line,
                    column=part.fault.column,
                    message=part.fault.message,
                )
                for part in candidate.faults
            ],
        )
        await asyncio.to_thread(_answer, response, request, candidate.loaded, in_force)
        return response


def _answer(
    response: kernel_pb2.TrialResponse,
    request: kernel_pb2.TrialRequest,
    candidate: LoadedPolicy | None,
    in_force: LoadedPolicy | None,
) -> None:
    """Everything but the faults."""
    current = _judge(in_force)
    response.current_responses.extend(current.answer(asked) for asked in request.requests)
    if candidate is None:
        return
    judge = _judge(candidate)
    response.snapshot = candidate.snapshot
    response.rules = len(candidate.compiled.rules)
    response.responses.extend(judge.answer(asked) for asked in request.requests)
    if request.explain:
        response.explanations.extend(judge.explain(asked) for asked in request.requests)
    scanners = candidate.compiled.scanners
    _warn(response, candidate.document, scanners)
    _test(response, candidate.document, scanners)
    if request.differences and in_force is not None:
        _compare(response, in_force.document, candidate.document, scanners)


def _judge(policy: LoadedPolicy | None) -> Judge:
    judge = Judge()
    if policy is not None:
        judge.adopt(policy.compiled, policy.snapshot)
    return judge


def _warn(response: kernel_pb2.TrialResponse, document: PolicyDocument, scanners: ScannerSet) -> None:
    bundles = {rule.id: rule.bundle for rule in document.rules}
    notes = [note for note in lint(document, scanners=scanners) if note.level is not Level.HINT]
    response.warnings.extend(
        kernel_pb2.TrialFault(
            bundle=bundles.get(note.rule_id, ""),
            line=note.line,
            message=note.message,
            kind=note.kind.value,
            rule_id=note.rule_id,
        )
        for note in notes[:MAX_WARNINGS]
    )


def _test(response: kernel_pb2.TrialResponse, document: PolicyDocument, scanners: ScannerSet) -> None:
    report = run_tests(document, document.tests[:MAX_TESTS], scanners=scanners)
    response.tests.extend(
        kernel_pb2.TrialTest(
            name=result.name,
            passed=result.passed,
            expected=_json(result.expected),
            got=result.decision,
            rule_id=result.rule_id,
            problems=result.problems,
        )
        for result in report.results
    )
    if document.tests:
        response.coverage.extend(
            kernel_pb2.RuleCoverage(rule_id=rule.rule_id, hits=rule.hits, line=rule.line) for rule in report.coverage
        )


def _compare(
    response: kernel_pb2.TrialResponse, before: PolicyDocument, after: PolicyDocument, scanners: ScannerSet
) -> None:
    comparison = compare(before, after, DEFAULT_LIMIT, scanners=scanners)
    response.differences_complete = comparison.complete
    response.differences.extend(
        kernel_pb2.TrialDifference(
            request=_json(difference.request),
            before_decision=difference.before.decision.value,
            before_rule_id=difference.before.rule_id,
            after_decision=difference.after.decision.value,
            after_rule_id=difference.after.rule_id,
            direction=difference.direction.value,
        )
        for difference in comparison.differences
    )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
