"""Actions before the gates, asked over gRPC."""

import json

import pytest
import pytest_asyncio
from cap.pb.cordum.agent.v1 import safety_pb2
from tests.integration.kernel.conftest import Connect, MakeKernel

from cordum.core.policy.decision import Decision, Verdict
from cordum.rpc.kernel_client import KernelClient


@pytest_asyncio.fixture
async def client(make_kernel: MakeKernel, connect: Connect) -> KernelClient:
    return connect((await make_kernel().start()).address)


def request(action: object, topic: str = "job.x") -> safety_pb2.PolicyCheckRequest:
    text = action if isinstance(action, str) else json.dumps(action)
    return safety_pb2.PolicyCheckRequest(
        job_id="j1", topic=topic, tenant="acme", labels={"_action.descriptor_json": text}
    )


async def said(client: KernelClient, action: object, topic: str = "job.x") -> tuple[Decision, str]:
    verdict: Verdict = await client.check(request(action, topic))
    return verdict.decision, verdict.rule_id


@pytest.mark.parametrize(
    ("action", "rule_id"),
    [
        ({"kind": "file", "target_path": "../../etc/shadow"}, "actiongate.file"),
        ({"kind": "url", "target_url": "http://169.254.169.254/"}, "actiongate.url"),
        ({"kind": "url", "target_url": "http://localhost:6379/"}, "actiongate.url"),
        ({"kind": "url", "target_url": "https://no-such-name.invalid/"}, "actiongate.url"),
        ({"kind": "tenant_query", "filters": {"tenant": "other"}}, "actiongate.tenant"),
        ({"kind": "mcp_call"}, "actiongate.mcp"),
        ("not json", "actiongate.descriptor"),
    ],
)
async def test_a_gate_denies_what_the_rules_would_allow(client: KernelClient, action: object, rule_id: str) -> None:
    assert await said(client, action) == (Decision.DENY, rule_id)


async def test_what_passes_the_gates_is_the_rules_business(client: KernelClient) -> None:
    assert await said(client, {"kind": "file", "target_path": "reports/q3.csv"}) == (Decision.ALLOW, "yes")
    assert await said(client, {"kind": "file", "target_path": "a.csv"}, "job.slow") == (Decision.THROTTLE, "slow")


async def test_a_gate_never_softens_what_the_rules_say(client: KernelClient) -> None:
    destructive = {"kind": "mutation", "verb": "delete", "target_resource": "users"}
    assert await said(client, destructive) == (Decision.REQUIRE_APPROVAL, "actiongate.mutation")
    assert await said(client, destructive, "sys.x") == (Decision.DENY, "")


async def test_a_batch_answers_each_request_by_itself_and_an_explanation_names_the_gate(client: KernelClient) -> None:
    assert (await client.check(request({"kind": "mcp_call"}))).rule_id == "actiongate.mcp"
    answer = await client.explain_in_detail(request({"kind": "file", "target_path": "/dev/sda"}))
    assert answer.decided_by == "action_gate"
    assert answer.steps[-1].rule_id == "actiongate.file"
    response = safety_pb2.PolicyCheckResponse.FromString(answer.response)
    assert (response.decision, response.rule_id) == (safety_pb2.DECISION_TYPE_DENY, "actiongate.file")
