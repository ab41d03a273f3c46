"""Kernels to ask: real processes, with policies, keys and certificates made for the test."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from cordum.embedded.servers import Server
from cordum.rpc.channel import ClientTls, open_channel
from cordum.rpc.kernel_client import KernelClient
from cordum.runtime.clock import SystemClock
from cordum.store.options import StoreOptions
from cordum.store.store import Store

POLICY = """
version: v1
default_decision: deny
rules:
  - {id: no, match: {risk_tags: [destructive]}, decision: deny, reason: never}
  - {id: ask, match: {risk_tags: [payment]}, decision: require_approval, reason: a person first}
  - {id: slow, match: {topics: [job.slow]}, decision: throttle, reason: later}
  - id: bounded
    match: {topics: [job.bounded]}
    decision: allow
    constraints: {budgets: {max_runtime_ms: 1000, max_retries: 2}}
  - {id: yes, match: {topics: ["job.*"]}, decision: allow}
"""


class KernelProcess:
    """A safety kernel as operators run it."""

    def __init__(self, folder: Path, port: int, admin_port: int, env: dict[str, str]) -> None:
        self.address = f"127.0.0.1:{port}"
        self.admin = f"http://127.0.0.1:{admin_port}"
        self.policy = folder / "safety.yaml"
        self.log: list[dict[str, Any]] = []
        self.stderr = ""
        self._env = {
            "PATH": os.environ["PATH"],
            "SAFETY_KERNEL_ADDR": self.address,
            "SAFETY_KERNEL_ADMIN_ADDR": f"127.0.0.1:{admin_port}",
            "SAFETY_POLICY_PATH": str(self.policy),
            "SAFETY_POLICY_RELOAD_INTERVAL": "100ms",
            **env,
        }
        self._process: asyncio.subprocess.Process | None = None
        self._reading: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()

    async def start(self) -> "KernelProcess":
        """Returns once it serves."""
        await self.launch()
        await self.logged("ready")
        return self

    async def launch(self) -> None:
        self.log.clear()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "cordum.services.safety_kernel",
            env=self._env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        self._reading = [asyncio.create_task(self._read_log()), asyncio.create_task(self._read_stderr())]

    async def ended(self) -> int:
        """The exit code, once it has ended by itself."""
        assert self._process is not None
        async with asyncio.timeout(20):
            code = await self._process.wait()
            await asyncio.gather(*self._reading)
        return code

    async def signal(self, number: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        return await self.ended()

    def hang_up(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    async def logged(self, event: str, count: int = 1) -> dict[str, Any]:
        """The `count`-th log line with this event, as soon as it is there."""
        async with asyncio.timeout(20):
            while True:
                found = [line for line in self.log if line.get("event") == event]
                if len(found) >= count:
                    return found[count - 1]
                assert self._process is not None
                if self._process.returncode is not None:
                    raise AssertionError(f"ended with {self._process.returncode}: {self.stderr} {self.log}")
                self._changed.clear()
                await self._changed.wait()

    async def aclose(self) -> None:
        if self._process is not None and self._process.returncode is None:
            await self.signal(signal.SIGKILL)

    async def _read_log(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        async for line in self._process.stdout:
            self.log.append(json.loads(line))
            self._changed.set()
        self._changed.set()

    async def _read_stderr(self) -> None:
        assert self._process is not None and self._process.stderr is not None
        self.stderr = (await self._process.stderr.read()).decode()


MakeKernel = Callable[..., KernelProcess]
Connect = Callable[..., KernelClient]


@pytest_asyncio.fixture
async def make_kernel(tmp_path: Path, free_port: Callable[[], int]) -> AsyncIterator[MakeKernel]:
    """Makes kernels that are not started yet: `make_kernel(policy=..., **env)`; None leaves the policy file out."""
    made: list[KernelProcess] = []

    def make(policy: str | None = POLICY, **env: str) -> KernelProcess:
        folder = tmp_path / f"kernel-{len(made)}"
        folder.mkdir()
        kernel = KernelProcess(folder, free_port(), free_port(), env)
        if policy is not None:
            kernel.policy.write_text(policy)
        made.append(kernel)
        return kernel

    yield make
    for kernel in made:
        await kernel.aclose()


@pytest_asyncio.fixture
async def connect() -> AsyncIterator[Connect]:
    """Opens kernel clients: `connect("127.0.0.1:1234")`."""
    opened: list[KernelClient] = []

    def open_client(address: str, tls: ClientTls | None = None, **options: Any) -> KernelClient:
        client = KernelClient(open_channel(address, tls), SystemClock(), **options)
        opened.append(client)
        return client

    yield open_client
    for client in opened:
        await client.aclose()


async def get(url: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(url)


@pytest.fixture
def http_get() -> Callable[[str], Any]:
    return get


@pytest_asyncio.fixture
async def bundle_store(redis_server: Server) -> AsyncIterator[Store]:
    """The store the kernels of a test read their bundles from: `REDIS_URL=redis_server.url`."""
    store = await Store.connect(StoreOptions(url=redis_server.url))
    yield store
    await store.aclose()


async def put_bundles(store: Store, bundles: dict[str, object], **more: object) -> None:
    """Stores exactly these, as another tool might: `more` goes beside them (`manifest`)."""

    def change(before: dict[str, Any]) -> dict[str, Any]:
        return {"bundles": bundles, **more}

    await store.configs.update("system", "policy", change)
