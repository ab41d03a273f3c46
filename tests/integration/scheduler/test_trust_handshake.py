"""`CORDUM_SDK_HANDSHAKE=enforce` with the SDK's own agents, two schedulers, real NATS and Redis."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cap.pb.cordum.agent.v1 import handshake_pb2
from cap.pb.cordum.agent.v1.buspacket_pb2 import BusPacket
from cap.worker_trust_runtime import WorkerTrustRuntimeError
from tests.integration.scheduler.trusting import ByHand, Trust, heartbeat_packet, result_packet
from tests.integration.scheduler.world import World, echo

from cordum.bus import envelope, subjects
from cordum.core.audit.event import EventType
from cordum.core.ids import TenantId, WorkerId
from cordum.core.jobs.states import JobState
from cordum.core.sessions import Claims, TokenType, verify
from cordum.embedded.servers import Server
from cordum.runtime.clock import SystemClock
from cordum.runtime.ids import RandomIds
from cordum.runtime.service_tokens import ServiceTokens

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRUST = Trust()
LIFE = 30
"""Seconds a session lasts here."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def enforced(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """NATS, Redis, a kernel and two schedulers that want sessions."""
    directory: Path = tmp_path_factory.mktemp("trust")
    nats_server = Server("nats", directory / "nats", password=secrets.token_hex(16))
    redis = Server("redis", directory / "redis", password=secrets.token_hex(16))
    await asyncio.gather(nats_server.start(), redis.start())
    (directory / "world").mkdir()
    world = World(directory / "world", nats_server, redis)
    try:
        await world.open()
        env = TRUST.env("enforce", CORDUM_WORKER_SESSION_TTL=f"{LIFE}s")
        await asyncio.gather(world.start_kernel(), world.start_scheduler(**env), world.start_scheduler(**env))
        yield world
        await world.aclose()
    finally:
        await nats_server.aclose()
        await redis.aclose()


async def handshakes(world: World, purpose: str, outcome: str) -> list[float]:
    """How many there were, per scheduler."""
    name = "cordum_worker_handshakes_total"
    return [await process.metric(name, purpose=purpose, outcome=outcome) for process in world.schedulers]


async def refused(world: World, kind: str, reason: str) -> float:
    name = "cordum_worker_sessions_refused_total"
    return sum([await process.metric(name, kind=kind, reason=reason) for process in world.schedulers])


async def until_refused(world: World, kind: str, reason: str, before: float, more: int = 1) -> None:
    async def so() -> bool:
        return await refused(world, kind, reason) >= before + more

    await world.eventually(so, f"a {kind} refused for {reason}")


def claims_of(token: str) -> Claims:
    claims = verify(token, TokenType.SESSION, TRUST.keys, time.time())
    assert isinstance(claims, Claims)
    return claims


async def test_an_agent_shakes_hands_gets_jobs_renews_and_goes_on(enforced: World) -> None:
    await TRUST.register(enforced, "able")
    agent = TRUST.agent(enforced, {"job.work": echo}, worker_id="able")
    await agent.start()
    try:
        first = agent.session_token
        jobs = [await enforced.submit() for _ in range(5)]
        assert {record.state for record in await enforced.until_all_end(jobs)} == {JobState.SUCCEEDED}

        async def renewed() -> bool:
            return agent.session_token != first

        await enforced.eventually(renewed, "another session")
        jobs = [await enforced.submit() for _ in range(20)]
        records = await enforced.until_all_end(jobs)
        assert {(record.state, record.worker_id) for record in records} == {(JobState.SUCCEEDED, "able")}
        claims = claims_of(agent.session_token)
        assert claims.sub == "able" and claims.tenant == "default" and claims.exp - claims.iat == LIFE
        assert claims.sdk_ver == "cap-python/2.17.0"
        stored = await enforced.store.sessions.get(WorkerId("able"))
        assert stored is not None and stored.tenant == "default"
    finally:
        await agent.close()
    issued, renewals = await handshakes(enforced, "issue", "accepted"), await handshakes(enforced, "renew", "accepted")
    assert sum(issued) == 1 and sum(renewals) >= 1


async def test_either_scheduler_finishes_what_the_other_began(enforced: World) -> None:
    await TRUST.register(enforced, "between")
    async with ByHand(enforced, TRUST, "between") as worker:
        begun, finished = (
            await handshakes(enforced, "issue", "challenged"),
            await handshakes(enforced, "issue", "accepted"),
        )
        for _ in range(200):
            await worker.session()
            began, ended = (
                await handshakes(enforced, "issue", "challenged"),
                await handshakes(enforced, "issue", "accepted"),
            )
            if [b - a for a, b in zip(begun, began, strict=True)] != [
                b - a for a, b in zip(finished, ended, strict=True)
            ]:
                return
            begun, finished = began, ended
    pytest.fail("one scheduler always took both phases")


async def test_an_accepted_handshake_makes_the_worker_ready(enforced: World) -> None:
    await TRUST.register(enforced, "readied")
    async with ByHand(enforced, TRUST, "readied") as worker:
        await worker.session()

    async def ready() -> bool:
        return any(
            event.get("worker_id") == "readied" and event.get("ready_topics") == ["job.work"]
            for process in enforced.schedulers
            for event in process.events("worker_handshake")
        )

    await enforced.eventually(ready, "the topics of its handshake")


async def test_a_worker_without_a_session_gets_nothing(enforced: World) -> None:
    before = await refused(enforced, "heartbeat", "session_missing")
    agent = await enforced.start_agent({"job.other": echo}, worker_id="stranger", pool="other")
    await until_refused(enforced, "heartbeat", "session_missing", before, more=4)
    job = await enforced.submit("job.other")
    await enforced.until(job, lambda record: record.pending_reason == "no_workers")
    await agent.close()
    assert (await enforced.record(job)).state is JobState.PENDING


async def test_an_agent_with_the_wrong_key_is_told_at_once(enforced: World) -> None:
    await TRUST.register(enforced, "impostor")
    wrong = Trust()
    wrong.scheduler = TRUST.scheduler
    await wrong.register(enforced, "impostor")
    right = wrong.proofs["impostor"]
    await TRUST.register(enforced, "impostor")
    TRUST.proofs["impostor"] = right
    agent = TRUST.agent(enforced, {"job.work": echo}, worker_id="impostor")
    began = time.monotonic()
    with pytest.raises(WorkerTrustRuntimeError):
        await agent.start()
    assert time.monotonic() - began < 5
    assert sum(await handshakes(enforced, "issue", "authentication_failed")) >= 1


REASON = handshake_pb2.WorkerHandshakeRejectionReason


def reason_of(answer: BusPacket) -> str:
    result = answer.worker_handshake_result
    assert answer.WhichOneof("payload") == "worker_handshake_result" and not result.accepted and not answer.auth_token
    return str(REASON.Name(result.rejection_reason)).removeprefix("WORKER_HANDSHAKE_REJECTION_REASON_").lower()


async def test_requests_are_refused_for_the_right_reason(enforced: World) -> None:
    await TRUST.register(enforced, "faulty")
    async with ByHand(enforced, TRUST, "faulty") as worker:

        async def answer(request: BusPacket) -> str:
            return reason_of(await worker.challenge(request))

        def other_audience(packet: BusPacket) -> None:
            packet.worker_handshake_challenge_request.audience = "somebody-else"

        def other_version(packet: BusPacket) -> None:
            packet.worker_handshake_challenge_request.protocol_version = 2

        def unknown_key(packet: BusPacket) -> None:
            packet.worker_handshake_challenge_request.proof_key_id = "proof-9"

        def nobody(packet: BusPacket) -> None:
            packet.sender_id = packet.worker_handshake_challenge_request.worker_id = "nobody-knows"

        assert await answer(worker.request(at=time.time() - 90)) == "clock_skew"
        assert await answer(worker.request(at=time.time() + 90)) == "clock_skew"
        assert await answer(worker.request(spoil=other_audience)) == "invalid_request"
        assert await answer(worker.request(spoil=other_version)) == "unsupported_version"
        assert await answer(worker.request(spoil=unknown_key)) == "authentication_failed"
        assert await answer(worker.request(spoil=nobody)) == "authentication_failed"
        unsigned = worker.request()
        unsigned.worker_handshake_challenge_request.sdk_version = "cap-python/9"
        assert await answer(unsigned) == "authentication_failed"
        nonce = secrets.token_bytes(32)
        assert (await worker.challenge(worker.request(nonce=nonce))).HasField("worker_handshake_challenge")
        assert await answer(worker.request(nonce=nonce)) == "replay_detected"


async def test_answers_are_refused_for_the_right_reason(enforced: World) -> None:
    await TRUST.register(enforced, "replaying")
    async with ByHand(enforced, TRUST, "replaying") as worker:

        async def answer(*, renew: bool = False, session: str = "", **spoil: Any) -> str:
            request = worker.request(renew=renew)
            challenge = await worker.challenge(request)
            return reason_of(await worker.result(worker.authenticate(request, challenge, session=session, **spoil)))

        def other_nonce(packet: BusPacket) -> None:
            packet.worker_handshake_authenticate.challenge.server_nonce = secrets.token_bytes(32)

        def longer(packet: BusPacket) -> None:
            packet.worker_handshake_authenticate.challenge.expires_at.seconds -= 5

        def other_agent(packet: BusPacket) -> None:
            packet.worker_handshake_authenticate.challenge.agent_id = "agent-8"

        def late(packet: BusPacket) -> None:
            challenge = packet.worker_handshake_authenticate.challenge
            challenge.issued_at.seconds -= 120
            challenge.expires_at.seconds -= 120

        for change in (other_nonce, longer, other_agent):
            assert await answer(spoil=change) == "authentication_failed"
        assert await answer(spoil=late) == "challenge_expired"

        request = worker.request()
        authenticate = worker.authenticate(request, await worker.challenge(request))
        accepted = await worker.result(authenticate)
        assert accepted.worker_handshake_result.accepted
        assert reason_of(await worker.result(authenticate)) == "replay_detected"

        live = accepted.auth_token
        assert await answer(renew=True, session=TRUST.forged("replaying")) == "session_invalid"
        assert await answer(renew=True, session=TRUST.forged("able")) == "session_invalid"
        assert await answer(renew=True, session="no.session.token") == "session_invalid"
        stale = TRUST.forged("replaying", iat=int(time.time()) - 7200, exp=int(time.time()) - 3600)
        assert await answer(renew=True, session=stale) == "session_invalid"
        renewed = await worker.session(renews=live)
        assert renewed != live
        # The answer may have been lost: with the old token it works once more.
        assert await worker.session(renews=live) not in (live, renewed)
        await enforced.store.sessions.revoke(WorkerId("replaying"))
        assert await answer(renew=True, session=renewed) == "session_invalid"


async def test_what_is_no_handshake_gets_no_answer_and_does_no_harm(enforced: World) -> None:
    await TRUST.register(enforced, "noisy")
    async with ByHand(enforced, TRUST, "noisy") as worker:
        before = sum(await handshakes(enforced, "unknown", "unreadable"))
        for noise in (b"", b"\x00\xff", b"x" * 70_000, envelope.packet("noisy", "t", 1.0).SerializeToString()):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(worker.ask(subjects.WORKER_CHALLENGE, noise), 0.2)
        assert sum(await handshakes(enforced, "unknown", "unreadable")) == before + 4
        assert await worker.session()


async def test_a_revoked_credential_gets_no_session(enforced: World) -> None:
    await TRUST.register(enforced, "sacked")
    async with ByHand(enforced, TRUST, "sacked") as worker:
        session = await worker.session()
        await enforced.store.worker_credentials.revoke(WorkerId("sacked"), "2026-01-01T00:00:00Z")
        assert reason_of(await worker.challenge(worker.request())) == "authentication_failed"
        assert reason_of(await worker.challenge(worker.request(renew=True))) == "authentication_failed"
        assert session


async def test_only_the_session_of_the_worker_that_holds_a_job_ends_it(enforced: World) -> None:
    for name in ("holder", "thief"):
        await TRUST.register(enforced, name)
    async with ByHand(enforced, TRUST, "holder") as holder, ByHand(enforced, TRUST, "thief") as thief:
        mine, theirs = await holder.session(), await thief.session()
        alive = asyncio.create_task(holder.keep_alive(mine))
        try:
            job = await enforced.submit("job.other")
            await enforced.until(job, JobState.RUNNING)
            for token, reason in (
                ("", "session_missing"),
                (theirs, "session_of_another"),
                (TRUST.forged("holder"), "session_revoked"),
                (mine[:-4] + ("AAAA" if mine[-4:] != "AAAA" else "BBBB"), "token_bad_signature"),
            ):
                before = await refused(enforced, "result", reason)
                await holder.publish(subjects.JOB_RESULT, result_packet("holder", job, token))
                await until_refused(enforced, "result", reason, before)
            assert (await enforced.record(job)).state is JobState.RUNNING
            await holder.publish(subjects.JOB_RESULT, result_packet("holder", job, mine))
            await enforced.until(job, JobState.SUCCEEDED)
        finally:
            alive.cancel()
            await asyncio.wait([alive])


async def test_a_revoked_session_counts_no_more(enforced: World) -> None:
    await TRUST.register(enforced, "kicked")
    async with ByHand(enforced, TRUST, "kicked") as worker:
        token = await worker.session()
        for process in enforced.schedulers:
            assert not any(event.get("worker_id") == "kicked" for event in process.events("session_refused"))
        await worker.publish(subjects.HEARTBEAT, heartbeat_packet("kicked", token))
        assert await enforced.store.sessions.revoke(WorkerId("kicked"))
        before = await refused(enforced, "heartbeat", "session_revoked")
        changed = envelope.packet(subjects.GATEWAY_CONTROL_ID, "c", time.time())
        changed.alert.message, changed.alert.level, changed.alert.code = "config changed", "info", "config_changed"
        changed.alert.component = subjects.GATEWAY_CONTROL_ID

        async def dropped() -> bool:
            await enforced.bus.publish_core(subjects.CONFIG_CHANGED, envelope.encode(changed))
            await worker.publish(subjects.HEARTBEAT, heartbeat_packet("kicked", token))
            return await refused(enforced, "heartbeat", "session_revoked") >= before + 2

        await enforced.eventually(dropped, "the session dropped by both schedulers", within=5)
        assert await enforced.store.sessions.is_revoked(TenantId("default"), claims_of(token).jti)
        assert await worker.session() != token


async def test_cancels_need_a_service_token(enforced: World) -> None:
    clock = SystemClock()
    tokens = ServiceTokens(TRUST.signer, clock, RandomIds())
    await TRUST.register(enforced, "cancelling")
    async with ByHand(enforced, TRUST, "cancelling") as worker:
        session = await worker.session()
        job = await enforced.submit("job.careful")
        await enforced.until(job, JobState.APPROVAL_REQUIRED)

        async def cancel(sender: str, token: str, tenant: str = "") -> None:
            packet = envelope.packet(sender, job, time.time())
            packet.job_cancel.job_id = job
            packet.job_cancel.requested_by = sender
            packet.job_cancel.identity.tenant_id = tenant
            packet.auth_token = token
            await worker.publish(subjects.JOB_CANCEL, packet)

        for sender, token, tenant, reason in (
            (subjects.GATEWAY_CONTROL_ID, "", "", "session_missing"),
            (subjects.GATEWAY_CONTROL_ID, session, "", "token_wrong_type"),
            (subjects.GATEWAY_CONTROL_ID, tokens.token(subjects.WORKFLOW_ENGINE_ID), "", "session_of_another"),
            ("cancelling", session, "elsewhere", "session_of_another_tenant"),
        ):
            before = await refused(enforced, "cancel", reason)
            await cancel(sender, token, tenant)
            await until_refused(enforced, "cancel", reason, before)
        assert (await enforced.record(job)).state is JobState.APPROVAL_REQUIRED
        await cancel(subjects.GATEWAY_CONTROL_ID, tokens.token(subjects.GATEWAY_CONTROL_ID))
        await enforced.until(job, JobState.CANCELLED)


async def test_every_outcome_is_in_the_audit_trail(enforced: World) -> None:
    await TRUST.register(enforced, "audited", tenant="acme")
    async with ByHand(enforced, TRUST, "audited") as worker:
        worker.config = TRUST.config("audited", tenant="acme")
        token = await worker.session()
        await worker.session(renews=token)
        assert reason_of(await worker.challenge(worker.request(at=time.time() - 90))) == "clock_skew"
        nonce = secrets.token_bytes(32)
        await worker.challenge(worker.request(nonce=nonce))
        assert reason_of(await worker.challenge(worker.request(nonce=nonce))) == "replay_detected"

    async def written() -> bool:
        kind = EventType.WORKER_HANDSHAKE.value
        found = await enforced.store.audit.page(TenantId("acme"), lambda event: event.event_type == kind, limit=50)
        outcomes = sorted((event.decision, event.extra["purpose"], event.resource_id) for event in found.items)
        return outcomes == [
            ("accepted", "issue", "audited"),
            ("accepted", "renew", "audited"),
            ("replay_detected", "issue", "audited"),
        ]

    await enforced.eventually(written, "three events of the tenant")
