"""Payloads against their topic's input schema before dispatch, with an unmodified agent as the worker (guide 5)."""

import asyncio
import json
from typing import Any

import pytest
from cap.pb.cordum.agent.v1 import job_pb2
from tests.integration.scheduler.world import Process, World, echo

from cordum.core.ids import JobId
from cordum.core.jobs.states import JobState
from cordum.runtime.clock import SystemClock
from cordum.services.gateway.config_changes import announce_change
from cordum.store import ConfigDoc

PAYMENT = {"type": "object", "required": ["amount"], "properties": {"amount": {"type": "integer"}}}
GOOD, BAD = {"prompt": "pay", "context": {"amount": 5}}, {"prompt": "pay", "context": {"amount": "much"}}


async def register(world: World, **schemas: str) -> None:
    """Names the input schemas of topics, `job_work="pay"`, tells everybody and waits until it is in force."""

    def change(data: dict[str, Any]) -> dict[str, Any]:
        for name, schema_id in schemas.items():
            topic = name.replace("_", ".")
            data[topic] = {**data.get(topic, {"name": topic}), "input_schema_id": schema_id}
        return data

    loaded = len(world.schedulers[-1].events("routing_loaded"))
    written: ConfigDoc = await world.store.configs.update("system", "topics", change)
    assert written.data
    await announce_change(world.bus, SystemClock(), "system", "topics")

    async def reloaded() -> bool:
        return len(world.schedulers[-1].events("routing_loaded")) > loaded

    await world.eventually(reloaded, "the topics are reloaded")


@pytest.mark.seed("S96", "S104")
async def test_enforced_no_job_runs_whose_payload_does_not_match(world: World) -> None:
    _, scheduler = await asyncio.gather(world.start_kernel(), world.start_scheduler(SCHEMA_ENFORCEMENT="enforce"))
    worked: list[Any] = []

    async def work(context: Any, data: Any) -> Any:
        worked.append(data)
        return await echo(context, data)

    await world.start_agent({"job.work": work, "job.single": work})
    await world.store.schemas.put("pay", json.dumps(PAYMENT).encode(), "")
    await register(world, job_work="pay", job_single="gone")

    good = await world.submit(context=GOOD)
    await world.until(good, JobState.SUCCEEDED)

    # Past the gateway, in the three shapes a payload has: under `context`, by itself, and not there at all.
    for context in (BAD, {"amount": None}, None):
        job_id = await world.submit(context=context if context is not None else {"prompt": "nothing else"})
        record = await world.until(job_id, JobState.FAILED)
        letter = await world.dead_letter(job_id)
        assert (letter.reason_code, letter.last_state) == ("schema_validation_failed", "PENDING")
        assert letter.reason == record.failure_reason and "the schema pay: $" in letter.reason
        assert "much" not in letter.reason
    plain = await world.submit(context={"amount": 3})
    await world.until(plain, JobState.SUCCEEDED)

    # Somebody else's pointer is followed to what the worker would read there.
    for content, state in (({"amount": 1}, JobState.SUCCEEDED), ({"amount": "x"}, JobState.FAILED)):
        job_id = JobId(f"direct-{state.value}")
        await world.redis_command("SET", f"ctx:elsewhere-{state.value}", json.dumps(content))
        await world.publish_submit(
            job_pb2.JobRequest(
                job_id=job_id, topic="job.work", tenant_id="default", context_ptr=f"redis://ctx:elsewhere-{state.value}"
            )
        )
        await world.until_exists(job_id)
        await world.until(job_id, state)
    assert len(worked) == 3

    missing = await world.submit("job.single", context=GOOD)
    assert (await world.until(missing, JobState.FAILED)).error_code == "schema_not_found"
    await world.store.schemas.put("gone", b'{"$ref": "https://example.com/none"}', "")
    await announce_change(world.bus, SystemClock(), "system", "schemas")

    async def seen_as_broken() -> bool:
        job_id = await world.submit("job.single", context=GOOD)
        return (await world.until(job_id, JobState.FAILED)).error_code == "schema_invalid"

    await world.eventually(seen_as_broken, "the new schema is read")

    lines = scheduler.events("schema_validation_failed")
    assert len(lines) == 4 and {line["topic"] for line in lines} == {"job.work"}
    assert {line["schema_id"] for line in lines} == {"pay"}
    assert all(line["msg"] == "schema_validation_failed" and "much" not in json.dumps(line) for line in lines)


async def test_by_default_a_payload_that_does_not_match_runs_and_is_logged(world: World, scheduler: Process) -> None:
    await world.start_agent({"job.work": echo, "job.single": echo})
    await world.store.schemas.put("pay", json.dumps(PAYMENT).encode(), "")
    await register(world, job_work="pay", job_single="gone")
    bad, missing = await world.submit(context=BAD), await world.submit("job.single", context=BAD)
    await world.until(bad, JobState.SUCCEEDED)
    await world.until(missing, JobState.SUCCEEDED)
    (line,) = scheduler.events("schema_validation_failed")
    assert (line["job_id"], line["topic"], line["schema_id"]) == (bad, "job.work", "pay")
    (line,) = scheduler.events("schema_not_found")
    assert (line["job_id"], line["schema_id"]) == (missing, "gone")
