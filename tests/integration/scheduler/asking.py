"""Jobs and workers that ask for more than most: a priority, capabilities; and changes of the routing at run time."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from cap.pb.cordum.agent.v1 import job_pb2
from google.protobuf.json_format import MessageToJson
from tests.integration.scheduler.world import World

from cordum.bus import envelope, subjects
from cordum.core.ids import JobId, TenantId, Topic, TraceId, micros
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.store import NewJob


async def submit(
    world: World,
    name: str,
    *,
    topic: str = "job.work",
    tenant: str = "default",
    priority: "job_pb2.JobPriority.ValueType" = job_pb2.JOB_PRIORITY_INTERACTIVE,
    requires: tuple[str, ...] = (),
    labels: Mapping[str, str] | None = None,
) -> JobId:
    """Submits a job whose input is its name."""
    job_id = JobId(f"{name}-{time.time_ns()}")
    request = job_pb2.JobRequest(
        job_id=job_id,
        topic=topic,
        priority=priority,
        context_ptr=f"redis://ctx:{job_id}",
        tenant_id=tenant,
        labels=dict(labels or {}),
        meta=job_pb2.JobMetadata(tenant_id=tenant, requires=requires),
    )
    now = micros(time.time())
    record = JobRecord(
        id=job_id,
        state=JobState.PENDING,
        created_at=now,
        updated_at=now,
        topic=Topic(topic),
        tenant=TenantId(tenant),
        trace_id=TraceId(f"trace-{job_id}"),
        labels=dict(labels or {}),
        requires=requires,
    )
    body = b'"%s"' % name.encode()
    await world.store.jobs.create(NewJob(record=record, request=MessageToJson(request).encode(), context=body))
    await world.publish_submit(request)
    return job_id


async def heartbeat(world: World, worker_id: str, *capabilities: str, pool: str = "main", slots: int = 9) -> None:
    """One heartbeat of a worker that says what it can do."""
    packet = envelope.packet(worker_id, worker_id, time.time())
    packet.heartbeat.worker_id = worker_id
    packet.heartbeat.pool = pool
    packet.heartbeat.max_parallel_jobs = slots
    packet.heartbeat.capabilities.extend(capabilities)
    await world.bus.publish_core(subjects.HEARTBEAT, envelope.encode(packet))


async def change_config(world: World, scope: str, scope_id: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes a document as an operator does, and says so."""

    def changed(data: dict[str, Any]) -> dict[str, Any]:
        change(data)
        return data

    await world.store.configs.update(scope, scope_id, changed)
    packet = envelope.packet(subjects.GATEWAY_CONTROL_ID, "config", time.time())
    packet.alert.message = "config changed"
    packet.alert.level, packet.alert.component, packet.alert.code = "info", "gateway", "config_changed"
    await world.bus.publish_core(subjects.CONFIG_CHANGED, envelope.encode(packet))


async def change_pools(world: World, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes topics and pools."""
    await change_config(world, "system", "default", lambda data: change(data["pools"]))
