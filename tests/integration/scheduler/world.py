"""A small world around schedulers: real NATS, Redis and kernel, the SDK's workers, and a submitter like the gateway."""

import asyncio
import functools
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec
import yaml
from cap.pb.cordum.agent.v1 import handshake_pb2, job_pb2
from cap.runtime import Agent
from google.protobuf.json_format import MessageToJson, Parse
from redis import asyncio as redis_client

import nats
from cordum.bus import Bus, envelope, subjects
from cordum.bus.messages import msg_id_submit
from cordum.core.ids import JobId, PrincipalId, TenantId, Topic, TraceId, micros
from cordum.core.jobs import approvals
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.embedded.ports import free_port
from cordum.embedded.servers import Server
from cordum.runtime.settings import NatsSettings, RedisSettings
from cordum.store import Applied, DeadLetter, NewJob, Store

POLICY: dict[str, Any] = {
    "version": "1",
    "default_tenant": "default",
    "default_decision": "deny",
    "rules": [
        {"id": "no", "match": {"topics": ["job.forbidden"]}, "decision": "deny", "reason": "not here"},
        {"id": "ask", "match": {"topics": ["job.careful", "job.cordum.*"]}, "decision": "require_approval"},
        {"id": "slow", "match": {"topics": ["job.slow"]}, "decision": "throttle"},
        {
            "id": "one-at-a-time",
            "match": {"topics": ["job.single"]},
            "decision": "allow_with_constraints",
            "constraints": {"budgets": {"max_concurrent_jobs": 1, "max_runtime_ms": 60000, "max_retries": 1}},
        },
        {"id": "rest", "match": {"topics": ["job.*"]}, "decision": "allow"},
    ],
}

POOLS: dict[str, Any] = {
    "topics": {
        "job.work": "main",
        "job.forbidden": "main",
        "job.careful": "main",
        "job.slow": "main",
        "job.single": "main",
        "job.other": "other",
    },
    "pools": {"main": {}, "other": {}},
}

TIMEOUTS: dict[str, Any] = {
    "reconciler": {"dispatch_timeout_seconds": 60, "running_timeout_seconds": 60, "scan_interval_seconds": 0.5}
}

_numbers = itertools.count(1)

Handler = Callable[[Any, Any], Awaitable[Any]]


class Process:
    """One service of ours, as a child process with its log in a file."""

    def __init__(self, name: str, module: str, env: Mapping[str, str], log: Path, ready_url: str) -> None:
        self.name = name
        self.log = log
        self.url = ready_url.rsplit("/", 1)[0]
        self._module = module
        self._env = dict(env)
        self._ready_url = ready_url
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self, within: float = 20.0) -> "Process":
        with self.log.open("ab") as out:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", self._module, env={**os.environ, **self._env}, stdout=out, stderr=out
            )
        deadline = time.monotonic() + within
        async with httpx.AsyncClient(trust_env=False) as client:
            while True:
                try:
                    if (await client.get(self._ready_url)).status_code == 200:
                        return self
                except httpx.HTTPError:
                    pass
                assert self.running, f"{self.name} ended at the start:\n{self.tail()}"
                assert time.monotonic() < deadline, f"{self.name} is not ready:\n{self.tail()}"
                await asyncio.sleep(0.02)

    async def end(self, number: signal.Signals, within: float = 20.0) -> int:
        """Sends a signal and waits for the end; the exit code."""
        assert self._process is not None
        self._process.send_signal(number)
        return await asyncio.wait_for(self._process.wait(), within)

    def send(self, number: signal.Signals) -> None:
        """Sends a signal and goes on."""
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        await self.end(signal.SIGKILL)

    async def aclose(self) -> None:
        if self._process is None:
            return
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def metric(self, name: str, **labels: str) -> float:
        """The value of one series; 0 when there is none."""
        wanted = sorted(f'{key}="{value}"' for key, value in labels.items())
        async with httpx.AsyncClient(trust_env=False) as client:
            text = (await client.get(f"{self.url}/metrics")).text
        for line in text.splitlines():
            if line.startswith("#"):
                continue
            series, _, value = line.rpartition(" ")
            found, _, rest = series.partition("{")
            if found == name and sorted(rest.rstrip("}").split(",")) == (wanted or [""]):
                return float(value)
        return 0.0

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text().splitlines()[-lines:])

    def events(self, event: str) -> list[dict[str, Any]]:
        """The log lines with this event."""
        found = []
        for line in self.log.read_text().splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            if entry.get("event") == event:
                found.append(entry)
        return found


class Blobs:
    """A blob store for agents, closed as redis-py wants it today."""

    def __init__(self, url: str) -> None:
        self._client = redis_client.from_url(url)

    async def get(self, key: str) -> bytes | None:
        value = await self._client.get(key)
        return value.encode() if isinstance(value, str) else value

    async def set(self, key: str, data: bytes) -> None:
        await self._client.set(key, data)

    async def close(self) -> None:
        await self._client.aclose()


class World:
    """Everything a scheduler meets."""

    def __init__(self, directory: Path, nats_server: Server, redis: Server) -> None:
        self.directory = directory
        self.nats = nats_server
        self.redis = redis
        self.policy: dict[str, Any] = json.loads(json.dumps(POLICY))
        self.pools: dict[str, Any] = json.loads(json.dumps(POOLS))
        self.timeouts: dict[str, Any] = json.loads(json.dumps(TIMEOUTS))
        self.kernel_port = free_port()
        self._processes: list[Process] = []
        self._agents: list[Agent] = []
        self._workers: list[asyncio.subprocess.Process] = []
        self.bus: Bus
        self.store: Store
        self.kernel: Process

    async def open(self) -> None:
        self.bus = await Bus.connect(NatsSettings.model_validate({"nats_url": self.nats.url}))
        await self.bus.ensure_streams()
        self.store = await Store.connect(RedisSettings.model_validate({"redis_url": self.redis.url}))
        self.write_files()

    async def aclose(self) -> None:
        for agent in self._agents:
            await agent.close()
        for worker in self._workers:
            if worker.returncode is None:
                worker.kill()
            await worker.wait()
        for process in self._processes:
            await process.aclose()
        await self.bus.aclose(grace=1.0)
        await self.store.aclose()

    def write_files(self) -> None:
        for name, content in (("safety", self.policy), ("pools", self.pools), ("timeouts", self.timeouts)):
            (self.directory / f"{name}.yaml").write_text(yaml.safe_dump(content))

    @property
    def schedulers(self) -> list[Process]:
        return [process for process in self._processes if process.name.startswith("scheduler")]

    # Services

    async def start_kernel(self) -> Process:
        admin = free_port()
        self.kernel = self.process(
            "kernel",
            "cordum.services.safety_kernel",
            {
                "SAFETY_KERNEL_ADDR": f"127.0.0.1:{self.kernel_port}",
                "SAFETY_KERNEL_ADMIN_ADDR": f"127.0.0.1:{admin}",
                "SAFETY_POLICY_PATH": str(self.directory / "safety.yaml"),
            },
            f"http://127.0.0.1:{admin}/readyz",
        )
        return await self.kernel.start()

    async def start_scheduler(self, **env: str) -> Process:
        port = free_port()
        name = f"scheduler-{next(_numbers)}"
        process = self.process(
            name,
            "cordum.services.scheduler",
            {
                "NATS_URL": self.nats.url,
                "REDIS_URL": self.redis.url,
                "SAFETY_KERNEL_ADDR": f"127.0.0.1:{self.kernel_port}",
                "SCHEDULER_METRICS_ADDR": f"127.0.0.1:{port}",
                "POOL_CONFIG_PATH": str(self.directory / "pools.yaml"),
                "TIMEOUT_CONFIG_PATH": str(self.directory / "timeouts.yaml"),
                "CORDUM_INSTANCE_ID": name,
                "SCHEDULER_WORKER_TTL": "2s",
                "WORKER_SNAPSHOT_INTERVAL": "1s",
                **env,
            },
            f"http://127.0.0.1:{port}/readyz",
        )
        return await process.start()

    def process(self, name: str, module: str, env: Mapping[str, str], ready_url: str) -> Process:
        process = Process(name, module, env, self.directory / f"{name}.log", ready_url)
        self._processes.append(process)
        return process

    # Workers

    async def start_agent(
        self,
        handlers: Mapping[str, Handler],
        *,
        worker_id: str = "",
        pool: str = "main",
        max_parallel: int = 1,
        heartbeat_interval: float = 0.3,
    ) -> Agent:
        """An agent of the CAP SDK as it is published, in this process."""
        agent = Agent(
            nats_url=self.nats.url,
            connect_fn=functools.partial(nats.connect, reconnect_time_wait=0.2),
            store=Blobs(self.redis.url),
            worker_id=worker_id or f"worker-{next(_numbers)}",
            pool=pool,
            max_parallel=max_parallel,
            heartbeat_interval=heartbeat_interval,
        )
        for topic, handler in handlers.items():
            agent.job(topic)(handler)
        await agent.start()
        self.adopt(agent)
        return agent

    def adopt(self, agent: Agent) -> None:
        """An agent that runs; it is closed with the world."""
        self._agents.append(agent)

    async def start_worker(
        self, topic: str, *, worker_id: str, pool: str = "main", max_parallel: int = 1, seconds: float = 0.0
    ) -> asyncio.subprocess.Process:
        """An agent in a process of its own, to be killed; every job takes `seconds`."""
        worker = await asyncio.create_subprocess_exec(
            sys.executable,
            str(Path(__file__).with_name("worker_process.py")),
            topic,
            worker_id,
            pool,
            str(max_parallel),
            str(seconds),
            env={**os.environ, "NATS_URL": self.nats.url, "REDIS_URL": self.redis.url},
            stdout=asyncio.subprocess.PIPE,
        )
        self._workers.append(worker)
        assert worker.stdout is not None
        assert await asyncio.wait_for(worker.stdout.readline(), 20) == b"ready\n"
        return worker

    async def heartbeat(self, worker_id: str, *, pool: str = "main", max_parallel: int = 1, active: int = 0) -> None:
        """One heartbeat of a worker that is nothing but its heartbeats."""
        packet = envelope.packet(worker_id, worker_id, time.time())
        packet.heartbeat.worker_id = worker_id
        packet.heartbeat.pool = pool
        packet.heartbeat.max_parallel_jobs = max_parallel
        packet.heartbeat.active_jobs = active
        await self.bus.publish_core(subjects.HEARTBEAT, envelope.encode(packet))

    async def keep_alive(self, worker_id: str, active: int = 0) -> None:
        """Heartbeats until cancelled."""
        while True:
            await self.heartbeat(worker_id, active=active)
            await asyncio.sleep(0.3)

    async def handshake(self, worker_id: str, topics: list[str]) -> None:
        packet = envelope.packet(worker_id, worker_id, time.time())
        packet.handshake.component_id = worker_id
        packet.handshake.role = handshake_pb2.COMPONENT_ROLE_WORKER
        packet.handshake.ready_topics.extend(topics)
        await self.bus.publish_core(subjects.HANDSHAKE, envelope.encode(packet))

    # Jobs

    async def submit(
        self,
        topic: str = "job.work",
        *,
        job_id: str = "",
        tenant: str = "default",
        labels: Mapping[str, str] | None = None,
        context: object = None,
        publish: bool = True,
        deadline_ms: int = 0,
        decided_as: JobRecord | None = None,
    ) -> JobId:
        """Submits a job as the gateway does: the record, with a decision if there is one, then the message."""
        number = next(_numbers)
        name = JobId(job_id or f"job-{number}-{time.time_ns()}")
        request = job_pb2.JobRequest(
            job_id=name,
            topic=topic,
            priority=job_pb2.JOB_PRIORITY_INTERACTIVE,
            context_ptr=f"redis://ctx:{name}",
            tenant_id=tenant,
            principal_id="tester",
            labels=dict(labels or {}),
            env={"tenant_id": tenant},
        )
        if deadline_ms:
            request.budget.deadline_ms = deadline_ms
        now = micros(time.time())
        record = JobRecord(
            id=name,
            state=JobState.PENDING,
            created_at=now,
            updated_at=now,
            topic=Topic(topic),
            tenant=TenantId(tenant),
            principal=PrincipalId("tester"),
            trace_id=TraceId(f"trace-{name}"),
            labels=dict(labels or {}),
            deadline_unix=micros(time.time() + deadline_ms / 1000) if deadline_ms else micros(0),
        )
        if decided_as is not None:
            record = msgspec.structs.replace(
                record,
                safety_decision=decided_as.safety_decision,
                safety_rule_id=decided_as.safety_rule_id,
                safety_snapshot=decided_as.safety_snapshot,
            )
        body = json.dumps({"prompt": "hello"} if context is None else context).encode()
        await self.store.jobs.create(NewJob(record=record, request=MessageToJson(request).encode(), context=body))
        if publish:
            await self.publish_submit(request)
        return name

    async def publish_submit(self, request: job_pb2.JobRequest, msg_id: str = "") -> None:
        packet = envelope.packet(subjects.GATEWAY_ID, f"trace-{request.job_id}", time.time())
        packet.job_request.CopyFrom(request)
        await self.bus.publish(
            subjects.JOB_SUBMIT, envelope.encode(packet), msg_id=msg_id or msg_id_submit(request.job_id)
        )

    async def publish_again(self, job_id: JobId) -> None:
        """Publishes a job's submit once more, as an approval or a clumsy client does."""
        stored = await self.store.jobs.request(job_id)
        assert stored is not None
        await self.publish_submit(Parse(stored, job_pb2.JobRequest()), msg_id=f"again:{next(_numbers)}")

    async def approve(self, job_id: JobId, *, publish: bool = True) -> None:
        """A person says yes, as the gateway records it."""
        record = await self.record(job_id)
        now = micros(time.time())
        change = approvals.approve(record, approvals.Resolution(by="boss", role="admin", at=now))
        assert isinstance(await self.store.jobs.apply(job_id, change, now=now, known=record), Applied)
        if publish:
            await self.publish_again(job_id)

    async def reject(self, job_id: JobId) -> None:
        """A person says no, and whoever was to tell it dies."""
        record = await self.record(job_id)
        now = micros(time.time())
        change = approvals.reject(record, approvals.Resolution(by="boss", role="admin", at=now))
        assert isinstance(await self.store.jobs.apply(job_id, change, now=now, known=record), Applied)

    async def publish_cancel(self, job_id: JobId) -> None:
        packet = envelope.packet(subjects.GATEWAY_CONTROL_ID, job_id, time.time())
        packet.job_cancel.job_id = job_id
        packet.job_cancel.requested_by = subjects.GATEWAY_CONTROL_ID
        await self.bus.publish(subjects.JOB_CANCEL, envelope.encode(packet))

    async def redis_command(self, *command: Any) -> Any:
        """One command, as Redis answers it."""
        client = redis_client.from_url(self.redis.url, decode_responses=True)
        try:
            return await client.execute_command(*command)  # type: ignore[no-untyped-call]
        finally:
            await client.aclose()

    async def eventually(self, true: Callable[[], Awaitable[bool]], what: str, within: float = 10.0) -> None:
        deadline = time.monotonic() + within
        while not await true():
            assert time.monotonic() < deadline, f"not within {within} s: {what}"
            await asyncio.sleep(0.02)

    async def locks(self, key: str) -> Any:
        return await self.redis_command("GET", key)

    async def publish_result(self, worker_id: str, job_id: str, status: int, *, dispatch_id: str = "") -> None:
        """A result as a worker sends it."""
        packet = envelope.packet(worker_id, f"trace-{job_id}", time.time())
        packet.job_result.job_id = job_id
        packet.job_result.status = status
        packet.job_result.worker_id = worker_id
        if dispatch_id:
            packet.job_result.dispatch.dispatch_id = dispatch_id
        await self.bus.publish(subjects.JOB_RESULT, envelope.encode(packet))

    async def record(self, job_id: JobId) -> JobRecord:
        record = await self.store.jobs.get(job_id)
        assert record is not None, f"there is no job {job_id}"
        return record

    async def until_exists(self, job_id: JobId, within: float = 10.0) -> None:
        deadline = time.monotonic() + within
        while await self.store.jobs.get(job_id) is None:
            assert time.monotonic() < deadline, f"there is no job {job_id}"
            await asyncio.sleep(0.02)

    async def until(
        self, job_id: JobId, true: Callable[[JobRecord], bool] | JobState, within: float = 15.0
    ) -> JobRecord:
        """The record once it is as wanted."""
        deadline = time.monotonic() + within
        while True:
            record = await self.record(job_id)
            if record.state is true if isinstance(true, JobState) else true(record):
                return record
            if time.monotonic() > deadline:
                logs = "\n".join(f"--- {process.name}\n{process.tail()}" for process in self._processes)
                raise AssertionError(f"within {within} s not as wanted: {record}\n{logs}")
            await asyncio.sleep(0.02)

    async def until_all_end(self, job_ids: Iterable[JobId], within: float = 60.0) -> list[JobRecord]:
        """The records of all these jobs once every one has ended."""
        ids = list(job_ids)
        deadline = time.monotonic() + within
        while True:
            records = await self.store.jobs.get_many(ids)
            if all(record is not None and record.state.is_terminal for record in records):
                return [record for record in records if record is not None]
            open_ones = [record for record in records if record is None or not record.state.is_terminal]
            assert time.monotonic() < deadline, f"{len(open_ones)} jobs have not ended, such as {open_ones[:3]}"
            await asyncio.sleep(0.05)

    async def dead_letter(self, job_id: JobId, tenant: str = "default", within: float = 10.0) -> DeadLetter:
        deadline = time.monotonic() + within
        while True:
            letter = await self.store.dead_letters.get(TenantId(tenant), job_id)
            if letter is not None:
                return letter
            assert time.monotonic() < deadline, f"no dead letter for {job_id}"
            await asyncio.sleep(0.02)

    async def terminal_events(self, job_id: JobId) -> list[str]:
        """The terminal states in the job's history."""
        states = [JobState(json.loads(event)["state"]) for event in await self.store.jobs.events(job_id)]
        return [state.value for state in states if state.is_terminal]


async def echo(_context: Any, data: Any) -> Any:
    """A handler that gives back what it gets."""
    return data
