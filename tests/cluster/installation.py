"""A production installation on loopback: the real processes with the environment an operator gives them.

`CORDUM_ENV=production` throughout: TLS to Redis, to NATS, to the kernel and to clients, a signed policy, strong keys.
"""

import asyncio
import contextlib
import re
import ssl
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from prometheus_client.parser import text_string_to_metric_families
from tests.support.daemon import Daemon, own_port
from tests.support.nats_site import NatsSite
from tests.support.redisd import RedisSite, Security

from cordum.embedded.errors import StartError
from cordum.embedded.options import clean_environment
from cordum.embedded.probes import http_ready
from cordum.embedded.services import GATEWAY, KERNEL, SCHEDULER, SERVICES

HOST = "127.0.0.1"
TOPIC = "job.cluster.echo"
API_KEY = "q7Jd02mX9qLw4TzRb81vNcYe5HsGa3Uf"
SCAN_INTERVAL = 2.0
"""Seconds between two looks of the loops that one scheduler runs; their leases last twice as long."""
ENDED = frozenset({"SUCCEEDED", "FAILED", "CANCELLED", "TIMEOUT", "DENIED", "OUTPUT_QUARANTINED"})

POLICY = f"""
version: "1"
default_tenant: default
default_decision: deny
rules:
  - id: work
    match: {{topics: ["{TOPIC}"]}}
    decision: allow
"""
POOLS = f"topics: {{{TOPIC}: default}}\npools: {{default: {{description: everybody}}}}\n"
TIMEOUTS = f"""
reconciler:
  dispatch_timeout_seconds: 6
  running_timeout_seconds: 60
  scan_interval_seconds: {SCAN_INTERVAL:g}
"""
QUICK = {
    "NATS_JS_ACK_WAIT": "5s",
    # Heartbeats pause while their NATS server is replaced.
    "SCHEDULER_WORKER_TTL": "15s",
    "WORKER_SNAPSHOT_INTERVAL": "500ms",
    **{f"API_{public}RATE_LIMIT_{what}": "100000" for public in ("", "PUBLIC_") for what in ("RPS", "BURST")},
}


@dataclass
class Installation:
    """What runs, and how it is reached."""

    redis: RedisSite
    nats: NatsSite
    gateway_url: str
    http: httpx.AsyncClient
    parts: dict[str, Daemon] = field(default_factory=dict)
    metrics_ports: dict[str, int] = field(default_factory=dict)

    env: dict[str, str] = field(default_factory=dict)
    """What every service is told."""

    async def start_another_scheduler(self, directory: Path, change: Mapping[str, str]) -> tuple[int | None, str]:
        """Starts a scheduler with other settings, which is to end by itself; its exit code and its log."""
        addresses = {"SCHEDULER_METRICS_ADDR": f"{HOST}:{own_port()}", "CORDUM_INSTANCE_ID": "another"}

        async def never() -> bool:
            return False

        env = {**self.env, **addresses, **change}
        part = Daemon("another", directory, SERVICES[SCHEDULER].command(), env=env, probe=never, ready_within=40.0)
        try:
            with contextlib.suppress(StartError):
                await part.start()
            return part.returncode, await asyncio.to_thread(part.log.read_text)
        finally:
            await part.aclose()

    @property
    def schedulers(self) -> list[str]:
        return [name for name in self.parts if name.startswith(SCHEDULER)]

    async def metrics(self, part: str, name: str, **labels: str) -> float:
        """The sum of a metric of one part."""
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            text = (await client.get(f"http://{HOST}:{self.metrics_ports[part]}/metrics")).text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    async def workers_online(self, *names: str, within: float = 30.0) -> None:
        """Waits until the fleet has these workers."""
        began = time.monotonic()
        while True:
            answer = await self.http.get("/api/v1/workers")
            online = {item["worker_id"] for item in answer.json().get("items", []) if item["online"]}
            if online >= set(names):
                return
            assert time.monotonic() - began < within, (names, answer.text)
            await asyncio.sleep(0.1)

    def runs(self) -> Counter[str]:
        """How often the workers have run each job."""
        found: Counter[str] = Counter()
        for name, part in self.parts.items():
            if name.startswith("worker"):
                found.update(re.findall(r"^ran (\S+)", part.log.read_text(), re.MULTILINE))
        return found

    async def everything_is_ready(self, within: float = 40.0) -> None:
        """Waits until every service says it is."""
        began = time.monotonic()
        while True:
            try:
                if (await self.http.get("/readyz")).status_code == 200:
                    ready = [await http_ready(self.metrics_ports[part]) for part in self.schedulers]
                    if all(ready):
                        return
            except httpx.TransportError:
                pass
            assert time.monotonic() - began < within, "not ready again"
            await asyncio.sleep(0.1)


class Builder:
    """Starts the parts, one after the other of what needs it."""

    def __init__(self, directory: Path, redis: RedisSite, nats: NatsSite, stack: AsyncExitStack) -> None:
        self._directory = directory
        self._stack = stack
        self.security = redis.security
        self._made = Installation(redis, nats, "", httpx.AsyncClient())
        self._kernel = f"{HOST}:{own_port()}"
        self._config = directory / "config"
        public = self._write_config()
        cert, key = self.security.server
        client_cert, client_key = self.security.client
        self._env = {
            **clean_environment(),
            **redis.env,
            **nats.env,
            **QUICK,
            "CORDUM_ENV": "production",
            "PYTHONUNBUFFERED": "1",
            "SAFETY_KERNEL_ADDR": self._kernel,
            "SAFETY_KERNEL_TLS_CA": self.security.authority.ca,
            "SAFETY_KERNEL_TLS_CLIENT_CERT": client_cert,
            "SAFETY_KERNEL_TLS_CLIENT_KEY": client_key,
            "POOL_CONFIG_PATH": str(self._config / "pools.yaml"),
            "TIMEOUT_CONFIG_PATH": str(self._config / "timeouts.yaml"),
            "CORDUM_API_KEYS": f"default:{API_KEY}:admin",
        }
        self._only = {
            KERNEL: {
                "SAFETY_KERNEL_TLS_CERT": cert,
                "SAFETY_KERNEL_TLS_KEY": key,
                "SAFETY_KERNEL_TLS_CLIENT_CA": self.security.authority.ca,
                "SAFETY_POLICY_PATH": str(self._config / "safety.yaml"),
                "SAFETY_POLICY_PUBLIC_KEY": public,
            },
            GATEWAY: {
                "GATEWAY_HTTP_TLS_CERT": cert,
                "GATEWAY_HTTP_TLS_KEY": key,
                "GRPC_TLS_CERT": cert,
                "GRPC_TLS_KEY": key,
            },
            SCHEDULER: {},
        }

    def _write_config(self) -> str:
        """The three files, the policy signed; gives the public key."""
        self._config.mkdir(parents=True)
        for name, text in (("safety.yaml", POLICY), ("pools.yaml", POOLS), ("timeouts.yaml", TIMEOUTS)):
            (self._config / name).write_text(text)
        key = ed25519.Ed25519PrivateKey.generate()
        (self._config / "safety.yaml.sig").write_bytes(key.sign(POLICY.encode()))
        return key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw).hex()

    async def start(self, schedulers: int, workers: int, more: Mapping[str, str]) -> Installation:
        self._env |= more
        made = self._made
        made.env = self._env
        await self._service(KERNEL, KERNEL)
        await self._service(GATEWAY, GATEWAY)
        await asyncio.gather(*(self._service(SCHEDULER, f"scheduler-{number}") for number in range(schedulers)))
        names = [f"worker-{number}" for number in range(workers)]
        await asyncio.gather(*(self._worker(name, more) for name in names))
        await made.workers_online(*names)
        return made

    async def _service(self, service: str, name: str) -> None:
        kind = SERVICES[service]
        ports = {item.purpose: own_port() for item in kind.listeners}
        addresses = {item.variable: f"{HOST}:{ports[item.purpose]}" for item in kind.listeners}
        if service == KERNEL:
            addresses["SAFETY_KERNEL_ADDR"] = self._kernel
        if service == GATEWAY:
            await self._reach_gateway(f"https://localhost:{ports['http']}")
        ready_at = ports[kind.ready_at]

        async def ready() -> bool:
            if service != GATEWAY:
                return await http_ready(ready_at)
            try:
                return (await self._made.http.get("/readyz")).status_code == 200
            except httpx.TransportError:
                return False

        env = {**self._env, **self._only[service], **addresses, "CORDUM_INSTANCE_ID": name}
        self._made.metrics_ports[name] = ports.get("metrics", ports.get("admin", 0))
        await self._run(name, kind.command(), env, ready)

    async def _worker(self, name: str, more: Mapping[str, str]) -> None:
        async def started() -> bool:
            return True

        env = {
            **clean_environment(),
            **self._made.redis.env,
            **self._made.nats.env,
            **more,
            "WORKER_ID": name,
            "PYTHONUNBUFFERED": "1",
        }
        await self._run(name, [sys.executable, "-P", str(Path(__file__).with_name("agent.py"))], env, started)

    async def _run(self, name: str, command: list[str], env: dict[str, str], probe: Any) -> None:
        part = Daemon(name, self._directory / name, command, env=env, probe=probe, ready_within=60.0)
        self._stack.push_async_callback(part.aclose)
        await part.start()
        self._made.parts[name] = part

    async def _reach_gateway(self, url: str) -> None:
        await self._made.http.aclose()

        self._made.gateway_url = url
        self._made.http = await self._stack.enter_async_context(
            httpx.AsyncClient(
                base_url=url,
                headers={"X-API-Key": API_KEY, "X-Tenant-ID": "default"},
                verify=ssl.create_default_context(cafile=self.security.authority.ca),
                timeout=httpx.Timeout(15, connect=5),
                limits=httpx.Limits(max_connections=64),
                trust_env=False,
            )
        )


@asynccontextmanager
async def installed(
    directory: Path,
    redis: RedisSite,
    nats: NatsSite,
    *,
    schedulers: int = 2,
    workers: int = 2,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[Installation]:
    """Starts everything but the servers, and ends it. `env` goes to every service and worker."""
    async with AsyncExitStack() as stack:
        yield await Builder(directory, redis, nats, stack).start(schedulers, workers, env or {})


__all__ = ["ENDED", "TOPIC", "Installation", "Security", "installed"]
