"""Who may say what only our services know: callers told apart by their certificates (W9)."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from cap.pb.cordum.agent.v1 import job_pb2, safety_pb2
from tests.integration.kernel.conftest import MakeKernel
from tests.support.certificates import Authority

from cordum.core.policy.decision import Decision
from cordum.rpc.channel import ClientTls, open_channel
from cordum.rpc.gen.cordum.v1 import kernel_pb2, kernel_pb2_grpc
from cordum.rpc.kernel_client import KernelClient, KernelUnavailableError
from cordum.services.safety_kernel.callers import without_service_labels

Connect = Callable[..., KernelClient]

POLICY = """
rules:
  - {id: inside, match: {labels: {_source: pack}}, decision: allow}
  - {id: content, match: {labels: {_content.prompt: bad}}, decision: throttle}
  - {id: said, match: {labels: {said: this}}, decision: require_approval}
"""


def asked(**labels: str) -> safety_pb2.PolicyCheckRequest:
    return safety_pb2.PolicyCheckRequest(job_id="j", topic="job.x", labels=labels)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


async def client_of(connect: Connect, address: str, authority: Authority, name: str) -> KernelClient:
    tls = await asyncio.to_thread(lambda: ClientTls.from_files(authority.ca, *authority.issue(name)))
    return connect(address, tls)


def mutual(authority: Authority, **env: str) -> dict[str, str]:
    certificate, key = authority.issue("kernel")
    return {
        "SAFETY_KERNEL_TLS_CERT": certificate,
        "SAFETY_KERNEL_TLS_KEY": key,
        "SAFETY_KERNEL_TLS_CLIENT_CA": authority.ca,
        **env,
    }


async def test_only_trusted_callers_may_set_the_labels_of_our_services(
    make_kernel: MakeKernel, connect: Connect, authority: Authority
) -> None:
    env = mutual(authority, SAFETY_KERNEL_TRUSTED_CALLERS="cordum-gateway, Cordum-Scheduler")
    kernel = await make_kernel(policy=POLICY, **env).start()
    inside, content, said = asked(_source="pack"), asked(**{"_content.prompt": "bad"}), asked(said="this")
    for name in ("cordum-gateway", "cordum-scheduler"):
        ours = await client_of(connect, kernel.address, authority, name)
        assert (await ours.check(inside)).decision is Decision.ALLOW
        assert (await ours.evaluate(inside)).rule_id == "inside"

    stranger = await client_of(connect, kernel.address, authority, "somebody")
    assert (await stranger.check(inside)).decision is Decision.DENY
    assert (await stranger.evaluate(inside)).rule_id == ""
    assert safety_pb2.PolicyCheckResponse.FromString((await stranger.explain_in_detail(inside)).response).rule_id == ""
    in_meta = asked()
    in_meta.meta.CopyFrom(job_pb2.JobMetadata(labels={"_source": "pack"}))
    assert (await stranger.check(in_meta)).decision is Decision.DENY
    # What can only tighten stays, and so does everybody's own.
    assert (await stranger.check(content)).decision is Decision.THROTTLE
    assert (await stranger.check(said)).decision is Decision.REQUIRE_APPROVAL
    told = await kernel.logged("untrusted_caller")
    assert "somebody" in told["caller"]
    assert len([line for line in kernel.log if line.get("event") == "untrusted_caller"]) == 1

    with pytest.raises(KernelUnavailableError, match="PERMISSION_DENIED"):
        await stranger.trial(kernel_pb2.TrialRequest())


async def test_without_a_list_all_with_a_certificate_are_trusted(
    make_kernel: MakeKernel, connect: Connect, authority: Authority
) -> None:
    kernel = await make_kernel(policy=POLICY, **mutual(authority)).start()
    anybody = await client_of(connect, kernel.address, authority, "somebody")
    assert (await anybody.check(asked(_source="pack"))).decision is Decision.ALLOW


async def test_a_list_without_a_client_ca_refuses_the_start(make_kernel: MakeKernel) -> None:
    kernel = make_kernel(policy=POLICY, SAFETY_KERNEL_TRUSTED_CALLERS="cordum-gateway")
    await kernel.launch()
    assert await kernel.ended() == 2
    assert "SAFETY_KERNEL_TRUSTED_CALLERS: set without SAFETY_KERNEL_TLS_CLIENT_CA" in kernel.stderr


async def test_whoever_shows_no_certificate_gets_no_answer_at_all(
    make_kernel: MakeKernel, authority: Authority
) -> None:
    env = mutual(authority, SAFETY_KERNEL_TRUSTED_CALLERS="cordum-gateway")
    kernel = await make_kernel(policy=POLICY, **env).start()
    tls = await asyncio.to_thread(ClientTls.from_files, authority.ca)
    async with open_channel(kernel.address, tls) as channel:
        stub = kernel_pb2_grpc.SafetyKernelBatchStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.CheckBatch(kernel_pb2.CheckBatchRequest(), timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_what_cannot_be_read_is_left_as_it_is() -> None:
    assert without_service_labels(b"\xff\xff") == b"\xff\xff"
    cleaned = safety_pb2.PolicyCheckRequest.FromString(
        without_service_labels(
            asked(_a="1", b="2", **{"_content.x": "3", "_delegation.depth": "0"}).SerializeToString()
        )
    )
    assert dict(cleaned.labels) == {"b": "2", "_content.x": "3"}
