"""A cancel is written down before it is made, and struck off once worker, schedulers and engines were told."""

import asyncio
import time

from tests.integration.gateway.conftest import STRANGER, World, eventually

from cordum.bus import CoreMessage, envelope, subjects
from cordum.core.ids import JobId, micros
from cordum.core.jobs.states import JobState
from cordum.embedded.servers import Server


async def submit(world: World) -> JobId:
    answer = await (await world.client()).post("/api/v1/jobs", json={"prompt": "hello", "topic": "job.default"})
    assert answer.status_code == 200, answer.text
    return JobId(answer.json()["job_id"])


async def untold(world: World) -> list[tuple[JobId, JobState]]:
    return await world.store.endings.untold(micros(time.time()), 10)


async def test_who_listens_is_told_and_nothing_is_left_to_tell(world: World) -> None:
    heard: list[str] = []

    async def hear(message: CoreMessage) -> None:
        heard.append(str(envelope.decode(message.data).WhichOneof("payload")))

    outside = await world.outside()
    for subject in (subjects.JOB_CANCEL, subjects.JOB_RESULT):
        await outside.subscribe(subject, hear)
    await outside.ping()
    job_id = await submit(world)

    answer = await (await world.client()).post(f"/api/v1/jobs/{job_id}/cancel")

    assert answer.json()["state"] == "CANCELLED"

    async def told() -> bool:
        return sorted(heard) == ["job_cancel", "job_result"]

    await eventually(told)
    assert await untold(world) == []
    again = await (await world.client()).post(f"/api/v1/jobs/{job_id}/cancel")
    assert again.json()["reason"] == "job already terminal"
    assert await untold(world) == []


async def test_without_nats_the_job_is_cancelled_and_a_scheduler_is_left_to_tell_it(
    world: World, nats_server: Server
) -> None:
    job_id = await submit(world)
    await nats_server.kill()

    answer = await (await world.client()).post(f"/api/v1/jobs/{job_id}/cancel")

    assert (answer.status_code, answer.json()["state"]) == (200, "CANCELLED")
    record = await world.store.jobs.get(job_id)
    assert record is not None and record.state is JobState.CANCELLED
    assert await untold(world) == [(job_id, JobState.CANCELLED)]
    await nats_server.restart()


async def test_another_tenant_cannot_cancel_it(world: World) -> None:
    job_id = await submit(world)
    answer = await (await world.client(STRANGER)).post(f"/api/v1/jobs/{job_id}/cancel")
    assert answer.status_code == 404
    record = await world.store.jobs.get(job_id)
    assert record is not None and record.state is JobState.PENDING
    assert await untold(world) == []


async def test_of_two_who_cancel_at_once_one_does(world: World) -> None:
    job_id = await submit(world)
    client = await world.client()
    answers = await asyncio.gather(*(client.post(f"/api/v1/jobs/{job_id}/cancel") for _ in range(4)))
    assert sum("reason" not in answer.json() for answer in answers) == 1
    assert {answer.json()["state"] for answer in answers} == {"CANCELLED"}
