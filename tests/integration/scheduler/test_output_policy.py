"""The output policy from end to end: real kernel, real scheduler, workers of the SDK that leak what they must not."""

import asyncio
import signal
from typing import Any

import pytest
from tests.integration.scheduler.world import Process, World, echo

from cordum.core.ids import JobId
from cordum.core.jobs.states import JobState

SECRET = "AKIAABCDEFGHIJKLMNOP"
RULES = [
    {"id": "keys", "match": {"topics": ["job.other"], "scanners": ["secret"]}, "decision": "quarantine"},
    {
        "id": "words",
        "match": {"topics": ["job.single"], "content_patterns": ["project-[a-z]+"]},
        "decision": "redact",
        "reason": "no project names",
    },
    {
        "id": "no-errors",
        "match": {"topics": ["job.careful"], "has_error": True},
        "decision": "deny",
        "reason": "no errors",
    },
]


async def leak(_context: Any, data: Any) -> Any:
    return {"answer": data["prompt"]}


async def stumble(_context: Any, _data: Any) -> Any:
    raise RuntimeError("broken")


async def checked(world: World) -> Process:
    """A kernel with output rules and a scheduler that applies them."""
    world.policy["output_policy"] = {"enabled": True, "fail_mode": "closed"}
    world.policy["output_rules"] = RULES
    world.policy["rules"][1]["match"]["topics"] = ["job.cordum.*"]
    world.write_files()
    _, scheduler = await asyncio.gather(world.start_kernel(), world.start_scheduler(OUTPUT_POLICY_ENABLED="true"))
    return scheduler


async def seen_of(world: World, job_id: JobId) -> str:
    """All that is stored under keys of the job which somebody could be shown."""
    found = await asyncio.gather(
        world.redis_command("HGETALL", f"job:meta:{job_id}"),
        world.redis_command("GET", f"job:{job_id}:output_decision"),
        world.redis_command("GET", f"job:result_ptr:{job_id}"),
        world.redis_command("GET", f"dlq:entry:{job_id}"),
        world.redis_command("LRANGE", f"job:events:{job_id}", 0, -1),
    )
    return str(found)


@pytest.mark.seed("S75", "S77", "S189")
async def test_a_secret_in_a_result_is_never_to_be_read(world: World) -> None:
    scheduler = await checked(world)
    await world.start_agent({"job.other": leak}, pool="other")

    job_id = await world.submit("job.other", context={"prompt": f"the key is {SECRET}"})
    readable: list[bytes] = []
    record = await world.record(job_id)
    while not record.state.is_terminal:
        detail = await world.store.jobs.get_detail(job_id)
        assert detail is not None
        readable += [detail.result] if detail.result is not None else []
        record = detail.record
    letter = await world.dead_letter(job_id)

    assert record.state is JobState.OUTPUT_QUARANTINED and readable == []
    assert letter.reason.startswith("output_quarantined") and letter.reason_code == "output_quarantined"
    assert SECRET not in await seen_of(world, job_id)
    safety = record.output_safety
    assert safety is not None and (safety.rule_id, safety.decision) == ("keys", "QUARANTINE")
    assert safety.findings and safety.policy_snapshot == record.safety_snapshot
    for name in ("output_policy_quarantined", "output_denials", "output_policy_checked"):
        assert await scheduler.metric(f"cordum_{name}_total", topic="job.other") == 1
    held = "cordum_output_check_latency_seconds_count"
    assert await scheduler.metric(held, topic="job.other", phase="sync") == 1
    clean = await world.until(await world.submit("job.other", context={"prompt": "nothing"}), JobState.SUCCEEDED)
    assert clean.output_decision == "ALLOW" and clean.output_digest


@pytest.mark.seed("S77")
async def test_what_must_not_be_named_is_taken_out(world: World) -> None:
    scheduler = await checked(world)
    await world.start_agent({"job.single": leak})

    prompt = "project-x and project-y, again project-x"
    record = await world.until(await world.submit("job.single", context={"prompt": prompt}), JobState.SUCCEEDED)

    detail = await world.store.jobs.get_detail(record.id)
    assert detail is not None and detail.result == b'{"answer": "[REDACTED] and [REDACTED], again [REDACTED]"}'
    assert record.output_safety is not None and record.output_safety.redacted_ptr == record.result_ptr
    assert "project-x" not in await seen_of(world, record.id)
    assert await scheduler.metric("cordum_output_redactions_total", topic="job.single") == 1
    held = "cordum_output_check_latency_seconds_count"
    assert await scheduler.metric(held, topic="job.single", phase="sync_redact") == 1
    assert await scheduler.metric(held, topic="job.single", phase="sync") == 0


async def test_a_failure_can_be_quarantined_too(world: World) -> None:
    await checked(world)
    await world.start_agent({"job.careful": stumble})

    record = await world.until(await world.submit("job.careful"), JobState.OUTPUT_QUARANTINED)

    assert record.output_decision == "DENY"
    assert record.failure_reason == "output_quarantined: no errors"
    held = await world.store.outputs.held(record.id)
    assert held is not None and (held.state, held.message) == ("FAILED", "handler failed")


async def test_a_new_rule_holds_for_results_that_come_after_it(world: World) -> None:
    """The kernel takes the file by itself; the scheduler notices by the snapshot, or because it asks again."""
    scheduler = await checked(world)
    await world.start_agent({"job.work": leak})
    first = await world.until(await world.submit("job.work", context={"prompt": SECRET}), JobState.SUCCEEDED)
    assert first.output_decision in ("", "ALLOW")

    world.policy["output_rules"] = [{"id": "all", "match": {"scanners": ["secret"]}, "decision": "deny"}]
    world.write_files()
    world.kernel.send(signal.SIGHUP)

    async def loaded() -> bool:
        return len(world.kernel.events("policy_loaded")) > 1

    await world.eventually(loaded, "the kernel has the new policy")
    # Its own verdict names the new snapshot, so the result of this very job is checked, whatever was known before.
    second = await world.until(await world.submit("job.work", context={"prompt": SECRET}), JobState.OUTPUT_QUARANTINED)
    assert second.output_safety is not None and second.output_safety.rule_id == "all"
    assert scheduler.running


async def test_a_plain_job_is_not_asked_about(world: World) -> None:
    scheduler = await checked(world)
    await world.start_agent({"job.work": echo})

    async def settled() -> bool:
        record = await world.until(await world.submit("job.work"), JobState.SUCCEEDED)
        return record.output_decision == ""

    await world.eventually(settled, "the scheduler knows what the rules are about")
    before = await scheduler.metric("cordum_output_evaluations_total", topic="job.work")
    for _ in range(5):
        assert (await world.until(await world.submit("job.work"), JobState.SUCCEEDED)).output_decision == ""
    assert await scheduler.metric("cordum_output_evaluations_total", topic="job.work") == before
