"""The policy file changes under a running kernel."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

import httpx
import pytest
from cap.pb.cordum.agent.v1 import safety_pb2
from tests.integration.kernel.conftest import MakeKernel

from cordum.bus.connection import Bus
from cordum.core.policy.decision import Decision
from cordum.embedded.servers import Server
from cordum.rpc.kernel_client import KernelClient
from cordum.runtime.settings import NatsSettings, load

HttpGet = Callable[[str], Awaitable[httpx.Response]]
Connect = Callable[..., KernelClient]

ALLOW = "version: a\nrules: [{id: r, decision: allow}]\n"
DENY = "version: d\nrules: [{id: r, decision: deny}]\n"
ASKED = safety_pb2.PolicyCheckRequest(job_id="j", topic="job.x")


@pytest.mark.seed("S203")
async def test_a_new_policy_counts_within_the_interval_and_a_bad_one_never(
    make_kernel: MakeKernel, connect: Connect, http_get: HttpGet
) -> None:
    kernel = await make_kernel(policy=ALLOW).start()
    client = connect(kernel.address)
    first = await client.check(ASKED)
    assert first.decision is Decision.ALLOW

    kernel.policy.write_text(DENY)
    await kernel.logged("policy_loaded", 2)
    second = await client.check(ASKED)
    assert second.decision is Decision.DENY
    assert await client.snapshots() == (second.snapshot, first.snapshot)

    kernel.policy.write_text("version: x\nrules:\n  - {id: r, decision: alow}\n")
    rejected = await kernel.logged("policy_reload_failed")
    assert (rejected["level"], rejected["line"], rejected["column"]) == ("error", 3, 23)
    assert str(kernel.policy) in rejected["error"] and "error" in rejected["msg"]
    after = await client.check(ASKED)
    assert (after.decision, after.snapshot) == (Decision.DENY, second.snapshot)
    health = await http_get(f"{kernel.admin}/health")
    assert health.status_code == 200
    assert "alow" in str(health.json()["policy"])
    metrics = (await http_get(f"{kernel.admin}/metrics")).text
    assert "cordum_policy_stale 1.0" in metrics
    assert 'cordum_policy_load_failures_total{bundle="base",reason="invalid"} 1.0' in metrics

    kernel.policy.write_text(ALLOW)
    await kernel.logged("policy_loaded", 3)
    assert (await client.check(ASKED)).decision is Decision.ALLOW
    assert (await http_get(f"{kernel.admin}/metrics")).text.count("cordum_policy_stale 0.0") == 1


async def test_a_policy_that_vanishes_is_kept(make_kernel: MakeKernel, connect: Connect) -> None:
    kernel = await make_kernel(policy=ALLOW).start()
    client = connect(kernel.address)
    kernel.policy.unlink()
    assert (await kernel.logged("policy_reload_failed"))["reason"] == "missing"
    assert (await client.check(ASKED)).decision is Decision.ALLOW


async def test_a_policy_that_cannot_be_read_is_kept_and_read_again(make_kernel: MakeKernel, connect: Connect) -> None:
    kernel = await make_kernel(policy=ALLOW).start()
    kernel.policy.unlink()
    kernel.policy.mkdir()
    assert (await kernel.logged("policy_reload_failed"))["reason"] in ("unreadable", "missing")
    kernel.policy.rmdir()
    kernel.policy.write_text(ALLOW)
    await kernel.logged("policy_loaded", 2)
    assert (await connect(kernel.address).check(ASKED)).decision is Decision.ALLOW


async def test_a_signal_makes_the_kernel_look_at_once(make_kernel: MakeKernel, connect: Connect) -> None:
    kernel = make_kernel(policy=ALLOW, SAFETY_POLICY_RELOAD_INTERVAL="1h")
    await kernel.start()
    kernel.policy.write_text(DENY)
    kernel.hang_up()
    await kernel.logged("policy_loaded", 2)
    assert (await connect(kernel.address).check(ASKED)).decision is Decision.DENY


async def test_an_announced_change_is_looked_at_once(
    make_kernel: MakeKernel, connect: Connect, nats_server: Server
) -> None:
    kernel = make_kernel(policy=ALLOW, SAFETY_POLICY_RELOAD_INTERVAL="1h", NATS_URL=nats_server.url)
    await kernel.start()
    await kernel.logged("bus_connected")
    kernel.policy.write_text(DENY)
    bus = await Bus.connect(load(NatsSettings, {"NATS_URL": nats_server.url}))
    try:
        announced = 0
        while len([line for line in kernel.log if line.get("event") == "policy_loaded"]) < 2:
            assert announced < 100
            announced += 1
            await bus.publish_core("sys.config.changed", b"")
            await asyncio.sleep(0.05)
    finally:
        await bus.aclose()
    assert (await connect(kernel.address).check(ASKED)).decision is Decision.DENY


async def test_a_bus_that_is_away_is_no_reason_not_to_decide(
    make_kernel: MakeKernel, connect: Connect, free_port: Callable[[], int]
) -> None:
    kernel = await make_kernel(policy=ALLOW, NATS_URL=f"nats://127.0.0.1:{free_port()}").start()
    assert (await connect(kernel.address).check(ASKED)).decision is Decision.ALLOW
    assert await kernel.signal(signal.SIGTERM) == 0


async def test_a_policy_swapped_by_symlink_is_noticed(make_kernel: MakeKernel, connect: Connect) -> None:
    kernel = make_kernel(policy=None)
    versions = {name: kernel.policy.with_name(name) for name in ("one", "two")}
    versions["one"].write_text(ALLOW)
    versions["two"].write_text(DENY)
    kernel.policy.symlink_to("one")
    await kernel.start()
    fresh = kernel.policy.with_name("fresh")
    fresh.symlink_to("two")
    os.replace(fresh, kernel.policy)
    await kernel.logged("policy_loaded", 2)
    assert (await connect(kernel.address).check(ASKED)).decision is Decision.DENY
    assert await kernel.signal(signal.SIGTERM) == 0
