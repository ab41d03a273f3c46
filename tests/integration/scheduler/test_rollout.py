"""The staged rollout of the boundary checks and its rollback (guide section 5, S106), by settings alone, under load."""

import asyncio
import itertools
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
import pytest_asyncio
from tests.integration.scheduler import attested
from tests.integration.scheduler.world import Process, World

from cordum.core.ids import JobId
from cordum.core.jobs.states import JobState

SCHEMA = {"type": "object", "required": ["amount"]}
EVERY = 0.1
"""Seconds between two jobs of the stream."""


class Stream:
    """Jobs, one after the other, for as long as it runs; a submit that gets no answer is repeated as the same job."""

    def __init__(self) -> None:
        self.client = httpx.AsyncClient(trust_env=False, headers={"X-API-Key": attested.API_KEY}, timeout=10)
        self.url = ""
        self.jobs: list[JobId] = []
        self.held = asyncio.Event()
        self.held.set()
        self._numbers = itertools.count()

    async def submit(self, topic: str, context: Any) -> httpx.Response:
        key = f"stream-{next(self._numbers)}"
        body = {"prompt": "x", "topic": topic, "context": context, "idempotency_key": key}
        while True:
            await self.held.wait()
            try:
                answer = await self.client.post(f"{self.url}/api/v1/jobs", json=body)
            except httpx.HTTPError:
                await asyncio.sleep(0.02)
                continue
            if answer.status_code < 500:
                return answer

    async def run(self) -> None:
        while True:
            answer = await self.submit("job.work", {"amount": 1})
            assert answer.is_success, answer.text
            self.jobs.append(JobId(answer.json()["job_id"]))
            await asyncio.sleep(EVERY)


@pytest_asyncio.fixture
async def stream() -> AsyncIterator[Stream]:
    made = Stream()
    async with made.client:
        yield made


@pytest.mark.seed("S106")
async def test_the_checks_are_rolled_out_and_back_by_settings_and_no_job_is_lost(world: World, stream: Stream) -> None:
    ran = Counter[str]()

    def counting(name: str) -> Callable[[Any, Any], Awaitable[Any]]:
        async def work(context: Any, data: Any) -> Any:
            ran[context.job.job_id] += 1
            return {"by": name}

        return work

    world.pools["topics"]["job.quiet"] = "main"
    world.timeouts["topics"] = {topic: {"max_retries": 5} for topic in ("job.work", "job.other", "job.quiet")}
    world.write_files()
    stages = Stages(world, stream)
    await world.start_kernel()

    # Observe. Nobody has a credential, nothing is enforced, everything is said.
    await asyncio.gather(stages.scheduler(WORKER_ATTESTATION="warn"), stages.gateway("warn"))
    old = await attested.start_agent(world, "main-worker", "", {"job.work": counting("old")}, max_parallel=4)
    await attested.start_agent(world, "straggler", "", {"job.other": counting("straggler")}, pool="other")
    await stages.api("POST", "schemas", id="amounts", schema=SCHEMA)
    await stages.api("POST", "topics", name="job.work", pool="main", input_schema_id="amounts")
    streaming = asyncio.create_task(stream.run())
    await stages.some_more()
    odd = await stream.submit("job.work", {"nothing": 0})
    assert odd.is_success, "warned about, and accepted"
    assert stages.said("attestation failed") == {"main-worker", "straggler"}
    assert stages.gateway_said("schema_validation_failed") == 1

    # Converge. The worker gets its credential and is started with it.
    token = (await stages.api("POST", "workers/credentials", worker_id="main-worker", allowed_pools=["main"]))["token"]
    await old.close()
    await attested.start_agent(world, "main-worker", str(token), {"job.work": counting("new")}, max_parallel=4)
    standings = {"main-worker": "verified", "straggler": "auth_token_missing"}
    await world.eventually(stages.stand(standings), "the operator sees who is still to be converted", within=20)

    # Enforce.
    await asyncio.gather(
        stages.gateway("enforce"),
        stages.scheduler(WORKER_ATTESTATION="enforce", WORKER_READINESS_REQUIRED="true", SCHEMA_ENFORCEMENT="enforce"),
    )
    await stages.some_more()
    refused = await stream.submit("job.work", {"nothing": 0})
    assert (refused.status_code, refused.json()["code"]) == (400, "schema_validation_failed")
    stuck = JobId((await stream.submit("job.other", {})).json()["job_id"])
    quiet = await stages.api("POST", "workers/credentials", worker_id="quiet", allowed_topics=["job.quiet"])
    beating = asyncio.create_task(stages.beats("quiet", str(quiet["token"])))
    unready = await world.submit("job.quiet")
    await world.until(stuck, lambda now: now.pending_reason == "no_workers")
    await world.until(unready, lambda now: now.pending_reason == "no_workers")
    workers = (await stages.api("GET", "workers"))["items"]
    assert [worker["worker_id"] for worker in workers] == ["main-worker", "quiet"]
    assert stages.said("attestation failed") == {"straggler"}

    # Roll back in the order of the guide. Each step opens its own gate, and goes on telling what would be refused.
    await stages.scheduler(WORKER_ATTESTATION="enforce", SCHEMA_ENFORCEMENT="enforce")
    assert (await world.until(unready, JobState.RUNNING)).worker_id == "quiet", "no announcement is needed any more"
    await world.publish_result("quiet", unready, 4)
    assert not (await world.record(stuck)).state.is_terminal, "attestation is enforced still"
    await stages.scheduler(WORKER_ATTESTATION="warn", SCHEMA_ENFORCEMENT="enforce")
    assert (await world.until(stuck, JobState.SUCCEEDED)).worker_id == "straggler"
    await world.eventually(stages.only("straggler"), "it is still said")
    await asyncio.gather(stages.scheduler(WORKER_ATTESTATION="warn", SCHEMA_ENFORCEMENT="warn"), stages.gateway("warn"))
    assert (await stream.submit("job.work", {"nothing": 0})).is_success
    assert stages.gateway_said("schema_validation_failed") == 1
    await stages.some_more()

    for task in (streaming, beating):
        task.cancel()
    await asyncio.wait({streaming, beating})
    assert streaming.cancelled(), "no submit was refused on the way"
    records = await world.until_all_end(stream.jobs, within=30)
    assert Counter(record.state for record in records) == {JobState.SUCCEEDED: len(stream.jobs)}
    assert len(stream.jobs) > 20 and all(ran[job] >= 1 for job in stream.jobs)


class Stages:
    """The processes, replaced one by one with others that have other settings."""

    def __init__(self, world: World, stream: Stream) -> None:
        self._world = world
        self._stream = stream
        self._scheduler: Process | None = None
        self._gateway: Process | None = None

    async def scheduler(self, **env: str) -> None:
        if self._scheduler is not None:
            assert await self._scheduler.end(signal.SIGTERM) == 0
        self._scheduler = await self._world.start_scheduler(**env)

    async def gateway(self, schema_enforcement: str) -> None:
        if self._gateway is not None:
            self._stream.held.clear()
            assert await self._gateway.end(signal.SIGTERM) == 0
        self._gateway, self._stream.url = await attested.start_gateway(
            self._world, SCHEMA_ENFORCEMENT=schema_enforcement
        )
        self._stream.held.set()

    async def api(self, method: str, path: str, **body: object) -> dict[str, Any]:
        answer = await self._stream.client.request(method, f"{self._stream.url}/api/v1/{path}", json=body or None)
        assert answer.is_success, answer.text
        shown: dict[str, Any] = answer.json() if answer.content else {}
        return shown

    async def some_more(self, count: int = 3) -> None:
        """Until jobs submitted from now on have run."""
        already = len(self._stream.jobs)
        await self._world.eventually(lambda: self._has(already + count), "jobs are submitted", within=20)
        for job in self._stream.jobs[already:]:
            await self._world.until(job, JobState.SUCCEEDED)

    async def _has(self, count: int) -> bool:
        return len(self._stream.jobs) >= count

    def said(self, event: str) -> set[str]:
        """The workers the scheduler has complained about."""
        assert self._scheduler is not None
        return {str(line["worker_id"]) for line in self._scheduler.events(event)}

    def gateway_said(self, event: str) -> int:
        assert self._gateway is not None
        return len(self._gateway.events(event))

    def stand(self, wanted: dict[str, str]) -> Callable[[], Awaitable[bool]]:
        async def is_so() -> bool:
            listed = (await self.api("GET", "workers"))["items"]
            return {worker["worker_id"]: worker["attestation"] for worker in listed} == wanted

        return is_so

    def only(self, worker_id: str) -> Callable[[], Awaitable[bool]]:
        async def is_so() -> bool:
            return self.said("attestation failed") == {worker_id}

        return is_so

    async def beats(self, worker_id: str, token: str) -> None:
        """A worker that is nothing but its heartbeats."""
        while True:
            await attested.beat(self._world, worker_id, token=token)
            await asyncio.sleep(0.2)
