"""`cordumctl doctor redis` tells a healthy installation from an ailing one (guide section 11b)."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support import redisd
from tests.support.redisd import RedisNode, Security

from cordum.embedded.options import clean_environment


async def doctor(env: dict[str, str], *options: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and the checks by name."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cordum.cli.main",
        "doctor",
        "redis",
        "--json",
        *options,
        env={**clean_environment(), **env},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    report: dict[str, Any] = json.loads(out) if out else {"error": err.decode()}
    return process.returncode, report | {check["check"]: check for check in report.get("checks", [])}


async def becomes(env: dict[str, str], code: int, *options: str) -> dict[str, Any]:
    """Asks until the exit code is this one, which may take as long as a cluster needs to notice something."""
    async with asyncio.timeout(30):
        while True:
            found, report = await doctor(env, *options)
            if found == code:
                return report
            await asyncio.sleep(0.2)


@pytest.mark.seed("S176")
async def test_a_cluster_loses_a_node(tmp_path: Path, redis_program: str) -> None:
    security = Security.make(tmp_path / "tls", mutual=True)
    async with redisd.cluster(tmp_path / "redis", redis_program, security) as site:
        code, report = await doctor(site.env, "--nodes", "6", "--masters", "3")
        assert code == 0, report
        assert (report["topology"], report["healthy"]) == ("cluster", True)
        assert report["slots"]["summary"] == "16384 served" and report["roles"]["summary"] == "3 primaries, 3 replicas"

        code, report = await doctor(site.env, "--nodes", "7")
        assert code == 1 and "not 7" in report["known nodes"]["details"][0]

        await half_moved(site.nodes[0], site.nodes[1])
        code, report = await doctor(site.env)
        assert code == 1
        assert {detail.partition(": ")[2] for detail in report["slots on the move"]["details"]} == {
            "slot 0 is migrating",
            "slot 0 is importing",
        }
        for node in site.nodes[:2]:
            await node.ask("CLUSTER", "SETSLOT", 0, "STABLE")
        assert (await doctor(site.env))[0] == 0

        await site.nodes[3].kill()
        report = await becomes(site.env, 1)
        assert site.nodes[3].address in report["nodes answer"]["details"][0]
        # Both the primary without its replica, and a state that is still ok: it serves, but nobody would take over.
        assert report["cluster state"]["outcome"] == "PASS"
        async with asyncio.timeout(30):
            while report["roles"]["outcome"] != "FAIL":
                _, report = await doctor(site.env)
        assert f"{site.nodes[0].address}: a primary without a replica" in report["roles"]["details"][0]
        assert "fail" in report["flags"]["details"][0]

        await site.nodes[0].kill()
        async with asyncio.timeout(30):
            while report["cluster state"]["outcome"] != "FAIL":
                _, report = await doctor(site.env)
        assert report["slots"]["outcome"] == "FAIL"

        stranger = {**site.env, "REDIS_TLS_CERT": "", "REDIS_TLS_KEY": ""}
        code, report = await doctor(stranger)
        assert code == 2 and len(report["nodes answer"]["details"]) == 6, "nobody answers one without a certificate"


async def half_moved(source: RedisNode, target: RedisNode) -> None:
    source_id, target_id = await source.ask("CLUSTER", "MYID"), await target.ask("CLUSTER", "MYID")
    await target.ask("CLUSTER", "SETSLOT", 0, "IMPORTING", source_id)
    await source.ask("CLUSTER", "SETSLOT", 0, "MIGRATING", target_id)


async def test_the_sentinels_and_a_single_server(tmp_path: Path, redis_program: str) -> None:
    security = Security.make(tmp_path / "tls", mutual=True)
    async with redisd.sentinel(tmp_path / "redis", redis_program, security) as site:
        code, report = await doctor(site.env)
        assert code == 0 and report["topology"] == "sentinel", report
        assert report["Sentinels agree"]["summary"] == "on the primary, with 2 replicas"
        alone = {name: value for name, value in site.env.items() if not name.startswith("REDIS_SENTINEL")}
        alone["REDIS_URL"] = f"rediss://:{redisd.PASSWORD}@{site.nodes[0].address}/0"
        code, report = await doctor(alone)
        assert code == 0 and report["role"]["summary"] == "primary with 2 replicas", report
        alone["REDIS_URL"] = f"rediss://:{redisd.PASSWORD}@{site.nodes[1].address}/0"
        code, report = await doctor(alone)
        assert code == 1 and "a replica, which takes no writes" in report["role"]["details"][0]
        await site.nodes[2].kill()
        report = await becomes(site.env, 1)
        await site.sentinels[0].kill()
        report = await becomes(site.env, 1)
        assert site.sentinels[0].address in report["Sentinels answer"]["details"][0]


async def test_settings_that_cannot_be_used() -> None:
    code, report = await doctor({"REDIS_URL": "http://nowhere", "PATH": os.environ["PATH"]})
    assert code == 2 and "REDIS_URL" in report["error"]
