"""The kernel client against kernels that are slow, gone, old or mad: it never gives an allow that was not given."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import grpc
import pytest
import pytest_asyncio
from cap.pb.cordum.agent.v1 import safety_pb2
from tests.integration.kernel.conftest import MakeKernel

from cordum.core.policy.decision import Decision
from cordum.rpc import kernel_client
from cordum.rpc.breaker import BreakerState
from cordum.rpc.gen.cordum.v1 import kernel_pb2
from cordum.rpc.kernel_client import KernelClient, KernelUnavailableError
from cordum.rpc.server import RpcServer, Service, start_server

Connect = Callable[..., KernelClient]
Call = Callable[[bytes, grpc.aio.ServicerContext[bytes, bytes]], Awaitable[bytes]]
StartFake = Callable[..., Awaitable[RpcServer]]

BATCH, STANDARD = "cordum.v1.SafetyKernelBatch", "cordum.agent.v1.SafetyKernel"


def question(topic: str = "job.x", job_id: str = "j1") -> safety_pb2.PolicyCheckRequest:
    return safety_pb2.PolicyCheckRequest(job_id=job_id, topic=topic, tenant="default")


@pytest_asyncio.fixture
async def fake() -> AsyncIterator[StartFake]:
    """A gRPC server that answers as the test says: `await fake({service: {method: call}})`."""
    servers: list[RpcServer] = []

    async def start(services: dict[str, dict[str, Call]]) -> RpcServer:
        made = []
        for name, calls in services.items():
            handlers = {method: grpc.unary_unary_rpc_method_handler(call) for method, call in calls.items()}
            handler = grpc.method_handlers_generic_handler(name, handlers)
            made.append(Service(name, partial(_serve, handler)))
        servers.append(await start_server("127.0.0.1:0", made))
        return servers[-1]

    yield start
    for server in servers:
        await server.aclose(0)


def _serve(handler: "grpc.GenericRpcHandler[bytes, bytes]", server: grpc.aio.Server) -> None:
    server.add_generic_rpc_handlers((handler,))


def answers(*responses: bytes) -> Call:
    async def call(request: bytes, context: object) -> bytes:
        return kernel_pb2.CheckBatchResponse(responses=responses).SerializeToString()

    return call


@pytest.mark.parametrize(
    "batch",
    [
        answers(),
        answers(b"\x08\x01", b"\x08\x01"),
        answers(b"\xff\xff\xff"),
        answers(b""),
        answers(b"\x08\x00\x22\x01s"),
        answers(b"\x08\x01"),
        answers(b"\x08\x03"),
        answers(b"\x08\x63"),
    ],
    ids=["short", "long", "unreadable", "empty", "undecided", "no policy", "nobody's approval", "nobody's word"],
)
async def test_nonsense_is_no_decision(fake: StartFake, connect: Connect, batch: Call) -> None:
    server = await fake({BATCH: {"CheckBatch": batch}})
    client = connect(server.address)
    for _ in range(3):
        with pytest.raises(KernelUnavailableError, match="the safety kernel gave"):
            await client.check(question())
    assert client.state is not BreakerState.CLOSED


@pytest.mark.parametrize("answer", [b"\x08\x06\x22\x01s", b"\x08\x63\x22\x01s", b"\x08\x02", b"\x08\x02\x22\x01s"])
async def test_an_unknown_decision_denies(fake: StartFake, connect: Connect, answer: bytes) -> None:
    server = await fake({BATCH: {"CheckBatch": answers(answer)}})
    assert (await connect(server.address).check(question())).decision is Decision.DENY


async def test_a_plain_answer_that_makes_no_sense_is_none(fake: StartFake, connect: Connect) -> None:
    async def nobodys(request: bytes, context: object) -> bytes:
        return b"\x08\x01"

    server = await fake({STANDARD: dict.fromkeys(("Evaluate", "Simulate", "Explain", "Check"), nobodys)})
    client = connect(server.address)
    for call in (client.evaluate, client.simulate, client.explain):
        with pytest.raises(KernelUnavailableError, match="a decision without the policy it is by"):
            await call(question())
    assert client.state is not BreakerState.CLOSED


async def test_terms_travel_and_bad_ones_deny(fake: StartFake, connect: Connect) -> None:
    terms = kernel_pb2.ApprovalTerms(required=2, roles=["secops"], expires_after_s=60)
    asks, waits = b"\x08\x03\x22\x01s", b"\x08\x04\x22\x01s"
    extras = {
        asks: kernel_pb2.ResponseExtras(approval=terms).SerializeToString(),
        waits: kernel_pb2.ResponseExtras(retry_after_ms=1500).SerializeToString(),
    }
    replies = [
        asks + extras[asks],
        waits + extras[waits],
        asks + kernel_pb2.ResponseExtras(approval=kernel_pb2.ApprovalTerms(required=-1)).SerializeToString(),
        asks + b"\xc2\x3e\x01\xff",
        waits + kernel_pb2.ResponseExtras(retry_after_ms=-1).SerializeToString(),
    ]
    found = []
    for reply in replies:
        server = await fake({BATCH: {"CheckBatch": answers(reply)}})
        found.append(await connect(server.address).check(question()))
    assert (found[0].approval.required, found[0].approval.roles, found[0].approval.expires_after_s) == (
        2,
        ("secops",),
        60,
    )
    assert (found[1].decision, found[1].retry_after_ms) == (Decision.THROTTLE, 1500)
    assert [verdict.decision for verdict in found[2:]] == [Decision.DENY] * 3


async def test_a_trial_that_makes_no_sense_or_fails_is_none_and_leaves_the_breaker_alone(
    fake: StartFake, connect: Connect
) -> None:
    replies = [
        b"\xff\xff",
        b"",
        kernel_pb2.TrialResponse(snapshot="s", responses=[b""]).SerializeToString(),
        kernel_pb2.TrialResponse(current_responses=[b""], responses=[b""]).SerializeToString(),
    ]

    async def trial(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        if not replies:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy")
        return replies.pop(0)

    server = await fake({BATCH: {"Trial": trial}})
    client = connect(server.address)
    for _ in range(5):
        with pytest.raises(KernelUnavailableError, match="trial"):
            await client.trial(kernel_pb2.TrialRequest(requests=[b""]))
    assert client.state is BreakerState.CLOSED


async def test_bytes_that_are_no_message_at_all(fake: StartFake, connect: Connect) -> None:
    async def garbage(request: bytes, context: object) -> bytes:
        return b"\xff\xff\xff\xff"

    server = await fake({BATCH: {"CheckBatch": garbage}, STANDARD: {"Evaluate": garbage, "ListSnapshots": garbage}})
    client = connect(server.address)
    with pytest.raises(KernelUnavailableError):
        await client.check(question())
    with pytest.raises(KernelUnavailableError):
        await client.evaluate(question())


async def test_a_kernel_that_does_not_answer_in_time(fake: StartFake, connect: Connect) -> None:
    async def never(request: bytes, context: object) -> bytes:
        await asyncio.Event().wait()
        raise AssertionError

    server = await fake({BATCH: {"CheckBatch": never}})
    client = connect(server.address, check_timeout=0.1)
    with pytest.raises(KernelUnavailableError, match="DEADLINE_EXCEEDED"):
        await client.check(question())


async def test_a_kernel_without_the_batch_call_is_asked_one_by_one(fake: StartFake, connect: Connect) -> None:
    async def check(request: bytes, context: object) -> bytes:
        asked = safety_pb2.PolicyCheckRequest.FromString(request)
        answer = safety_pb2.PolicyCheckResponse(
            decision=1 if asked.topic == "job.yes" else 2, rule_id=asked.job_id, policy_snapshot="s"
        )
        return bytes(answer.SerializeToString())

    server = await fake({STANDARD: {"Check": check, "Explain": check}})
    client = connect(server.address)
    asked = [question("job.yes" if n % 2 else "job.no", f"j{n}") for n in range(50)]
    for _ in range(2):
        verdicts = await asyncio.gather(*map(client.check, asked))
        assert [verdict.rule_id for verdict in verdicts] == [f"j{n}" for n in range(50)]
        assert [verdict.decision is Decision.ALLOW for verdict in verdicts] == [bool(n % 2) for n in range(50)]
    detail = await client.explain_in_detail(question("job.yes"))
    assert safety_pb2.PolicyCheckResponse.FromString(detail.response).decision == 1


async def test_each_caller_gets_the_answer_to_its_own_question(make_kernel: MakeKernel, connect: Connect) -> None:
    kernel = await make_kernel(policy="rules: [{id: r, decision: require_approval}]").start()
    client = connect(kernel.address)
    asked = [question(job_id=f"job-{n}") for n in range(3000)]
    first = [asyncio.ensure_future(client.check(one)) for one in asked]
    for task in first[::3]:
        task.cancel()
    done = await asyncio.gather(*first, return_exceptions=True)
    assert sum(isinstance(one, asyncio.CancelledError) for one in done) == 1000
    assert all(one.decision is Decision.REQUIRE_APPROVAL for one in done if not isinstance(one, BaseException))


@pytest.mark.seed("S167", "S169")
async def test_a_killed_kernel_opens_the_breaker_and_its_return_closes_it(
    make_kernel: MakeKernel, connect: Connect
) -> None:
    kernel = await make_kernel().start()
    client = connect(kernel.address)
    assert (await client.check(question())).decision is Decision.ALLOW
    await asyncio.wait_for(client.wait_closed(), 0.1)

    await kernel.signal(signal.SIGKILL)
    for _ in range(3):
        with pytest.raises(KernelUnavailableError):
            await client.check(question())
    assert client.state is not BreakerState.CLOSED
    with pytest.raises(KernelUnavailableError, match="circuit open"):
        await client.check(question())

    waiting = asyncio.create_task(client.wait_closed())
    await kernel.start()
    async with asyncio.timeout(10):
        await waiting
    assert (await client.check(question())).decision is Decision.ALLOW
    await asyncio.wait_for(client.wait_closed(), 0.1)


async def test_no_kernel_at_all(connect: Connect, free_port: Callable[[], int]) -> None:
    client = connect(f"127.0.0.1:{free_port()}")
    for call in (client.check, client.evaluate, client.simulate, client.explain_in_detail, client.explain):
        with pytest.raises(KernelUnavailableError):
            await call(question())
    with pytest.raises(KernelUnavailableError):
        await client.snapshots()


async def test_a_job_too_large_to_judge_is_denied(connect: Connect, free_port: Callable[[], int]) -> None:
    client = connect(f"127.0.0.1:{free_port()}")
    large = question()
    large.input_content = b"x" * (kernel_client.MAX_REQUEST_BYTES + 1)
    verdict = await client.check(large)
    assert (verdict.decision, "too large" in verdict.reason) == (Decision.DENY, True)


async def test_large_questions_travel_in_several_messages(make_kernel: MakeKernel, connect: Connect) -> None:
    kernel = await make_kernel().start()
    client = connect(kernel.address)
    asked = [question(job_id=f"j{n}") for n in range(12)]
    for one in asked:
        one.input_content = b"x" * (2 * 1024 * 1024)
    verdicts = await asyncio.gather(*map(client.check, asked))
    assert {verdict.decision for verdict in verdicts} == {Decision.ALLOW}


async def test_many_questions_travel_in_few_messages(make_kernel: MakeKernel, connect: Connect) -> None:
    kernel = await make_kernel().start()
    client = connect(kernel.address)
    await asyncio.gather(*(client.check(question(job_id=f"j{n}")) for n in range(1024)))
    assert client.batches <= 8
