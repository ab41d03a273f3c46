"""A safety kernel that decides by what a job's topic says, and is away when the weather says so."""

import asyncio
from random import Random
from typing import Final

from cap.pb.cordum.agent.v1 import safety_pb2
from tests.simulation.clocks import SimClock
from tests.simulation.history import Event, History
from tests.simulation.loop import Process, SimLoop
from tests.simulation.weather import Weather

from cordum.core.ids import RuleId, SnapshotId, micros
from cordum.core.policy.decision import Budgets, Constraints, Decision, OutputDecision, Verdict
from cordum.core.policy.output_scope import EVERYTHING, OutputScope
from cordum.rpc.kernel_client import KernelUnavailableError
from cordum.rpc.output_client import OutputAnswer, OutputQuestion, OutputUnavailableError

SNAPSHOT: Final = SnapshotId("policy-1")

ALLOWED: Final = "job.work"
SINGLE: Final = "job.single"
RETRIED: Final = "job.retried"
FORBIDDEN: Final = "job.forbidden"
CAREFUL: Final = "job.careful"
SLOW: Final = "job.slow"
OTHER: Final = "job.other"
GATE: Final = "sys.approval.gate"
GUARD: Final = "job.guard"

TOPICS: Final = {ALLOWED: "main", SINGLE: "main", RETRIED: "main", FORBIDDEN: "main", CAREFUL: "main", SLOW: "main",
                 OTHER: "other"}  # fmt: skip

_CONSTRAINED: Final = {
    SINGLE: Constraints(budgets=Budgets(max_concurrent_jobs=1)),
    RETRIED: Constraints(budgets=Budgets(max_retries=1)),
}
_THROTTLES: Final = 2
"""How often a slow job is put off."""


_SECRET: Final = frozenset({"j0", "j3"})
"""Jobs whose output nobody may see."""


class SimKernel:
    """The kernel of one world."""

    def __init__(self, loop: SimLoop, random: Random, history: History) -> None:
        self.loop = loop
        self.random = random
        self.history = history
        self.weather = Weather()
        self._put_off: dict[str, int] = {}

    def decide(self, job_id: str, topic: str) -> Decision:
        if topic in (CAREFUL, GATE):
            return Decision.REQUIRE_APPROVAL
        if topic == FORBIDDEN:
            return Decision.DENY
        if topic == SLOW:
            self._put_off[job_id] = self._put_off.get(job_id, 0) + 1
            return Decision.THROTTLE if self._put_off[job_id] <= _THROTTLES else Decision.ALLOW
        return Decision.ALLOW_WITH_CONSTRAINTS if topic in _CONSTRAINED else Decision.ALLOW


class SimKernelClient:
    """What a process asks instead of `KernelClient`."""

    def __init__(self, kernel: SimKernel, process: Process, clock: SimClock) -> None:
        self._kernel = kernel
        self._process = process
        self._clock = clock

    async def check(self, request: safety_pb2.PolicyCheckRequest) -> Verdict:
        kernel = self._kernel
        await asyncio.sleep(0.0005 + 0.002 * kernel.random.random())
        weather = kernel.weather
        if weather.kernel_down or (weather.kernel_fails and kernel.random.random() < weather.kernel_fails):
            kernel.history.fault(kernel.loop.time(), "kernel", "kernel_fails", told=False)
            raise KernelUnavailableError("the safety kernel does not answer")
        decision = kernel.decide(request.job_id, request.topic)
        kernel.history.add(
            Event(kernel.loop.time(), self._process.name, "decided", request.job_id, detail=decision.value)
        )
        return Verdict(
            decision=decision,
            reason="so it is",
            rule_id=RuleId(f"rule {request.topic}"),
            snapshot=SNAPSHOT,
            constraints=_CONSTRAINED.get(request.topic, Constraints()),
            checked_at=micros(self._clock.now()),
        )

    async def wait_closed(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            if not self._kernel.weather.kernel_down:
                return


class SimOutputClient:
    """What a process asks instead of `OutputClient`."""

    def __init__(self, kernel: SimKernel, process: Process) -> None:
        self._kernel = kernel
        self._process = process

    async def scope(self) -> tuple[str, OutputScope]:
        await asyncio.sleep(0.001)
        if self._kernel.weather.kernel_down:
            raise OutputUnavailableError
        return SNAPSHOT, EVERYTHING

    async def check(self, question: OutputQuestion) -> OutputAnswer:
        kernel = self._kernel
        await asyncio.sleep(0.001 + 0.005 * kernel.random.random())
        weather = kernel.weather
        if weather.kernel_down or (weather.kernel_fails and kernel.random.random() < weather.kernel_fails):
            raise OutputUnavailableError
        decision = OutputDecision.QUARANTINE if question.job_id in _SECRET else OutputDecision.ALLOW
        kernel.history.add(Event(kernel.loop.time(), self._process.name, "checked", question.job_id, decision.value))
        return OutputAnswer(decision=decision, reason="so it is", rule_id="output", snapshot=SNAPSHOT)
