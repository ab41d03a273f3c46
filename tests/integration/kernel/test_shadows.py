"""Candidates beside the policy in force: they see the jobs of their tenant and decide nothing."""

import pytest_asyncio
from cap.pb.cordum.agent.v1 import safety_pb2
from tests.integration.kernel.conftest import Connect, KernelProcess, MakeKernel
from tests.support.processes import eventually

from cordum.core.ids import TenantId
from cordum.core.policy.decision import Decision
from cordum.embedded.servers import Server
from cordum.rpc.kernel_client import KernelClient
from cordum.store.shadows import Comparison, Shadow
from cordum.store.store import Store

ACME = TenantId("acme")
STRICTER = """
combine: deny_overrides
rules:
  - {id: no-mail, match: {topics: [job.mail]}, decision: deny, reason: no mail any more}
"""
SHADOW = Shadow(id="shadow-1", bundle_id="secops/mail", content=STRICTER)


@pytest_asyncio.fixture
async def kernel(make_kernel: MakeKernel, redis_server: Server, bundle_store: Store) -> KernelProcess:
    await bundle_store.shadows.put(ACME, SHADOW)
    return await make_kernel(REDIS_URL=redis_server.url).start()


def job(number: int, topic: str, tenant: str = "acme") -> safety_pb2.PolicyCheckRequest:
    return safety_pb2.PolicyCheckRequest(job_id=f"job-{number}", topic=topic, tenant=tenant)


async def compared(client: KernelClient, store: Store, count: int) -> list[Comparison]:
    """The comparisons, once there are `count`; the kernel may still be reading the shadow when it is first asked."""
    found: list[Comparison] = []
    asked = 0

    async def enough() -> bool:
        nonlocal asked, found
        asked += 1
        await client.check(job(asked, "job.mail" if asked % 2 else "job.other"))
        found = await store.shadows.results(ACME, SHADOW)
        return len(found) >= count

    await eventually(enough, f"{count} comparisons")
    return found


async def test_a_shadow_is_compared_and_decides_nothing(
    kernel: KernelProcess, connect: Connect, bundle_store: Store
) -> None:
    client = connect(kernel.address)
    found = await compared(client, bundle_store, 4)
    mail = next(item for item in found if item.topic == "job.mail")
    other = next(item for item in found if item.topic == "job.other")
    assert (mail.diff, mail.active_decision, mail.shadow_decision) == ("escalated", "ALLOW", "DENY")
    assert mail.shadow_rule_id == "no-mail"
    assert (other.diff, other.shadow_decision) == ("unchanged", "ALLOW")
    assert (await client.check(job(1, "job.mail"))).decision is Decision.ALLOW
    audited = await bundle_store.audit.page(ACME, lambda event: event.event_type == "shadow_eval", limit=10)
    assert {event.extra["diff"] for event in audited.items} == {"escalated"}


async def test_another_tenants_jobs_are_not_looked_at(
    kernel: KernelProcess, connect: Connect, bundle_store: Store
) -> None:
    client = connect(kernel.address)
    await compared(client, bundle_store, 1)
    await client.check(job(1000, "job.mail", "other"))
    found = await compared(client, bundle_store, 8)
    assert "job-1000" not in {item.job_id for item in found}


async def test_a_job_is_compared_once(kernel: KernelProcess, connect: Connect, bundle_store: Store) -> None:
    client = connect(kernel.address)
    await compared(client, bundle_store, 1)
    for _ in range(3):
        await client.check(job(1000, "job.mail"))
    found = await compared(client, bundle_store, 8)
    assert [item.job_id for item in found].count("job-1000") == 1


async def test_a_shadow_that_cannot_be_used_harms_nobody(
    make_kernel: MakeKernel, redis_server: Server, bundle_store: Store, connect: Connect
) -> None:
    await bundle_store.shadows.put(ACME, Shadow(id="shadow-2", bundle_id="secops/x", content="rules: nonsense"))
    await bundle_store.shadows.put(ACME, SHADOW)
    kernel = await make_kernel(REDIS_URL=redis_server.url).start()
    client = connect(kernel.address)
    await compared(client, bundle_store, 2)
    assert (await client.check(job(1, "job.mail"))).decision is Decision.ALLOW
    assert any(line.get("event") == "shadow_policy_unusable" for line in kernel.log)


async def test_the_switch_turns_it_off(
    make_kernel: MakeKernel, redis_server: Server, bundle_store: Store, connect: Connect
) -> None:
    await bundle_store.shadows.put(ACME, SHADOW)
    kernel = await make_kernel(REDIS_URL=redis_server.url, CORDUM_SHADOW_EVAL_DISABLED="true").start()
    client = connect(kernel.address)
    for number in range(5):
        await client.check(job(number, "job.mail"))
    assert await bundle_store.shadows.results(ACME, SHADOW) == []
