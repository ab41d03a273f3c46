"""Which policies a running kernel trusts."""

import base64
from collections.abc import Callable
from pathlib import Path

import pytest
from blockbuster import BlockBuster
from cap.pb.cordum.agent.v1 import safety_pb2
from tests.integration.kernel.conftest import MakeKernel

from cordum.core import signing
from cordum.core.policy.decision import Decision
from cordum.core.signing import Algorithm
from cordum.rpc.kernel_client import KernelClient

POLICY = "version: s\nrules: [{id: r, decision: allow}]\n"
DATA = POLICY.encode()
P256 = signing.generate(Algorithm.ECDSA_P256)
ED = signing.generate(Algorithm.ED25519)
P256_PEM = signing.public_text(P256.public_key())
ED_TEXT = signing.public_text(ED.public_key()).replace("\n", "\\n")

Connect = Callable[..., KernelClient]
ASKED = safety_pb2.PolicyCheckRequest(job_id="j", topic="job.x")


def raw(key: signing.PrivateKey, data: bytes = DATA) -> bytes:
    return base64.b64decode(signing.sign(data, key).value)


def sidecar(policy: Path) -> Path:
    return policy.with_name(policy.name + ".sig")


@pytest.mark.seed("S31", "S258")
async def test_a_signed_policy_is_used_and_a_badly_signed_one_changes_nothing(
    make_kernel: MakeKernel, connect: Connect
) -> None:
    kernel = make_kernel(policy=POLICY, SAFETY_POLICY_PUBLIC_KEY=P256_PEM)
    sidecar(kernel.policy).write_bytes(raw(P256))
    await kernel.start()
    client = connect(kernel.address)
    before = await client.check(ASKED)
    assert before.decision is Decision.ALLOW

    changed = POLICY.replace("allow", "deny")
    kernel.policy.write_text(changed)
    rejected = await kernel.logged("policy_reload_failed")
    assert (rejected["level"], rejected["reason"]) == ("error", "invalid_signature")
    after = await client.check(ASKED)
    assert (after.decision, after.snapshot) == (Decision.ALLOW, before.snapshot)

    sidecar(kernel.policy).write_bytes(base64.b64encode(raw(P256, changed.encode())))
    await kernel.logged("policy_loaded", 2)
    assert (await client.check(ASKED)).decision is Decision.DENY


@pytest.mark.seed("S31")
@pytest.mark.parametrize(
    ("signed", "said"),
    [(None, "the policy is not signed"), (b"x" * 64, "does not match its bytes")],
)
async def test_a_missing_or_wrong_signature_refuses_the_start(
    make_kernel: MakeKernel, signed: bytes | None, said: str
) -> None:
    kernel = make_kernel(policy=POLICY, SAFETY_POLICY_PUBLIC_KEY=ED_TEXT)
    if signed is not None:
        sidecar(kernel.policy).write_bytes(signed)
    await kernel.launch()
    assert await kernel.ended() == 2
    assert said in kernel.stderr
    assert str(kernel.policy) in kernel.stderr


@pytest.mark.seed("S32")
async def test_a_signature_can_be_required_outside_production(make_kernel: MakeKernel) -> None:
    kernel = make_kernel(policy=POLICY, SAFETY_POLICY_SIGNATURE_REQUIRED="true")
    await kernel.launch()
    assert await kernel.ended() == 2
    assert "SAFETY_POLICY_PUBLIC_KEY" in kernel.stderr

    kernel = make_kernel(policy=POLICY, SAFETY_POLICY_SIGNATURE_REQUIRED="true", SAFETY_POLICY_PUBLIC_KEY=ED_TEXT)
    await kernel.launch()
    assert await kernel.ended() == 2
    assert "not signed" in kernel.stderr


async def test_the_signature_may_be_in_the_environment_or_in_another_file(
    make_kernel: MakeKernel, tmp_path: Path, event_loop_guard: BlockBuster
) -> None:
    inline = make_kernel(policy=POLICY, SAFETY_POLICY_PUBLIC_KEY=ED_TEXT, SAFETY_POLICY_SIGNATURE=raw(ED).hex())
    await inline.start()
    elsewhere = tmp_path / "signature.json"
    elsewhere.write_bytes(signing.encode(signing.sign(DATA, ED)))
    await make_kernel(
        policy=POLICY, SAFETY_POLICY_PUBLIC_KEY=ED_TEXT, SAFETY_POLICY_SIGNATURE_PATH=str(elsewhere)
    ).start()


async def test_a_key_of_the_trust_store_will_do_under_its_id(make_kernel: MakeKernel, connect: Connect) -> None:
    kernel = make_kernel(
        policy=POLICY,
        CORDUM_POLICY_STRICT="enforce",
        CORDUM_POLICY_PUBLIC_KEY_OPS_2026=ED_TEXT,
        CORDUM_POLICY_PUBLIC_KEY_PACKS=P256_PEM,
    )
    sidecar(kernel.policy).write_bytes(signing.encode(signing.sign(DATA, P256, "packs")))
    await kernel.start()
    assert (await connect(kernel.address).check(ASKED)).decision is Decision.ALLOW

    for key_id, reason in (("ops-2026", "invalid_signature"), ("nobody", "untrusted_key")):
        sidecar(kernel.policy).write_bytes(signing.encode(signing.sign(DATA, P256, key_id)))
        rejected = await kernel.logged("policy_signature_rejected", 1 if key_id == "ops-2026" else 2)
        assert (rejected["audit_event"], rejected["reason"]) == ("policy_signature_rejected", reason)
        assert rejected["bundle"] == "base"
    assert (await connect(kernel.address).check(ASKED)).decision is Decision.ALLOW


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"CORDUM_POLICY_STRICT": "enforced"}, "CORDUM_POLICY_STRICT=enforced: not one of off, disabled"),
        ({"CORDUM_POLICY_STRICT": "enforce"}, "no key to verify it with is set; CORDUM_POLICY_STRICT asks for it"),
        ({"CORDUM_POLICY_PUBLIC_KEY_X": "nonsense!"}, "CORDUM_POLICY_PUBLIC_KEY_X cannot be used"),
        ({"SAFETY_POLICY_PUBLIC_KEY": "nonsense!"}, "SAFETY_POLICY_PUBLIC_KEY cannot be used"),
        (
            {
                "CORDUM_POLICY_STRICT": "off",
                "SAFETY_POLICY_SIGNATURE_REQUIRED": "1",
                "SAFETY_POLICY_PUBLIC_KEY": ED_TEXT,
            },
            "CORDUM_POLICY_STRICT=off: SAFETY_POLICY_SIGNATURE_REQUIRED wants signatures enforced",
        ),
    ],
)
async def test_settings_that_would_weaken_signatures_by_mistake_refuse_the_start(
    make_kernel: MakeKernel, env: dict[str, str], said: str
) -> None:
    kernel = make_kernel(policy=POLICY, **env)
    await kernel.launch()
    assert await kernel.ended() == 2
    assert said in kernel.stderr
    assert "nonsense" not in kernel.stderr


async def test_with_warn_an_unsigned_policy_is_used_and_a_wrongly_signed_one_is_not(make_kernel: MakeKernel) -> None:
    kernel = make_kernel(policy=POLICY, CORDUM_POLICY_PUBLIC_KEY_OPS=ED_TEXT)
    await kernel.start()
    assert (await kernel.logged("policy_signature_rejected"))["reason"] == "unsigned"

    kernel = make_kernel(policy=POLICY, CORDUM_POLICY_PUBLIC_KEY_OPS=ED_TEXT)
    sidecar(kernel.policy).write_bytes(raw(P256))
    await kernel.launch()
    assert await kernel.ended() == 2
    assert "does not match" in kernel.stderr
