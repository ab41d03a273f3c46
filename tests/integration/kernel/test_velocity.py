"""Rules that count, asked over gRPC, with the windows in Redis."""

import asyncio

import pytest
import pytest_asyncio
from cap.pb.cordum.agent.v1 import safety_pb2
from tests.integration.kernel.conftest import Connect, KernelProcess, MakeKernel
from tests.support.processes import eventually

from cordum.core.policy.decision import Decision
from cordum.embedded.servers import Server
from cordum.rpc.kernel_client import KernelClient

POLICY = """
version: v1
default_decision: deny
rules:
  - id: busy
    match: {topics: ["job.mail.*"]}
    velocity: {max_requests: 3, window_seconds: 600, key: "tenant:actor_id"}
    decision: deny
    reason: too many mails
  - {id: yes, match: {topics: ["job.*"]}, decision: allow}
"""


def mail(number: int, actor: str = "alice") -> safety_pb2.PolicyCheckRequest:
    return safety_pb2.PolicyCheckRequest(
        job_id=f"job-{actor}-{number}", topic="job.mail.send", tenant="acme", principal_id=actor
    )


@pytest_asyncio.fixture
async def kernel(make_kernel: MakeKernel, redis_server: Server) -> KernelProcess:
    return await make_kernel(POLICY, REDIS_URL=redis_server.url).start()


@pytest_asyncio.fixture
async def client(kernel: KernelProcess, connect: Connect) -> KernelClient:
    return connect(kernel.address)


async def test_the_one_too_many_is_refused_and_others_are_not_hit(client: KernelClient) -> None:
    said = [(await client.check(mail(number))).decision for number in range(5)]
    assert said == [Decision.ALLOW] * 3 + [Decision.DENY] * 2
    assert (await client.check(mail(1, "bob"))).decision is Decision.ALLOW


async def test_one_job_is_counted_once_however_often_it_is_asked_about(client: KernelClient) -> None:
    for _ in range(5):
        assert (await client.check(mail(1))).decision is Decision.ALLOW
        assert (await client.evaluate(mail(2))).decision == safety_pb2.DECISION_TYPE_ALLOW


async def test_a_burst_gets_exactly_as_many_as_the_window_holds(client: KernelClient) -> None:
    said = await asyncio.gather(*(client.check(mail(number)) for number in range(50)))
    assert [verdict.decision for verdict in said].count(Decision.ALLOW) == 3
    assert {verdict.reason for verdict in said if verdict.decision is Decision.DENY} == {"too many mails"}


async def test_simulating_and_explaining_take_no_place(client: KernelClient) -> None:
    for number in range(6):
        assert (await client.simulate(mail(number))).decision == safety_pb2.DECISION_TYPE_ALLOW
    for number in range(3):
        await client.check(mail(number))
    assert (await client.simulate(mail(9))).decision == safety_pb2.DECISION_TYPE_DENY
    answer = safety_pb2.PolicyCheckResponse.FromString((await client.explain_in_detail(mail(9))).response)
    assert answer.rule_id == "busy"


@pytest.mark.parametrize(
    ("mode", "decision"), [("closed", Decision.REQUIRE_APPROVAL), ("open", Decision.ALLOW)], ids=["closed", "open"]
)
async def test_without_anybody_who_counts_the_fail_mode_decides(
    make_kernel: MakeKernel, connect: Connect, mode: str, decision: Decision
) -> None:
    kernel = await make_kernel(POLICY, VELOCITY_FAIL_MODE=mode).start()
    verdict = await connect(kernel.address).check(mail(1))
    assert verdict.decision is decision
    other = safety_pb2.PolicyCheckRequest(job_id="j", topic="job.other", tenant="acme")
    assert (await connect(kernel.address).check(other)).decision is Decision.ALLOW
    assert any(line.get("event") == "velocity_unavailable" for line in kernel.log)


async def test_while_redis_is_away_a_human_is_asked(
    make_kernel: MakeKernel, connect: Connect, redis_server: Server
) -> None:
    kernel = await make_kernel(POLICY, REDIS_URL=redis_server.url).start()
    client = connect(kernel.address)
    assert (await client.check(mail(1))).decision is Decision.ALLOW
    await redis_server.kill()
    verdict = await client.check(mail(2))
    assert (verdict.decision, verdict.reason) == (Decision.REQUIRE_APPROVAL, "velocity check unavailable")
    await redis_server.restart()
    await eventually(lambda: _allowed(client), "counting goes on")


async def _allowed(client: KernelClient) -> bool:
    return (await client.check(mail(2))).decision is Decision.ALLOW
