"""The kernel over TLS: who may ask, which versions, certificates that change, production mode."""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from cap.pb.cordum.agent.v1 import safety_pb2
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.integration.kernel.conftest import POLICY, MakeKernel
from tests.support.certificates import Authority

from cordum.core.policy.decision import Decision
from cordum.rpc.channel import ChannelError, ClientTls, open_channel
from cordum.rpc.kernel_client import KernelClient, KernelUnavailableError
from cordum.rpc.server import ServerStartError, ServerTls, start_server

Connect = Callable[..., KernelClient]


async def trusting(ca: str, *pair: str) -> ClientTls:
    return await asyncio.to_thread(ClientTls.from_files, ca, *pair)


ASKED = safety_pb2.PolicyCheckRequest(job_id="j", topic="job.x")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


def with_tls(authority: Authority) -> dict[str, str]:
    certificate, key = authority.issue("kernel")
    return {"SAFETY_KERNEL_TLS_CERT": certificate, "SAFETY_KERNEL_TLS_KEY": key}


@pytest.mark.seed("S171", "S257")
async def test_health_and_checks_over_tls_and_nothing_for_who_trusts_another_ca(
    make_kernel: MakeKernel, connect: Connect, authority: Authority, tmp_path: Path
) -> None:
    kernel = await make_kernel(**with_tls(authority)).start()
    tls = await trusting(authority.ca)
    async with open_channel(kernel.address, tls) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert (await connect(kernel.address, tls).check(ASKED)).decision is Decision.ALLOW

    stranger = await trusting(Authority(tmp_path / "other", "other-ca").ca)
    for wrong in (stranger, None):
        with pytest.raises(KernelUnavailableError):
            await connect(kernel.address, wrong).check(ASKED)


async def test_with_a_client_ca_only_its_clients_may_ask(
    make_kernel: MakeKernel, connect: Connect, authority: Authority, tmp_path: Path
) -> None:
    env = with_tls(authority) | {"SAFETY_KERNEL_TLS_CLIENT_CA": authority.ca}
    kernel = await make_kernel(**env).start()

    known = await trusting(authority.ca, *authority.issue("gateway"))
    assert (await connect(kernel.address, known).check(ASKED)).decision is Decision.ALLOW
    stranger = await trusting(authority.ca, *Authority(tmp_path / "other", "other-ca").issue("x"))
    for wrong in (stranger, await trusting(authority.ca)):
        with pytest.raises(KernelUnavailableError):
            await connect(kernel.address, wrong).check(ASKED)


def handshake(port: int, version: ssl.TLSVersion) -> asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    context.minimum_version = context.maximum_version = version
    return asyncio.ensure_future(asyncio.open_connection("127.0.0.1", port, ssl=context))


@pytest.mark.parametrize(("floor", "refused"), [("1.2", False), ("1.3", True)])
async def test_the_oldest_tls_version(make_kernel: MakeKernel, authority: Authority, floor: str, refused: bool) -> None:
    kernel = await make_kernel(CORDUM_TLS_MIN_VERSION=floor, **with_tls(authority)).start()
    port = int(kernel.address.rpartition(":")[2])
    _, writer = await handshake(port, ssl.TLSVersion.TLSv1_3)
    writer.close()
    if refused:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await handshake(port, ssl.TLSVersion.TLSv1_2)
    else:
        _, writer = await handshake(port, ssl.TLSVersion.TLSv1_2)
        writer.close()


async def test_a_new_certificate_is_shown_to_new_connections(authority: Authority) -> None:
    files = await asyncio.to_thread(authority.issue, "one")
    tls = await asyncio.to_thread(ServerTls.from_files, *files)
    server = await start_server("127.0.0.1:0", [], tls=tls)
    try:

        async def shown() -> bytes:
            _, writer = await handshake(server.port, ssl.TLSVersion.TLSv1_3)
            certificate: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            writer.close()
            return certificate

        before = await shown()
        assert await shown() == before
        fresh = await asyncio.to_thread(authority.issue, "two")
        pair = await asyncio.to_thread(ServerTls.from_files, *fresh)
        server.use_certificate(pair.certificate, pair.key)
        after = await shown()
        assert after != before
        assert await shown() == after
    finally:
        await server.aclose(0)


async def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ServerStartError, match=r"missing\.crt"):
        await asyncio.to_thread(ServerTls.from_files, tmp_path / "missing.crt", tmp_path / "missing.key")
    with pytest.raises(ChannelError, match=r"missing\.crt"):
        await asyncio.to_thread(ClientTls.from_files, tmp_path / "missing.crt")


async def test_one_port_is_for_one_server() -> None:
    first = await start_server("127.0.0.1:0", [])
    try:
        with pytest.raises(ServerStartError, match=first.address):
            await start_server(first.address, [])
    finally:
        await first.aclose(0)


async def test_a_kernel_in_production(make_kernel: MakeKernel, connect: Connect, authority: Authority) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw).hex()
    kernel = make_kernel(CORDUM_ENV="production", SAFETY_POLICY_PUBLIC_KEY=public, **with_tls(authority))
    kernel.policy.with_name("safety.yaml.sig").write_bytes(key.sign(POLICY.encode()))
    await kernel.start()

    tls = await trusting(authority.ca)
    assert (await connect(kernel.address, tls).check(ASKED)).decision is Decision.ALLOW
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await handshake(int(kernel.address.rpartition(":")[2]), ssl.TLSVersion.TLSv1_2)

    gone = make_kernel(policy=None, CORDUM_ENV="production", SAFETY_POLICY_PUBLIC_KEY=public, **with_tls(authority))
    await gone.launch()
    assert await gone.ended() == 2
    assert "does not exist" in gone.stderr


async def test_the_health_call_needs_no_service(authority: Authority) -> None:
    server = await start_server("127.0.0.1:0", [])
    try:
        async with grpc.aio.insecure_channel(server.address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            assert (await health.Check(health_pb2.HealthCheckRequest())).status == 1
            await server.set_not_serving()
            assert (await health.Check(health_pb2.HealthCheckRequest())).status == 2
            await server.set_serving()
            assert (await health.Check(health_pb2.HealthCheckRequest())).status == 1
    finally:
        await server.aclose(0)
