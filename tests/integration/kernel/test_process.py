"""The kernel as a process: what it starts with, what it refuses, how it answers and stops."""

import asyncio
import signal
from collections.abc import Awaitable, Callable

import grpc
import httpx
import pytest
from cap.pb.cordum.agent.v1 import job_pb2, safety_pb2, safety_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.integration.kernel.conftest import KernelProcess, MakeKernel

from cordum.core.policy.decision import Decision
from cordum.rpc.gen.cordum.v1 import kernel_pb2, kernel_pb2_grpc
from cordum.rpc.kernel_client import KernelClient

HttpGet = Callable[[str], Awaitable[httpx.Response]]
Connect = Callable[..., KernelClient]


def question(topic: str = "job.x", job_id: str = "j1", tags: tuple[str, ...] = ()) -> safety_pb2.PolicyCheckRequest:
    meta = job_pb2.JobMetadata(risk_tags=tags)
    return safety_pb2.PolicyCheckRequest(job_id=job_id, topic=topic, tenant="default", meta=meta)


QUESTIONS = [
    question(),
    question("job.bounded", "j2"),
    question("job.slow", "j3"),
    question(tags=("payment",), job_id="j4"),
    question(tags=("payment",), job_id="j5"),
    question(tags=("destructive", "payment"), job_id="j6"),
    question("sys.x", "j7"),
    question("", ""),
]
EXPECTED = [
    Decision.ALLOW,
    Decision.ALLOW_WITH_CONSTRAINTS,
    Decision.THROTTLE,
    Decision.REQUIRE_APPROVAL,
    Decision.REQUIRE_APPROVAL,
    Decision.DENY,
    Decision.DENY,
    Decision.DENY,
]


@pytest.mark.seed("S236")
async def test_every_call_gives_the_same_answer(make_kernel: MakeKernel) -> None:
    kernel = await make_kernel().start()
    async with grpc.aio.insecure_channel(kernel.address) as channel:
        standard = safety_pb2_grpc.SafetyKernelStub(channel)
        batched = kernel_pb2_grpc.SafetyKernelBatchStub(channel)
        wire = [one.SerializeToString() for one in QUESTIONS]
        batch = await batched.CheckBatch(kernel_pb2.CheckBatchRequest(requests=wire))
        for one, answer in zip(QUESTIONS, batch.responses, strict=True):
            unary = await standard.Check(one)
            assert unary == safety_pb2.PolicyCheckResponse.FromString(answer)
            for call in (standard.Evaluate, standard.Explain, standard.Simulate):
                assert await call(one) == unary
            detail = await batched.ExplainInDetail(kernel_pb2.ExplainInDetailRequest(request=one.SerializeToString()))
            assert safety_pb2.PolicyCheckResponse.FromString(detail.response) == unary
            assert unary.approval_required is (unary.decision == 3)
            assert unary.approval_ref == (one.job_id if unary.approval_required else "")


@pytest.mark.seed("S10")
async def test_two_kernels_on_one_policy_decide_alike(make_kernel: MakeKernel) -> None:
    first, second = await asyncio.gather(make_kernel().start(), make_kernel().start())
    async with (
        grpc.aio.insecure_channel(first.address) as one,
        grpc.aio.insecure_channel(second.address) as other,
    ):
        for asked in QUESTIONS:
            answer = await safety_pb2_grpc.SafetyKernelStub(one).Check(asked)
            assert answer == await safety_pb2_grpc.SafetyKernelStub(other).Check(asked)
            assert answer.policy_snapshot.startswith("v1:")
            assert len(answer.policy_snapshot) == len("v1:") + 64


async def test_the_client_gets_verdicts(make_kernel: MakeKernel, connect: Connect) -> None:
    kernel = await make_kernel().start()
    client = connect(kernel.address)

    verdicts = await asyncio.gather(*(client.check(one) for one in QUESTIONS))

    assert [verdict.decision for verdict in verdicts] == EXPECTED
    assert verdicts[1].constraints.budgets.max_retries == 2
    assert verdicts[3].reason == "a person first"
    assert all(verdict.checked_at > 0 for verdict in verdicts)
    assert await client.snapshots() == (verdicts[0].snapshot,)
    explained = await client.explain_in_detail(question("job.y", tags=("payment",)))
    assert [note.rule_id for note in explained.tried if note.matched] == ["ask"]
    assert explained.decided_by == "rule"


async def test_unreadable_requests_are_denied_and_disturb_nobody(make_kernel: MakeKernel) -> None:
    kernel = await make_kernel().start()
    async with grpc.aio.insecure_channel(kernel.address) as channel:
        batched = kernel_pb2_grpc.SafetyKernelBatchStub(channel)
        good = question().SerializeToString()
        answer = await batched.CheckBatch(kernel_pb2.CheckBatchRequest(requests=[b"\xff\xff", good, b"\x0a\x05ab"]))
        decisions = [safety_pb2.PolicyCheckResponse.FromString(one) for one in answer.responses]
        assert [one.decision for one in decisions] == [2, 1, 2]
        assert decisions[0].reason == "the request cannot be read"

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await batched.CheckBatch(kernel_pb2.CheckBatchRequest(requests=[good] * 1025))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert len((await batched.CheckBatch(kernel_pb2.CheckBatchRequest())).responses) == 0


async def test_without_a_policy_everything_is_denied_and_said_loudly(
    make_kernel: MakeKernel, connect: Connect, http_get: HttpGet
) -> None:
    kernel = make_kernel(policy=None)
    await kernel.start()
    verdict = await connect(kernel.address).check(question())

    assert (verdict.decision, verdict.reason) == (Decision.DENY, "no policy loaded — fail-closed")
    assert (await kernel.logged("policy_missing"))["level"] == "error"
    health = (await http_get(f"{kernel.admin}/health")).json()
    assert "everything is denied" in str(health["policy"])

    kernel.policy.write_text("rules: [{id: r, decision: allow}]")
    await kernel.logged("policy_loaded")
    assert (await connect(kernel.address).check(question())).decision is Decision.ALLOW


async def refused(kernel: KernelProcess) -> str:
    """What a kernel says that refuses to start, one line per fault."""
    await kernel.launch()
    assert await kernel.ended() == 2
    lines = kernel.stderr.strip().splitlines()
    assert lines and not any("Traceback" in line for line in lines)
    return kernel.stderr


@pytest.mark.seed("S172")
async def test_a_bad_policy_refuses_the_start_with_file_and_place(make_kernel: MakeKernel) -> None:
    kernel = make_kernel(policy="rules:\n  - id: r\n    decison: allow\n")
    line = await refused(kernel)

    assert f"error in policy {kernel.policy}: line 3, column 5: rules[0].decison" in line
    assert 'did you mean "decision"?' in line


@pytest.mark.seed("S30")
async def test_production_needs_a_policy_key(make_kernel: MakeKernel) -> None:
    assert "SAFETY_POLICY_PUBLIC_KEY" in await refused(make_kernel(CORDUM_ENV="production"))


async def test_an_address_in_use_is_said_plainly(make_kernel: MakeKernel) -> None:
    kernel = await make_kernel().start()
    second = make_kernel(SAFETY_KERNEL_ADDR=kernel.address)
    await second.launch()
    assert await second.ended() == 1
    assert any(kernel.address in str(line.get("msg")) for line in second.log)


async def test_health_metrics_and_an_orderly_end(make_kernel: MakeKernel, connect: Connect, http_get: HttpGet) -> None:
    kernel = await make_kernel().start()
    async with grpc.aio.insecure_channel(kernel.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", "cordum.agent.v1.SafetyKernel", "cordum.v1.SafetyKernelBatch"):
            assert (await health.Check(health_pb2.HealthCheckRequest(service=name))).status == 1

    for path in ("/health", "/readyz", "/livez", "/healthz"):
        answer = await http_get(kernel.admin + path)
        assert (path, answer.status_code) == (path, 200)
    client = connect(kernel.address)
    await asyncio.gather(*(client.check(one) for one in QUESTIONS))
    await client.evaluate(question())
    metrics = (await http_get(f"{kernel.admin}/metrics")).text
    assert 'cordum_safety_decisions_total{decision="REQUIRE_APPROVAL"} 2.0' in metrics
    assert 'cordum_safety_decisions_total{decision="ALLOW"} 2.0' in metrics
    assert "cordum_policy_stale 0.0" in metrics

    assert await kernel.signal(signal.SIGTERM) == 0


@pytest.mark.seed("S195")
async def test_the_latency_of_decisions_can_be_queried(
    make_kernel: MakeKernel, connect: Connect, http_get: HttpGet
) -> None:
    kernel = await make_kernel().start()
    await connect(kernel.address).check(question("job.demo"))

    metrics = (await http_get(f"{kernel.admin}/metrics")).text
    assert 'cordum_output_eval_duration_seconds_bucket{le="0.005",topic="job.demo"}' in metrics


@pytest.mark.seed("S33")
@pytest.mark.parametrize(("flag", "served"), [("", False), ("1", True)])
async def test_reflection_is_off_unless_asked_for(make_kernel: MakeKernel, flag: str, served: bool) -> None:
    kernel = await make_kernel(CORDUM_GRPC_REFLECTION=flag).start()
    async with grpc.aio.insecure_channel(kernel.address) as channel:
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
            iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        )
        if served:
            names = [service.name async for answer in call for service in answer.list_services_response.service]
            assert "cordum.agent.v1.SafetyKernel" in names
        else:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await anext(aiter(call))
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


DELEGATED = """
rules:
  - {id: far, match: {delegation: {max_depth: 2, required_scope: [read]}}, decision: allow}
"""


async def test_rules_by_delegation_are_refused_unless_they_are_switched_on(make_kernel: MakeKernel) -> None:
    assert "goes by delegation" in await refused(make_kernel(DELEGATED))
    await make_kernel(DELEGATED, CORDUM_DELEGATION_POLICY_ENABLED="true").start()
