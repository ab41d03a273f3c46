"""Whatever is sent as a handshake: it is read or not, never believed unsigned, and answered only as CAP allows."""

import secrets
from datetime import UTC, datetime

from cap.pb.cordum.agent.v1.buspacket_pb2 import BusPacket
from cap.trust_signing import verify_trust_packet
from cap.worker_trust import WorkerHandshakeRequestOptions, WorkerTrustConfig, build_challenge_request
from cap.worker_trust_codec import unmarshal_worker_trust_packet
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from cordum.core.access.worker_credential import WorkerCredential, read_proof_key
from cordum.core.ids import TenantId, WorkerId
from cordum.core.signing import public_text
from cordum.runtime.session_keys import TrustKey
from cordum.services.scheduler.trust.handshake_packets import (
    AUTHENTICATE,
    REQUEST,
    Asked,
    Refused,
    proven,
    read,
    rejection,
)
from cordum.services.scheduler.trust.rejections import Rejection

NOW = 1_800_000_000.0
PROOF, SCHEDULER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
TRUST = TrustKey("sched", SCHEDULER)
CREDENTIAL = WorkerCredential(
    worker_id=WorkerId("worker-1"),
    tenant_id=TenantId("default"),
    credential_hash="-",
    proof_keys=(read_proof_key("proof-1", public_text(PROOF.public_key())),),
)
CONFIG = WorkerTrustConfig(
    worker_id="worker-1",
    expected_agent_id="worker-1",
    tenant_id="default",
    audience="cordum-scheduler",
    proof_key_id="proof-1",
    proof_private_key=PROOF,
    expected_scheduler_id="cordum-scheduler",
    scheduler_public_keys={"sched": SCHEDULER.public_key()},
    sdk_version="cap-python/2.17.0",
)
REQUESTED: bytes = build_challenge_request(
    CONFIG,
    WorkerHandshakeRequestOptions(
        request_id="r-1",
        trace_id="t-1",
        purpose=1,
        client_nonce=secrets.token_bytes(32),
        created_at=datetime.fromtimestamp(NOW, UTC),
    ),
).SerializeToString(deterministic=True)

phases = st.sampled_from((REQUEST, AUTHENTICATE))


def is_answered_properly(asked: Asked, refused: Refused) -> None:
    """The refusal, if there is one, is one that a worker accepts as the scheduler's."""
    answer = rejection(asked, refused, TRUST, NOW)
    if answer is None:
        return
    packet = unmarshal_worker_trust_packet(answer)
    verify_trust_packet(packet, {"sched": SCHEDULER.public_key()})
    assert packet.worker_handshake_result.rejection_reason == refused.why.value
    assert not packet.worker_handshake_result.accepted and not packet.auth_token


def test_the_sdks_own_request_is_believed() -> None:
    asked = read(REQUESTED, REQUEST, NOW)
    assert asked is not None and asked.refused is None and proven(asked, CREDENTIAL) is None
    assert proven(asked, None) is not None


@given(st.binary(max_size=400), phases)
def test_noise_is_no_handshake(data: bytes, phase: str) -> None:
    asked = read(data, phase, NOW)
    if asked is not None:
        assert asked.refused is not None
        is_answered_properly(asked, asked.refused)


@given(st.data(), phases)
def test_no_changed_byte_is_believed(data: st.DataObject, phase: str) -> None:
    changed = bytearray(REQUESTED)
    at = data.draw(st.integers(min_value=0, max_value=len(changed) - 1))
    changed[at] ^= data.draw(st.integers(min_value=1, max_value=255))
    asked = read(bytes(changed), phase, NOW)
    if asked is None:
        return
    refused = asked.refused or proven(asked, CREDENTIAL)
    assert refused is not None
    is_answered_properly(asked, refused)


@given(st.sampled_from(Rejection), st.text(max_size=300), st.text(max_size=300), st.binary(max_size=40))
def test_every_refusal_can_be_told(why: Rejection, worker: str, trace: str, nonce: bytes) -> None:
    packet = BusPacket.FromString(REQUESTED)
    request = packet.worker_handshake_challenge_request
    request.worker_id, request.trace_id, request.client_nonce = worker, trace, nonce
    asked = Asked(packet, request)
    is_answered_properly(asked, Refused(why, ""))
    if trace.strip() and worker.strip() and trace[:256].strip() and worker[:256].strip():
        assert rejection(asked, Refused(why, ""), TRUST, NOW) is not None
