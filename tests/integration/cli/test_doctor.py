"""cordumctl doctor boundary: the operator checks of the guide, on a real stack with a real worker (S104)."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.cordumctl import cordumctl

from cordum.embedded import demo
from cordum.embedded.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXAMPLE: dict[str, Any] = {"type": "object", "examples": [{"name": "Ada"}]}


def client(stack: Stack) -> httpx.AsyncClient:
    headers = {"X-API-Key": stack.secrets.admin_key}
    return httpx.AsyncClient(base_url=f"{stack.api_url}/api/v1", headers=headers, trust_env=False)


async def is_served(api: httpx.AsyncClient) -> bool:
    """Whether every topic that has a pool has a worker, in the schedulers' last snapshot."""
    topics = (await api.get("/topics")).json()["items"]
    counts = [topic["active_worker_count"] for topic in topics if topic["pool"]]
    return bool(counts) and all(counts)


@pytest.mark.seed("S104")
async def test_the_checks_fail_with_reasons_and_pass_once_all_is_mended(module_stack: Stack, tmp_path: Path) -> None:
    env = {"CORDUM_API_URL": module_stack.api_url, "CORDUM_API_KEY": module_stack.secrets.admin_key}
    await module_stack.add(demo.worker)
    async with client(module_stack) as api, asyncio.timeout(30):
        while not await is_served(api):  # noqa: ASYNC110 - the next snapshot is what we wait for
            await asyncio.sleep(0.05)
    log = tmp_path / "scheduler.log"
    log.write_text('{"event":"attestation failed","worker_id":"w9"}\n')

    bad = await cordumctl("doctor", "boundary", "--logs", str(log), "--expect-topic", "job.missing", "--json", env=env)

    assert bad.code == 1, bad.err
    by_check = {check["check"]: check for check in bad.json["checks"]}
    assert list(by_check) == ["topics", "degraded", "credentials", "refusals", "smoke"]
    outcomes = [check["outcome"] for check in by_check.values()]
    assert outcomes == ["FAIL", "PASS", "FAIL", "FAIL", "SKIP"], bad.out
    assert "job.missing: not registered" in by_check["topics"]["details"]
    assert any("demo-worker: no credential" in line for line in by_check["credentials"]["details"])
    assert by_check["refusals"]["details"] == ["attestation failed: 1 lines in the logs given"]

    async with client(module_stack) as api:
        assert (await api.post("/schemas", json={"id": "anything", "schema": EXAMPLE})).is_success
        for topic in (await api.get("/topics")).json()["items"]:
            if topic["name"].startswith("job.demo."):
                body = {"name": topic["name"], "input_schema_id": "anything", "output_schema_id": "anything"}
                assert (await api.post("/topics", json=body)).is_success
            elif topic["name"] not in ("sys.approval.gate", "job.cordum.approval-gate", "job.guard"):
                assert (await api.post("/topics", json={"name": topic["name"], "status": "disabled"})).is_success
        assert (await api.post("/workers/credentials", json={"worker_id": "demo-worker"})).is_success

    good = await cordumctl("doctor", "boundary", env=env)

    assert good.code == 0, good.out + good.err
    assert [line.split()[0] for line in good.out.splitlines() if not line.startswith(" ")] == [*["PASS"] * 4, "SKIP"]

    nobody = await cordumctl("doctor", "boundary", env={**env, "CORDUM_API_KEY": "wrong"})
    assert nobody.code == 2
