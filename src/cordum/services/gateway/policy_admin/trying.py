"""Trying a candidate policy in the kernel before anything depends on it: the only way a policy is ever evaluated here.

The kernel takes the base policy and all bundles as stored, applies the changes, and answers with its own evaluator, so
that what is shown here is what would happen (spec-safety section 14.1).
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from cordum.rpc.gen.cordum.v1 import kernel_pb2
from cordum.rpc.kernel_client import KernelClient, TrialRefusedError
from cordum.services.gateway.errors import ApiError, invalid

REMOVED: Final = ""
"""The content that takes a bundle out."""


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong, or probably not meant; `line` and `column` from 1, 0 when unknown."""

    bundle_id: str
    path: str
    line: int
    column: int
    message: str
    kind: str = ""
    rule_id: str = ""


class TriedTest(msgspec.Struct, frozen=True):
    """What became of one example stored in a bundle."""

    name: str
    passed: bool
    expected: Any
    got: Any
    rule_id: str = ""
    problems: list[str] = []


class Difference(msgspec.Struct, frozen=True):
    """A request that is decided differently. `direction` is escalated, relaxed or terms."""

    request: Any
    before: str
    before_rule_id: str
    after: str
    after_rule_id: str
    direction: str


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What the kernel said about a candidate."""

    snapshot: str
    current_snapshot: str
    faults: list[Fault]
    warnings: list[Fault]
    tests: list[TriedTest]
    differences: list[Difference]
    differences_complete: bool
    rules: int
    coverage: dict[str, int]
    responses: Sequence[bytes]
    current_responses: Sequence[bytes]
    explanations: Sequence[kernel_pb2.ExplainInDetailResponse]

    @property
    def failed_tests(self) -> list[TriedTest]:
        return [test for test in self.tests if not test.passed]

    @property
    def relaxed(self) -> list[Difference]:
        """Requests that would get through more easily."""
        return [difference for difference in self.differences if difference.direction == "relaxed"]


class PolicyTrials:
    """Makes trials, one at a time: a kernel has only so much room for them beside its decisions."""

    def __init__(self, kernel: KernelClient) -> None:
        self._kernel = kernel
        self._turn = asyncio.Lock()

    async def run(
        self,
        changes: Mapping[str, str],
        *,
        requests: Sequence[bytes] = (),
        ask: frozenset[str] = frozenset(),
    ) -> Trial:
        """Tries bundles that are not in force.

        Args:
            changes: bundle id -> content, `REMOVED` for one that goes.
            requests: serialised PolicyCheckRequests to decide.
            ask: `differences` and `explain`, for what costs more.

        Raises:
            KernelUnavailableError: no kernel answers; then nothing is known about the candidate.
            ApiError: 400, more was asked than the kernel takes.
        """
        asked = kernel_pb2.TrialRequest(
            changes=changes, requests=requests, differences="differences" in ask, explain="explain" in ask
        )
        try:
            async with self._turn:
                answer = await self._kernel.trial(asked)
        except TrialRefusedError as error:
            raise invalid(error.message, "policy_trial_refused") from error
        return Trial(
            snapshot=answer.snapshot,
            current_snapshot=answer.current_snapshot,
            faults=[_fault(fault) for fault in answer.faults],
            warnings=[_fault(fault) for fault in answer.warnings],
            tests=[_test(test) for test in answer.tests],
            differences=[_difference(difference) for difference in answer.differences],
            differences_complete=answer.differences_complete,
            rules=answer.rules,
            coverage={rule.rule_id: rule.hits for rule in answer.coverage},
            responses=answer.responses,
            current_responses=answer.current_responses,
            explanations=answer.explanations,
        )


def demand_valid(trial: Trial) -> None:
    """Raises ApiError 400 with every fault when the candidate could not be loaded."""
    if not trial.faults:
        return
    first = trial.faults[0]
    where = f"{first.bundle_id}, line {first.line}: " if first.line else f"{first.bundle_id}: " * bool(first.bundle_id)
    more = f" (and {len(trial.faults) - 1} more)" if len(trial.faults) > 1 else ""
    raise ApiError(
        "POLICY_VALIDATION_FAILED",
        f"{where}{first.message}{more}",
        extra={"faults": msgspec.to_builtins(trial.faults), "line": first.line, "column": first.column},
    )


def _fault(fault: kernel_pb2.TrialFault) -> Fault:
    return Fault(fault.bundle, fault.path, fault.line, fault.column, fault.message, fault.kind, fault.rule_id)


def _test(test: kernel_pb2.TrialTest) -> TriedTest:
    return TriedTest(test.name, test.passed, _json(test.expected), _json(test.got), test.rule_id, list(test.problems))


def _difference(difference: kernel_pb2.TrialDifference) -> Difference:
    return Difference(
        _json(difference.request),
        difference.before_decision,
        difference.before_rule_id,
        difference.after_decision,
        difference.after_rule_id,
        difference.direction,
    )


def _json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.MsgspecError:
        return text
