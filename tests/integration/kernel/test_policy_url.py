"""The policy from a URL: where it may come from, and what happens when it cannot."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from cap.pb.cordum.agent.v1 import safety_pb2
from tests.integration.kernel.conftest import KernelProcess, MakeKernel
from tests.support.certificates import Authority
from tests.support.https import HttpsServer, response

from cordum.core import signing
from cordum.core.policy.decision import Decision
from cordum.core.signing import Algorithm
from cordum.rpc.kernel_client import KernelClient

Connect = Callable[..., KernelClient]

ALLOW = b"version: u\nrules: [{id: r, decision: allow}]\n"
DENY = b"version: u\nrules: [{id: r, decision: deny}]\n"
ASKED = safety_pb2.PolicyCheckRequest(job_id="j", topic="job.x")


class Published:
    """A policy on a web server, as it is at the moment."""

    def __init__(self, body: bytes) -> None:
        self.answer = response(body=body)

    def __call__(self, path: str) -> bytes:
        if path == "/moved":
            return response(302, location="/policy.yaml")
        if path == "/inside":
            return response(302, location="https://169.254.169.254/policy.yaml")
        return self.answer


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


def near(authority: Authority, **env: str) -> dict[str, str]:
    return {"SAFETY_POLICY_URL_ALLOW_PRIVATE": "true", "SAFETY_POLICY_URL_CA": authority.ca, **env}


async def test_the_url_goes_before_the_file_and_is_looked_at_again(
    make_kernel: MakeKernel, connect: Connect, authority: Authority
) -> None:
    published = Published(ALLOW)
    async with HttpsServer(published, *authority.issue("policies")) as server:
        env = near(authority, SAFETY_POLICY_URL=server.url("/moved", "localhost"))
        kernel = await make_kernel(policy=DENY.decode(), **env).start()
        client = connect(kernel.address)
        first = await client.check(ASKED)
        assert (first.decision, first.snapshot[:2]) == (Decision.ALLOW, "u:")

        published.answer = response(body=DENY)
        await kernel.logged("policy_loaded", 2)
        assert (await client.check(ASKED)).decision is Decision.DENY

        for number, (answer, reason) in enumerate(
            [
                (response(503), "unreachable"),
                (response(body=b"rules: [{id: r, decision: alow}]"), "invalid"),
                (response(302, location="http://localhost/policy.yaml"), "refused_url"),
            ],
            start=1,
        ):
            published.answer = answer
            rejected = await kernel.logged("policy_reload_failed", number)
            assert (rejected["bundle"], rejected["reason"]) == ("base", reason)
            assert (await client.check(ASKED)).decision is Decision.DENY
        published.answer = response(body=ALLOW)
        await kernel.logged("policy_loaded", 3)


async def refused(kernel: KernelProcess, code: int, said: str) -> None:
    await kernel.launch()
    assert await kernel.ended() == code
    assert said in kernel.stderr


@pytest.mark.parametrize(
    ("url", "env", "said"),
    [
        ("https://127.0.0.1:1/p", {}, "127.0.0.1 is not a public address"),
        ("https://localhost/p", {}, "localhost is this machine"),
        ("https://[::ffff:10.0.0.1]/p", {}, "is not a public address"),
        ("https://169.254.169.254/p", {"SAFETY_POLICY_URL_ALLOW_PRIVATE": "1"}, "metadata service"),
        ("https://evil.example/p", {"SAFETY_POLICY_URL_ALLOWLIST": "policies.example"}, "not among the hosts allowed"),
        ("ftp://policies.example/p", {}, "SAFETY_POLICY_URL=ftp://policies.example/p: not a URL"),
        ("https://u:p@policies.example/p", {}, "a user or password"),
        (
            "https://policies.example/p",
            {"SAFETY_POLICY_SIGNATURE_REQUIRED": "1", "SAFETY_POLICY_PUBLIC_KEY": "00" * 32},
            "set without SAFETY_POLICY_SIGNATURE",
        ),
    ],
)
async def test_urls_a_kernel_does_not_start_with(
    make_kernel: MakeKernel, url: str, env: dict[str, str], said: str
) -> None:
    await refused(make_kernel(SAFETY_POLICY_URL=url, **env), 2, said)


async def test_a_name_or_a_redirect_that_leads_inside_is_refused(make_kernel: MakeKernel, authority: Authority) -> None:
    async with HttpsServer(Published(ALLOW), *authority.issue("policies")) as server:
        env = near(authority, SAFETY_POLICY_URL=server.url("/inside", "localhost"))
        await refused(make_kernel(**env), 2, "169.254.169.254 is a metadata service")
        env = near(
            authority, SAFETY_POLICY_URL=server.url("/moved"), SAFETY_POLICY_URL_ALLOWLIST="policies.example localhost"
        )
        await refused(make_kernel(**env), 2, "127.0.0.1 is not among")
        assert server.paths == ["/inside"]


async def test_in_production_only_https(make_kernel: MakeKernel) -> None:
    await refused(
        make_kernel(CORDUM_ENV="production", SAFETY_POLICY_URL="http://policies.example/p"),
        2,
        "SAFETY_POLICY_URL=http://policies.example/p: not https://",
    )


async def test_a_policy_from_a_url_is_signed_by_a_file_of_ours(
    make_kernel: MakeKernel, connect: Connect, authority: Authority, tmp_path: Path
) -> None:
    key = signing.generate(Algorithm.ECDSA_P256)
    signature = tmp_path / "policy.sig"
    await asyncio.to_thread(signature.write_bytes, signing.encode(signing.sign(ALLOW, key)))
    published = Published(ALLOW)
    async with HttpsServer(published, *authority.issue("policies")) as server:
        kernel = make_kernel(
            SAFETY_POLICY_PUBLIC_KEY=signing.public_text(key.public_key()),
            SAFETY_POLICY_SIGNATURE_PATH=str(signature),
            SAFETY_POLICY_URL=server.url("/policy.yaml", "localhost"),
            **near(authority),
        )
        await kernel.start()
        published.answer = response(body=DENY)
        assert (await kernel.logged("policy_reload_failed"))["reason"] == "invalid_signature"
        assert (await connect(kernel.address).check(ASKED)).decision is Decision.ALLOW
