"""docs/guides/worker-trust.md, done as it is written, on the whole stack."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from cap.runtime import Agent
from cap.worker_trust import WorkerTrustConfig
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from tests.conftest import StartStack
from tests.integration.scheduler.world import Blobs
from tests.support.cordumctl import cordumctl

WITHIN = 20.0
"""Seconds each thing may take."""


def agent_of_the_guide(directory: Path, nats_url: str, redis_url: str) -> Agent:
    proof = load_pem_private_key((directory / "worker-7.key").read_bytes(), None)
    scheduler = load_pem_public_key((directory / "scheduler.pub").read_bytes())
    assert isinstance(proof, ec.EllipticCurvePrivateKey) and isinstance(scheduler, ec.EllipticCurvePublicKey)
    return Agent(
        nats_url=nats_url,
        store=Blobs(redis_url),
        worker_id="worker-7",
        pool="default",
        heartbeat_interval=0.3,
        worker_trust_mode="enforce",
        worker_trust=WorkerTrustConfig(
            worker_id="worker-7",
            expected_agent_id="billing",
            tenant_id="default",
            audience="cordum-scheduler",
            proof_key_id="proof-1",
            proof_private_key=proof,
            expected_scheduler_id="cordum-scheduler",
            scheduler_public_keys={"cordum-scheduler": scheduler},
            sdk_version="cap-python/2.17.0",
        ),
    )


async def test_the_guide_leads_to_a_stack_that_enforces(start_stack: StartStack, tmp_path: Path) -> None:
    async def run(*arguments: str, **env: str) -> str:
        result = await cordumctl(*arguments, cwd=tmp_path, env=env)
        assert result.code == 0, result.err
        return result.out

    await asyncio.gather(
        run("policy", "keygen", "--algorithm", "ed25519", "--out", "session.key"),
        run("policy", "keygen", "--algorithm", "p256", "--out", "scheduler.key"),
        run("policy", "keygen", "--algorithm", "p256", "--out", "worker-7.key"),
    )
    common = {
        "CORDUM_POLICY_SIGNING_KEY_PATH": str(tmp_path / "session.key"),
        "CORDUM_POLICY_SIGNING_KEY_ID": "release-1",
        "CORDUM_SDK_HANDSHAKE": "enforce",
    }
    trust = {
        "CORDUM_SCHEDULER_TRUST_KEY_PATH": str(tmp_path / "scheduler.key"),
        "CORDUM_SCHEDULER_TRUST_KEY_ID": "cordum-scheduler",
    }
    stack = await start_stack(service_env={"gateway": common, "scheduler": common | trust})
    connection = stack.worker_env
    register = ("worker", "credential", "create", "--worker-id", "worker-7", "--agent-id", "billing")
    await run(*register, "--proof-key", "proof-1=worker-7.pub", **connection)

    began, over = asyncio.Event(), asyncio.Event()
    agent = agent_of_the_guide(tmp_path, stack.nats_url, stack.redis_url)

    @agent.job("job.default")
    async def work(_context: Any, data: Any) -> Any:
        if isinstance(data, dict) and data.get("prompt") == "slow":
            began.set()
            await over.wait()
        return {"done": True}

    await agent.start()
    headers = {"X-API-Key": stack.secrets.admin_key, "X-Tenant-ID": "default"}
    async with httpx.AsyncClient(base_url=f"{stack.api_url}/api/v1", headers=headers, trust_env=False) as api:

        async def submit(prompt: str) -> str:
            answer = await api.post("/jobs", json={"topic": "job.default", "prompt": prompt})
            assert answer.status_code < 300, answer.text
            return str(answer.json()["job_id"])

        async def until(job_id: str, state: str) -> None:
            async with asyncio.timeout(WITHIN):
                while True:
                    if (await api.get(f"/jobs/{job_id}")).json()["state"] == state:
                        return
                    await asyncio.sleep(0.05)

        try:
            await until(await submit("quick"), "SUCCEEDED")
            slow = await submit("slow")
            await asyncio.wait_for(began.wait(), WITHIN)
            assert (await api.post(f"/jobs/{slow}/cancel")).status_code == 200
            await until(slow, "CANCELLED")
            over.set()
            await until(await submit("quick"), "SUCCEEDED")
            # The gateway's cancel was believed for its token.
            metrics = (await api.get(stack.metrics_url("scheduler"))).text
            assert 'cordum_worker_handshakes_total{outcome="accepted",purpose="issue"} 1.0' in metrics
            assert "cordum_worker_sessions_refused_total{" not in metrics

            await run("worker", "credential", "revoke", "--worker-id", "worker-7", **connection)
            async with asyncio.timeout(WITHIN):
                while "cordum_worker_sessions_refused_total{" not in metrics:
                    await asyncio.sleep(0.1)
                    metrics = (await api.get(stack.metrics_url("scheduler"))).text
        finally:
            over.set()
            await agent.close()


@pytest.mark.parametrize(
    "line", ["session_missing", "session_refused", "worker_handshake", "CORDUM_WORKER_SESSION_TTL"]
)
def test_the_guide_uses_the_words_of_the_program(line: str) -> None:
    root = Path(__file__).resolve().parents[3]
    assert line in (root / "docs/guides/worker-trust.md").read_text()
    assert any(line in path.read_text() for path in (root / "src").rglob("*.py"))
