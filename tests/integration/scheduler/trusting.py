"""Workers with keys, for a world whose scheduler wants sessions: the SDK's own client of the trust handshake."""

import asyncio
import functools
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from cap.heartbeat import heartbeat_payload
from cap.pb.cordum.agent.v1 import handshake_pb2, job_pb2
from cap.pb.cordum.agent.v1.buspacket_pb2 import BusPacket
from cap.runtime import Agent
from cap.trust_signing import sign_trust_packet
from cap.worker_trust import (
    WorkerHandshakeRequestOptions,
    WorkerTrustConfig,
    build_authenticate,
    build_challenge_request,
    verify_challenge,
)
from cryptography.hazmat.primitives.asymmetric import ec
from tests.integration.scheduler.world import Blobs, Handler, World

import nats
from cordum.bus import envelope, subjects
from cordum.core.access.worker_credential import WorkerCredential, read_proof_key
from cordum.core.ids import TenantId, WorkerId
from cordum.core.sessions import Claims, SessionKeys, Signer, TokenType, mint
from cordum.core.signing import Algorithm, generate, private_text, public_text

KEY_ID = "proof-1"
SCHEDULER_KEY_ID = "cordum-scheduler"

Change = Callable[[BusPacket], None]


class Trust:
    """The keys of one installation, and the workers' half of the handshake."""

    def __init__(self) -> None:
        self.signing = generate(Algorithm.ED25519)
        self.scheduler = generate(Algorithm.ECDSA_P256)
        assert isinstance(self.scheduler, ec.EllipticCurvePrivateKey)
        self.proofs: dict[str, ec.EllipticCurvePrivateKey] = {}

    def env(self, rigour: str, **more: str) -> dict[str, str]:
        """What a scheduler is given."""
        return {
            "CORDUM_SDK_HANDSHAKE": rigour,
            "CORDUM_POLICY_SIGNING_KEY": private_text(self.signing),
            "CORDUM_POLICY_SIGNING_KEY_ID": "release-1",
            "CORDUM_SCHEDULER_TRUST_KEY": private_text(self.scheduler),
            **more,
        }

    @property
    def signer(self) -> Signer:
        return Signer(self.signing, "release-1")  # type: ignore[arg-type]

    @property
    def keys(self) -> SessionKeys:
        return SessionKeys.of({}, self.signer)

    async def register(self, world: World, worker_id: str, *, tenant: str = "default", token_hash: str = "-") -> None:
        """Gives a worker a credential with a proof key of its own."""
        key = generate(Algorithm.ECDSA_P256)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self.proofs[worker_id] = key
        await world.store.worker_credentials.put(
            WorkerCredential(
                worker_id=WorkerId(worker_id),
                tenant_id=TenantId(tenant),
                credential_hash=token_hash,
                agent_id="agent-7",
                proof_keys=(read_proof_key(KEY_ID, public_text(key.public_key())),),
            )
        )

    def config(self, worker_id: str, *, tenant: str = "default") -> WorkerTrustConfig:
        """What the SDK wants to know."""
        assert isinstance(self.scheduler, ec.EllipticCurvePrivateKey)
        return WorkerTrustConfig(
            worker_id=worker_id,
            expected_agent_id="agent-7",
            tenant_id=tenant,
            audience="cordum-scheduler",
            proof_key_id=KEY_ID,
            proof_private_key=self.proofs[worker_id],
            expected_scheduler_id=subjects.SCHEDULER_ID,
            scheduler_public_keys={SCHEDULER_KEY_ID: self.scheduler.public_key()},
            sdk_version="cap-python/2.17.0",
        )

    def agent(
        self,
        world: World,
        handlers: Mapping[str, Handler],
        *,
        worker_id: str,
        credential: str = "",
        config: WorkerTrustConfig | None = None,
        mode: str = "enforce",
    ) -> Agent:
        """The SDK's agent as it is published, with its trust configuration; it is not started."""
        agent = Agent(
            nats_url=world.nats.url,
            connect_fn=functools.partial(nats.connect, reconnect_time_wait=0.2),
            store=Blobs(world.redis.url),
            worker_id=worker_id,
            pool="main",
            max_parallel=4,
            heartbeat_interval=0.3,
            # How an agent adds its credential: the envelope is the session's.
            heartbeat_payload_fn=functools.partial(
                heartbeat_payload, worker_id, "main", 0, 4, 0.0, auth_token=credential
            )
            if credential
            else None,
            worker_trust_mode=mode,
            worker_trust=config or self.config(worker_id),
            worker_trust_timeout=5.0,
            worker_trust_renew_min_interval=0.5,
        )
        for topic, handler in handlers.items():
            agent.job(topic)(handler)
        return agent

    def forged(self, sub: str, **claims: Any) -> str:
        """A token that nobody was issued, signed with the right key."""
        now = int(time.time())
        made = Claims(sub=sub, tenant=TenantId("default"), jti=secrets.token_hex(16), iat=now, exp=now + 3600)
        return mint(self.signer, TokenType.SESSION, msgspec.structs.replace(made, **claims))


def untouched(_packet: BusPacket) -> None:
    """Changes nothing."""


class ByHand:
    """The worker's half of the handshake, packet by packet, with a chance to spoil each."""

    def __init__(self, world: World, trust: Trust, worker_id: str) -> None:
        self.world = world
        self.worker_id = worker_id
        self.config = trust.config(worker_id)
        self._connection: Any = None

    async def __aenter__(self) -> "ByHand":
        self._connection = await nats.connect(self.world.nats.url)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()

    def request(
        self, *, renew: bool = False, nonce: bytes = b"", at: float = 0.0, spoil: Change = untouched
    ) -> BusPacket:
        """A signed request for a challenge; `spoil` changes it before it is signed once more."""
        options = WorkerHandshakeRequestOptions(
            request_id=secrets.token_hex(8),
            trace_id=secrets.token_hex(8),
            purpose=handshake_pb2.WORKER_HANDSHAKE_PURPOSE_RENEW
            if renew
            else handshake_pb2.WORKER_HANDSHAKE_PURPOSE_ISSUE,
            client_nonce=nonce or secrets.token_bytes(32),
            created_at=datetime.fromtimestamp(at or time.time(), UTC),
        )
        return self._spoilt(build_challenge_request(self.config, options), spoil)

    def authenticate(
        self, request: BusPacket, challenge: BusPacket, *, session: str = "", spoil: Change = untouched
    ) -> BusPacket:
        """The signed answer to a challenge."""
        verified = verify_challenge(self.config, request, challenge, datetime.now(UTC))  # type: ignore[no-untyped-call]
        capability = handshake_pb2.Handshake(
            component_id=self.worker_id,
            role=handshake_pb2.COMPONENT_ROLE_WORKER,
            supported_versions=[1],
            sdk_version=self.config.sdk_version,
            ready_topics=["job.work"],
        )
        packet = build_authenticate(self.config, verified, capability, session, datetime.now(UTC))
        return self._spoilt(packet, spoil)

    def _spoilt(self, packet: BusPacket, spoil: Change) -> BusPacket:
        if spoil is not untouched:
            spoil(packet)
            packet.ClearField("signature")
            sign_trust_packet(packet, self.config.proof_private_key)
        return packet

    async def ask(self, subject: str, packet: BusPacket | bytes) -> BusPacket:
        """Sends a request and waits for the answer."""
        data = packet if isinstance(packet, bytes) else packet.SerializeToString(deterministic=True)
        answer = await self._connection.request(subject, data, timeout=5)
        return BusPacket.FromString(answer.data)

    async def challenge(self, request: BusPacket) -> BusPacket:
        return await self.ask(subjects.WORKER_CHALLENGE, request)

    async def result(self, authenticate: BusPacket) -> BusPacket:
        return await self.ask(subjects.WORKER_AUTHENTICATE, authenticate)

    async def session(self, *, renews: str = "") -> str:
        """A whole handshake; the session's token."""
        request = self.request(renew=bool(renews))
        challenge = await self.challenge(request)
        result = await self.result(self.authenticate(request, challenge, session=renews))
        assert result.worker_handshake_result.accepted, result.worker_handshake_result.rejection_reason
        return str(result.auth_token)

    async def publish(self, subject: str, packet: BusPacket) -> None:
        """Says something as whoever can reach NATS."""
        await self._connection.publish(subject, packet.SerializeToString(deterministic=True))
        await self._connection.flush()

    async def keep_alive(self, token: str) -> None:
        """Heartbeats until cancelled."""
        while True:
            await self.publish(subjects.HEARTBEAT, heartbeat_packet(self.worker_id, token))
            await asyncio.sleep(0.3)


def result_packet(worker_id: str, job_id: str, token: str) -> BusPacket:
    """A worker says that it has done a job."""
    packet = envelope.packet(worker_id, f"trace-{job_id}", time.time())
    packet.job_result.job_id = job_id
    packet.job_result.status = job_pb2.JOB_STATUS_SUCCEEDED
    packet.job_result.worker_id = worker_id
    packet.auth_token = token
    return packet


def heartbeat_packet(worker_id: str, token: str) -> BusPacket:
    """A worker of the pool `other` says that it lives."""
    packet = envelope.packet(worker_id, worker_id, time.time())
    packet.heartbeat.worker_id = worker_id
    packet.heartbeat.pool = "other"
    packet.heartbeat.max_parallel_jobs = 8
    packet.auth_token = token
    return packet
