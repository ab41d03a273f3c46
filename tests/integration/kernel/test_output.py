"""CheckOutput over gRPC: decisions, redaction, deadlines, what cannot be read (spec-safety sections 2 and 10)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
import pytest_asyncio

from cordum.core.ids import SnapshotId
from cordum.core.output.probes import Expired
from cordum.core.output.rules import OutputJudge, OutputRequest, OutputVerdict, compile_output
from cordum.core.output.scanners import SCANNERS
from cordum.core.policy.decision import OutputDecision
from cordum.core.policy.document import ContentMatch, OutputRule, PolicyDocument
from cordum.rpc.channel import open_channel
from cordum.rpc.gen.cordum.v1 import output_pb2, output_pb2_grpc
from cordum.rpc.server import start_server
from cordum.runtime import metrics
from cordum.services.safety_kernel import output
from cordum.services.safety_kernel.scanning import ScannersBusyError, Scanning

AWS = b"AKIAABCDEFGHIJKLMNOP"
ALLOW, QUARANTINE, REDACT = (
    output_pb2.OUTPUT_DECISION_ALLOW,
    output_pb2.OUTPUT_DECISION_QUARANTINE,
    output_pb2.OUTPUT_DECISION_REDACT,
)


def rules(*given: tuple[str, OutputDecision, ContentMatch]) -> OutputJudge:
    made = tuple(OutputRule(id=rule_id, decision=decision, match=match) for rule_id, decision, match in given)
    return compile_output(PolicyDocument(output_rules=made))


STANDARD = rules(
    ("trusted", OutputDecision.ALLOW, ContentMatch(topics=("job.trusted",))),
    ("sec", OutputDecision.QUARANTINE, ContentMatch(scanners=("secret",))),
    ("pii", OutputDecision.REDACT, ContentMatch(scanners=("pii",))),
    ("size", OutputDecision.DENY, ContentMatch(size_gt=8_000_000)),
)


class Asking:
    """An output policy served over gRPC, and a client that asks it."""

    def __init__(self, policy: output.OutputPolicy, stub: "output_pb2_grpc.OutputPolicyServiceAsyncStub") -> None:
        self.policy = policy
        self._stub = stub

    def use(self, judge: OutputJudge) -> None:
        self.policy.adopt(judge, SnapshotId("v1:abc"), "default")

    async def __call__(self, timeout: float = 20, **fields: Any) -> output_pb2.OutputCheckResponse:
        fields.setdefault("topic", "job.a")
        answer: output_pb2.OutputCheckResponse = await self._stub.CheckOutput(
            output_pb2.OutputCheckRequest(**fields), timeout=timeout
        )
        return answer


@pytest_asyncio.fixture
async def ask() -> AsyncIterator[Asking]:
    scanning = Scanning()
    policy = output.OutputPolicy(scanning)
    server = await start_server("127.0.0.1:0", [output.service(policy)])
    channel = open_channel(server.address, None)
    asking = Asking(policy, output_pb2_grpc.OutputPolicyServiceStub(channel))
    asking.use(STANDARD)
    yield asking
    await channel.close(None)
    await server.aclose(0)
    scanning.close()


async def test_a_clean_result_is_allowed_by_a_policy_that_names_itself(ask: Asking) -> None:
    answer = await ask(output_content=b"all is well", output_size_bytes=11)

    assert (answer.decision, answer.policy_snapshot, answer.rule_id) == (ALLOW, "v1:abc", "")


async def test_a_secret_is_held_and_never_repeated(ask: Asking) -> None:
    answer = await ask(output_content=b"key " + AWS + b" end")

    assert (answer.decision, answer.denied, answer.rule_id) == (QUARANTINE, False, "sec")
    (finding,) = answer.findings
    assert (finding.type, finding.severity, finding.offset, finding.length) == ("secret_leak", "critical", 4, 20)
    assert (finding.scanner, finding.confidence, finding.source) == ("secret", 0.99, "content")
    assert AWS not in answer.SerializeToString()


async def test_personal_data_is_redacted_in_the_answer(ask: Asking) -> None:
    answer = await ask(output_content="für a@b.co".encode(), error_message="nobody is c@d.org")

    assert answer.decision == REDACT
    assert answer.redacted_content.decode() == "für [REDACTED]"
    assert answer.redacted_error_message == "nobody is [REDACTED]"
    assert answer.redacted_ptr == ""


async def test_deny_is_told_apart_from_quarantine_without_a_new_word(ask: Asking) -> None:
    answer = await ask(output_content=b"x " * 4_000_001)

    assert (answer.decision, answer.denied, answer.rule_id) == (QUARANTINE, True, "size")


async def test_an_exception_of_the_policy_comes_first(ask: Asking) -> None:
    assert (await ask(topic="job.trusted", output_content=AWS)).rule_id == "trusted"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"output_size_bytes": 10}, "pointer_unreadable"),
        ({"output_size_bytes": 10, "output_content": b"clean"}, "content_truncated"),
        ({"content_state": output_pb2.CONTENT_STATE_UNREADABLE}, "pointer_unreadable"),
        ({"content_state": output_pb2.CONTENT_STATE_TRUNCATED, "output_content": b"clean"}, "content_truncated"),
        ({"content_state": 77, "output_content": b"clean"}, "pointer_unreadable"),
    ],
)
async def test_what_is_not_all_there_is_held(ask: Asking, fields: dict[str, Any], reason: str) -> None:
    answer = await ask(**fields)

    assert (answer.decision, answer.reason) == (QUARANTINE, reason)


async def test_without_a_policy_everything_is_held() -> None:
    policy = output.OutputPolicy(Scanning())
    server = await start_server("127.0.0.1:0", [output.service(policy)])
    channel = open_channel(server.address, None)
    answer = await output_pb2_grpc.OutputPolicyServiceStub(channel).CheckOutput(
        output_pb2.OutputCheckRequest(topic="job.a", output_content=b"clean")
    )

    assert (answer.decision, answer.policy_snapshot) == (QUARANTINE, "")
    assert answer.findings[0].detail == "no policy loaded — fail-closed"
    await channel.close(None)
    await server.aclose(0)


async def test_megabytes_are_scanned_to_the_end_while_the_loop_goes_on(ask: Asking) -> None:
    content = b"lorem ipsum " * (1024 * 1024) + AWS
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.001)

    turning = asyncio.create_task(turn())
    answer = await ask(output_content=content)
    turning.cancel()

    assert (answer.rule_id, answer.findings[0].offset) == ("sec", len(content) - 20)
    assert turns > 5


class Slow(OutputJudge):
    """A judge that is busy until its time is up, or for ever."""

    def __init__(self, ends: Callable[[Expired], bool]) -> None:
        super().__init__(PolicyDocument(), SCANNERS)
        self._ends = ends

    def check(self, request: OutputRequest, expired: Expired = lambda: False) -> OutputVerdict:
        while not self._ends(expired):
            pass
        return super().check(request, expired)


async def test_a_scan_beyond_its_deadline_is_held_and_the_kernel_goes_on(ask: Asking) -> None:
    let_go = False
    ask.use(Slow(lambda expired: let_go))
    late = await ask(output_content=b"x" * 100_000, timeout=1.0)
    ask.use(STANDARD)

    assert (late.decision, late.reason, late.policy_snapshot) == (QUARANTINE, "scan_timeout", "v1:abc")
    assert (await ask(output_content=b"x" * 100_000)).decision == ALLOW
    let_go = True


async def test_a_judge_that_breaks_holds(ask: Asking) -> None:
    def breaks(expired: Expired) -> bool:
        raise RuntimeError("boom")

    ask.use(Slow(breaks))
    answer = await ask(output_content=b"clean")

    assert (answer.decision, answer.reason) == (QUARANTINE, "check_failed")


async def test_what_is_no_request_is_refused(ask: Asking) -> None:
    class Context:
        code: grpc.StatusCode | None = None

        async def abort(self, code: grpc.StatusCode, details: str) -> None:
            self.code = code
            raise grpc.aio.AbortError

    context: Any = Context()
    with pytest.raises(grpc.aio.AbortError):
        await ask.policy.check_output(b"\xff\xff", context)
    assert context.code is grpc.StatusCode.INVALID_ARGUMENT


async def test_each_check_is_timed_by_topic(ask: Asking) -> None:
    await ask(topic="job.timed", output_content=b"x")
    await ask(topic="evil", output_content=b"x")

    text = metrics.exposition(metrics.KERNEL)[0].decode()
    assert 'cordum_output_eval_duration_seconds_count{topic="job.timed"} 1.0' in text
    assert 'topic="evil"' not in text


async def test_more_than_can_be_held_is_turned_away() -> None:
    scanning = Scanning(max_waiting_bytes=100_000)

    with pytest.raises(ScannersBusyError):
        await scanning.run(lambda expired: None, 100_001, 1.0, lambda: None)
    assert await scanning.run(lambda expired: "done", 100_000, 1.0, lambda: "late") == "done"
    scanning.close()
