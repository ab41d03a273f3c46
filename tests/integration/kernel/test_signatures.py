"""Which policies are trusted: keys, signatures and their many written forms."""

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from blockbuster import BlockBuster
from cap.pb.cordum.agent.v1 import safety_pb2
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from tests.integration.kernel.conftest import MakeKernel

from cordum.core.policy.decision import Decision
from cordum.rpc.kernel_client import KernelClient
from cordum.services.safety_kernel import signature
from cordum.services.safety_kernel.signature import SignatureError, SignatureFault

POLICY = "version: s\nrules: [{id: r, decision: allow}]\n"
DATA = POLICY.encode()
P256 = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()

PEM = serialization.Encoding.PEM
DER = serialization.Encoding.DER
SPKI = serialization.PublicFormat.SubjectPublicKeyInfo
RAW = serialization.Encoding.Raw


def p256_signature(data: bytes = DATA) -> bytes:
    return P256.sign(data, ec.ECDSA(hashes.SHA256()))


def envelope(algorithm: str, value: bytes, data: bytes = DATA, **more: object) -> bytes:
    body = {
        "algorithm": algorithm,
        "key_id": "k1",
        "value": base64.b64encode(value).decode(),
        "hash": hashlib.sha256(data).hexdigest(),
        "signed_bytes": len(data),
    }
    return json.dumps(body | more).encode()


P256_PEM = P256.public_key().public_bytes(PEM, SPKI).decode()
ED_RAW = ED.public_key().public_bytes(RAW, serialization.PublicFormat.Raw)


@pytest.mark.seed("S258")
@pytest.mark.parametrize(
    "text",
    [
        P256_PEM,
        P256_PEM.replace("\n", "\\n"),
        base64.b64encode(P256.public_key().public_bytes(DER, SPKI)).decode(),
        P256.public_key().public_bytes(DER, SPKI).hex(),
        P256.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint).hex(),
    ],
)
@pytest.mark.parametrize(
    "signed",
    [
        p256_signature(),
        base64.b64encode(p256_signature()),
        p256_signature().hex().encode() + b"\n",
        envelope("ecdsa-p256-sha256", p256_signature()),
    ],
)
def test_p256_keys_and_signatures_in_every_form(text: str, signed: bytes) -> None:
    key = signature.read_public_key(text)
    signature.verify(key, DATA, signed)
    with pytest.raises(SignatureError):
        signature.verify(key, DATA + b" ", signed)


@pytest.mark.seed("S258")
@pytest.mark.parametrize(
    "text",
    [
        ED.public_key().public_bytes(PEM, SPKI).decode(),
        base64.b64encode(ED_RAW).decode(),
        base64.b64encode(ED_RAW).decode().rstrip("="),
        ED_RAW.hex(),
        "ed25519:" + base64.b64encode(ED_RAW).decode(),
    ],
)
@pytest.mark.parametrize(
    "signed",
    [
        ED.sign(DATA),
        base64.b64encode(ED.sign(DATA)),
        base64.urlsafe_b64encode(ED.sign(DATA)).rstrip(b"="),
        ED.sign(DATA).hex().encode(),
        envelope("ed25519", ED.sign(DATA)),
    ],
)
def test_ed25519_keys_and_signatures_in_every_form(text: str, signed: bytes) -> None:
    key = signature.read_public_key(text)
    signature.verify(key, DATA, signed)
    with pytest.raises(SignatureError):
        signature.verify(key, DATA + b" ", signed)


@pytest.mark.parametrize(
    ("signed", "fault"),
    [
        (b"", SignatureFault.UNSIGNED),
        (b"  \n", SignatureFault.UNSIGNED),
        (b"{not json", SignatureFault.MALFORMED),
        (b'{"algorithm": "ed25519"}', SignatureFault.MALFORMED),
        (b"x" * 20_000, SignatureFault.MALFORMED),
        (b"x" * 64, SignatureFault.INVALID),
        (ed25519.Ed25519PrivateKey.generate().sign(DATA), SignatureFault.INVALID),
        (envelope("ecdsa", ED.sign(DATA)), SignatureFault.INVALID),
        (envelope("ed25519", ED.sign(DATA), signed_bytes=3), SignatureFault.INVALID),
        (envelope("ed25519", ED.sign(DATA), hash="00"), SignatureFault.INVALID),
        (envelope("ed25519", b"short"), SignatureFault.INVALID),
    ],
)
def test_what_is_not_a_signature_of_these_bytes(signed: bytes, fault: SignatureFault) -> None:
    with pytest.raises(SignatureError) as caught:
        signature.verify(ED.public_key(), DATA, signed)
    assert caught.value.fault is fault


@pytest.mark.parametrize(
    "text",
    [
        "nonsense!",
        "AAAA",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
        rsa.generate_private_key(65537, 2048).public_key().public_bytes(PEM, SPKI).decode(),
        ec.generate_private_key(ec.SECP384R1()).public_key().public_bytes(PEM, SPKI).decode(),
    ],
)
def test_keys_we_do_not_take(text: str) -> None:
    with pytest.raises(SignatureError, match="SAFETY_POLICY_PUBLIC_KEY cannot be used"):
        signature.read_public_key(text)


Connect = Callable[..., KernelClient]
ASKED = safety_pb2.PolicyCheckRequest(job_id="j", topic="job.x")


def sidecar(policy: Path) -> Path:
    return policy.with_name(policy.name + ".sig")


@pytest.mark.seed("S31", "S258")
async def test_a_signed_policy_is_used_and_a_badly_signed_one_changes_nothing(
    make_kernel: MakeKernel, connect: Connect
) -> None:
    kernel = make_kernel(policy=POLICY, SAFETY_POLICY_PUBLIC_KEY=P256_PEM)
    sidecar(kernel.policy).write_bytes(p256_signature())
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

    sidecar(kernel.policy).write_bytes(base64.b64encode(p256_signature(changed.encode())))
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
    kernel = make_kernel(policy=POLICY, SAFETY_POLICY_PUBLIC_KEY=ED_RAW.hex())
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

    kernel = make_kernel(policy=POLICY, SAFETY_POLICY_SIGNATURE_REQUIRED="true", SAFETY_POLICY_PUBLIC_KEY=ED_RAW.hex())
    await kernel.launch()
    assert await kernel.ended() == 2
    assert "not signed" in kernel.stderr


async def test_the_signature_may_be_in_the_environment_or_in_another_file(
    make_kernel: MakeKernel, tmp_path: Path, event_loop_guard: BlockBuster
) -> None:
    inline = make_kernel(
        policy=POLICY, SAFETY_POLICY_PUBLIC_KEY=ED_RAW.hex(), SAFETY_POLICY_SIGNATURE=ED.sign(DATA).hex()
    )
    await inline.start()
    elsewhere = tmp_path / "signature.json"
    elsewhere.write_bytes(envelope("ed25519", ED.sign(DATA)))
    await make_kernel(
        policy=POLICY, SAFETY_POLICY_PUBLIC_KEY=ED_RAW.hex(), SAFETY_POLICY_SIGNATURE_PATH=str(elsewhere)
    ).start()
