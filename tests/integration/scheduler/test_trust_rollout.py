"""From `off` through `warn` to `enforce` by changing settings only, with attestation beside it."""

import asyncio
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.integration.scheduler.trusting import ByHand, Trust, heartbeat_packet
from tests.integration.scheduler.world import World, echo

from cordum.bus import subjects
from cordum.core.access.worker_tokens import SALT_BYTES, hash_token
from cordum.core.jobs.states import JobState
from cordum.embedded.servers import Server

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRUST = Trust()
TOKEN = secrets.token_hex(32)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bare(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """NATS, Redis and a kernel; each test starts its schedulers."""
    directory: Path = tmp_path_factory.mktemp("rollout")
    nats_server = Server("nats", directory / "nats", password=secrets.token_hex(16))
    redis = Server("redis", directory / "redis", password=secrets.token_hex(16))
    await asyncio.gather(nats_server.start(), redis.start())
    (directory / "world").mkdir()
    world = World(directory / "world", nats_server, redis)
    try:
        await world.open()
        await world.start_kernel()
        yield world
        await world.aclose()
    finally:
        await nats_server.aclose()
        await redis.aclose()


async def test_under_warn_old_workers_go_on_and_are_named_and_a_bad_token_is_dropped(bare: World) -> None:
    scheduler = await bare.start_scheduler(**TRUST.env("warn"))
    await TRUST.register(bare, "modern")
    old = await bare.start_agent({"job.other": echo}, worker_id="old", pool="other")
    modern = TRUST.agent(bare, {"job.work": echo}, worker_id="modern", mode="warn")
    await modern.start()
    try:
        jobs = [await bare.submit("job.other"), await bare.submit("job.work")]
        records = await bare.until_all_end(jobs)
        assert [(record.state, record.worker_id) for record in records] == [
            (JobState.SUCCEEDED, "old"),
            (JobState.SUCCEEDED, "modern"),
        ]
        named = [entry["worker_id"] for entry in scheduler.events("session_missing")]
        assert named == ["old"]
        name = "cordum_worker_sessions_refused_total"
        async with ByHand(bare, TRUST, "modern") as worker:
            await worker.publish(subjects.HEARTBEAT, heartbeat_packet("old", TRUST.forged("old")))

            async def dropped() -> bool:
                return await scheduler.metric(name, kind="heartbeat", reason="session_revoked") >= 1

            await bare.eventually(dropped, "the heartbeat with a bad token dropped")
    finally:
        await modern.close()
        await old.close()
        await scheduler.end(signal.SIGTERM)


async def test_credential_and_session_are_enforced_together(bare: World) -> None:
    token_hash = await asyncio.to_thread(hash_token, TOKEN, secrets.token_bytes(SALT_BYTES))
    await TRUST.register(bare, "both", token_hash=token_hash)
    await TRUST.register(bare, "half", token_hash=token_hash)
    scheduler = await bare.start_scheduler(
        **TRUST.env("enforce"), WORKER_ATTESTATION="enforce", WORKER_READINESS_REQUIRED="true"
    )
    both = TRUST.agent(bare, {"job.work": echo}, worker_id="both", credential=TOKEN)
    half = TRUST.agent(bare, {"job.other": echo}, worker_id="half")
    await asyncio.gather(both.start(), half.start())
    try:
        jobs = [await bare.submit("job.work") for _ in range(3)]
        records = await bare.until_all_end(jobs)
        assert {(record.state, record.worker_id) for record in records} == {(JobState.SUCCEEDED, "both")}

        async def refused() -> bool:
            return any(entry["worker_id"] == "half" for entry in scheduler.events("attestation failed"))

        await bare.eventually(refused, "the worker without its credential refused")
    finally:
        await asyncio.gather(both.close(), half.close())
        await scheduler.end(signal.SIGTERM)


@pytest.mark.parametrize(
    ("left_out", "said"),
    [
        ("CORDUM_POLICY_SIGNING_KEY", "CORDUM_POLICY_SIGNING_KEY: no Ed25519 key;"),
        ("CORDUM_SCHEDULER_TRUST_KEY", "CORDUM_SCHEDULER_TRUST_KEY: not set;"),
    ],
)
async def test_enforcing_without_keys_is_refused_in_one_line(left_out: str, said: str) -> None:
    env = TRUST.env("enforce")
    del env[left_out]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cordum.services.scheduler", env=env, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await asyncio.wait_for(process.communicate(), 30)
    lines = errors.decode().splitlines()
    assert process.returncode == 2
    assert len(lines) == 1 and lines[0].startswith(f"cordum-scheduler: {said}"), lines
