"""A real stack with workers, reached through public interfaces only: HTTP, NATS, `/metrics`, signals, log files."""

import asyncio
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from cap.pb.cordum.agent.v1 import buspacket_pb2
from nats.aio.client import Client as Nats
from nats.js import JetStreamContext
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff

import nats
from cordum.embedded.child import Recipe
from cordum.embedded.datadir import DataDir
from cordum.embedded.keeper import Event, Phase
from cordum.embedded.stack import Options, Stack

ECHO, HANG, UNTIL = "job.acc.echo", "job.acc.hang", "job.acc.until"
WORKER_TTL = 2.0
SCAN_INTERVAL = 1.0
ACK_WAIT = 3.0
RUNNING_TIMEOUT = 12.0
ENDED = frozenset({"SUCCEEDED", "FAILED", "CANCELLED", "TIMEOUT", "DENIED", "OUTPUT_QUARANTINED"})

POLICY = """
version: "1"
default_tenant: default
default_decision: deny
rules:
  - id: never
    match: {risk_tags: [destructive]}
    decision: deny
    reason: this is never done
  - id: ask
    match: {topics: ["job.*"], risk_tags: [payment]}
    decision: require_approval
    reason: a second person has to agree
  - id: work
    match: {topics: ["job.acc.*"]}
    decision: allow
"""
POOLS = f"""
topics: {{{ECHO}: default, {HANG}: default, {UNTIL}: default}}
pools: {{default: {{description: everybody}}}}
"""
TIMEOUTS = f"""
reconciler:
  dispatch_timeout_seconds: 4
  running_timeout_seconds: {RUNNING_TIMEOUT:g}
  scan_interval_seconds: {SCAN_INTERVAL:g}
topics:
  {HANG}: {{max_retries: 1}}
"""
QUICK = {
    "SCHEDULER_WORKER_TTL": f"{WORKER_TTL:g}s",
    "WORKER_SNAPSHOT_INTERVAL": "500ms",
    # What a killed process had in hand comes back after this long; a minute by default.
    "NATS_JS_ACK_WAIT": f"{ACK_WAIT:g}s",
}
NO_RATE_LIMITS = {f"API_{public}RATE_LIMIT_{what}": "100000" for public in ("", "PUBLIC_") for what in ("RPS", "BURST")}

Json = dict[str, Any]
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Rig:
    """A stack that runs, and whoever uses it."""

    def __init__(self, stack: Stack, events: list[Event], redis: "Redis", bus: Nats) -> None:
        self.stack = stack
        self.events = events
        self.redis = redis
        """The test's own look at the store: `job:events:<id>` and the like are documented keys."""
        self.bus = bus
        self.jetstream: JetStreamContext = bus.jetstream(timeout=10)
        self._lasting = list(stack.parts)
        self._clients: dict[tuple[str, str], httpx.AsyncClient] = {}

    # HTTP

    def client(self, part: str = "gateway", key: str = "") -> httpx.AsyncClient:
        """A client of one gateway with the administrator's key, or another."""
        key = key or self.stack.secrets.admin_key
        if (part, key) not in self._clients:
            self._clients[part, key] = httpx.AsyncClient(
                base_url=self.stack.api_url_of(part),
                headers={"X-API-Key": key},
                timeout=httpx.Timeout(15, connect=5),
                limits=httpx.Limits(max_connections=64),
                trust_env=False,
            )
        return self._clients[part, key]

    @property
    def approver(self) -> httpx.AsyncClient:
        return self.client(key=self.stack.secrets.approver_key)

    async def submit(self, prompt: str = "hello", topic: str = ECHO, part: str = "gateway", **more: Any) -> str:
        """Submits one job that must be accepted; gives its id."""
        answer = await self.client(part).post("/api/v1/jobs", json={"prompt": prompt, "topic": topic, **more})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["job_id"])

    async def job(self, job_id: str, wait: float = 0.0, part: str = "gateway") -> Json:
        """The job, once it has ended when `wait` says so."""
        query = f"?wait={wait:g}s" if wait else ""
        answer = await self.client(part).get(f"/api/v1/jobs/{job_id}{query}", timeout=wait + 10)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def jobs(self, **query: str) -> dict[str, Json]:
        """Every job the API lists, by id."""
        found: dict[str, Json] = {}
        cursor: object = None
        for _ in range(200):
            asked = {"limit": "200", **query, **({"cursor": str(cursor)} if cursor else {})}
            answer = await self.client().get("/api/v1/jobs", params=asked)
            assert answer.status_code == 200, answer.text
            page = answer.json()
            found |= {item["id"]: item for item in page["items"]}
            cursor = page.get("next_cursor")
            if not cursor:
                return found
        raise AssertionError("the list of jobs has no end")

    async def workers_online(self, *ids: str, within: float = 15.0) -> None:
        """Waits until the fleet has these workers, and the schedulers have heard of them."""

        async def there() -> bool:
            answer = await self.client().get("/api/v1/workers")
            items = {item["worker_id"]: item for item in answer.json().get("items", [])}
            return all(items.get(name, {}).get("online") for name in ids)

        await comes_true(there, f"workers {ids} online", within)

    # Metrics and logs

    async def metrics(self, part: str) -> Samples:
        """What a part exposes now."""
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            text = (await client.get(self.stack.metrics_url(part))).text
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    # Parts

    async def add_worker(self, name: str, **env: str) -> None:
        """Starts a worker as one more child of the stack, looked after like the others."""

        async def started() -> bool:
            return True

        def recipe(stack: Stack) -> Recipe:
            return Recipe(
                name=name,
                command=[sys.executable, "-P", str(Path(__file__).with_name("agent.py"))],
                env={**stack.base_env, **stack.worker_env, "PYTHONUNBUFFERED": "1", "WORKER_ID": name, **env},
                probe=started,
                log_file=stack.data_dir.log_file(name),
                directory=stack.data_dir.path,
                grace=5.0,
            )

        await self.stack.add(recipe)

    async def renew(self, *workers: str) -> None:
        """Restarts workers. After Redis was away, the SDK fails one job for each connection its client had kept."""
        back = {name: asyncio.Event() for name in workers}

        async def hear(message: Any) -> None:
            sender = buspacket_pb2.BusPacket.FromString(message.data).sender_id
            if sender in back:
                back[sender].set()

        # A worker shakes hands once it listens for jobs.
        handshakes = await self.bus.subscribe("sys.handshake", cb=hear)
        await self.bus.flush()
        try:
            await asyncio.gather(*(self.stack.restart(name) for name in workers))
            async with asyncio.timeout(15):
                await asyncio.gather(*(event.wait() for event in back.values()))
        finally:
            await handshakes.unsubscribe()
        await self.workers_online(*workers)

    async def runs(self, *workers: str) -> Counter[str]:
        """How often each job was run by these workers."""
        found: Counter[str] = Counter()
        for name in workers:
            text = await asyncio.to_thread(self.stack.data_dir.log_file(name).read_text)
            found.update(re.findall(r"^ran (\S+)", text, re.MULTILINE))
        return found

    def exits(self, part: str, since: int) -> list[str]:
        """How a part ended by itself since the event of this number: `exit code 0`, `SIGKILL`."""
        return [
            event.detail.partition(";")[0]
            for event in self.events[since:]
            if event.part == part and event.phase is Phase.ENDED
        ]

    async def everything_is_ready(self, within: float = 30.0) -> None:
        """Waits until every part is up, so that one test's fault is over before the next begins."""
        for part in self._lasting:
            await self.stack.wait_ready(part, within)
        await comes_true(self._gateways_ready, "every gateway ready", within)

    async def _gateways_ready(self) -> bool:
        for part in self._lasting:
            if part.startswith("gateway"):
                try:
                    answer = await self.client(part).get("/readyz")
                except httpx.TransportError:
                    return False
                if answer.status_code != 200:
                    return False
        return True

    async def messages(self, stream: str, subject: str, since: int = 1) -> list[tuple[str, bytes]]:
        """What a stream holds of a subject from a sequence on: subject and data, oldest first."""
        found: list[tuple[str, bytes]] = []
        reader = await self.jetstream.pull_subscribe(
            subject,
            stream=stream,
            config=nats.js.api.ConsumerConfig(
                ack_policy=nats.js.api.AckPolicy.NONE,
                deliver_policy=nats.js.api.DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=since,
            ),
        )
        try:
            left = (await reader.consumer_info()).num_pending or 0
            while left > 0:
                batch = await reader.fetch(min(left, 500), timeout=5)
                found += [(message.subject, message.data) for message in batch]
                left -= len(batch)
        finally:
            await reader.unsubscribe()
        return found

    async def last_seq(self, stream: str) -> int:
        return (await self.jetstream.stream_info(stream)).state.last_seq

    async def aclose(self) -> None:
        for client in self._clients.values():
            await client.aclose()


@asynccontextmanager
async def rig(
    directory: Path,
    *,
    workers: int = 2,
    replicas: Mapping[str, int] | None = None,
    service_env: Mapping[str, Mapping[str, str]] | None = None,
    fixed_ports: Mapping[str, int] | None = None,
) -> AsyncIterator[Rig]:
    """Starts a stack with `workers` workers, all online, and ends everything afterwards."""
    data = DataDir(directory)
    data.config.mkdir(parents=True, exist_ok=True)
    for name, text in (("safety.yaml", POLICY), ("pools.yaml", POOLS), ("timeouts.yaml", TIMEOUTS)):
        (data.config / name).write_text(text)
    given = service_env or {}
    env = {
        "scheduler": {**QUICK, **given.get("scheduler", {})},
        "gateway": {**QUICK, **NO_RATE_LIMITS, **given.get("gateway", {})},
        **{name: dict(values) for name, values in given.items() if name not in ("scheduler", "gateway")},
    }
    events: list[Event] = []
    options = Options(default_ports=False, replicas=replicas or {}, service_env=env, fixed_ports=fixed_ports or {})
    async with Stack(data, options, events.append) as stack:
        bus = await nats.connect(stack.nats_url, max_reconnect_attempts=-1, reconnect_time_wait=0.1, error_cb=_quiet)
        redis = Redis.from_url(stack.redis_url, decode_responses=True, retry=Retry(ConstantBackoff(0.2), 20))
        made = Rig(stack, events, redis, bus)
        try:
            names = [f"worker-{number}" for number in range(1, workers + 1)]
            for name in names:
                await made.add_worker(name)
            await made.workers_online(*names)
            yield made
        finally:
            await made.aclose()
            await redis.aclose()
            await bus.close()


async def _quiet(error: Exception) -> None:
    """Losing the server is what these tests are about."""


async def comes_true(ask: Callable[[], Awaitable[bool]], what: str, within: float = 15.0) -> float:
    """Waits until `ask()` answers yes, and says after how many seconds; fails when `within` pass first."""
    began = time.monotonic()
    while not await ask():
        assert time.monotonic() - began < within, f"not within {within:g} s: {what}"
        await asyncio.sleep(0.02)
    return time.monotonic() - began


def delta(before: Samples, after: Samples, name: str, **labels: str) -> float:
    """By how much the samples of this name that carry these labels have risen."""
    wanted = set(labels.items())

    def total(samples: Samples) -> float:
        return sum(value for (known, having), value in samples.items() if known == name and wanted <= having)

    return total(after) - total(before)
