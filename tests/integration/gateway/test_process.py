"""The gateway as operators run it: a process with an environment, signals, logs and ports."""

import asyncio
import json
import os
import signal
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import pytest_asyncio
from tests.support.certificates import Authority

from cordum.embedded.servers import Server
from cordum.rpc.gen.cordum.v1 import api_pb2, api_pb2_grpc

from .conftest import ALICE, ENOUGH, eventually


class Process:
    """One gateway process."""

    def __init__(self, env: dict[str, str]) -> None:
        self.env = env
        self.log: list[dict[str, Any]] = []
        self.stderr = ""
        self._process: asyncio.subprocess.Process | None = None
        self._readers: list[asyncio.Task[None]] = []

    async def start(self) -> "Process":
        await self.launch()
        await self.logged("ready")
        return self

    async def launch(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "cordum.services.gateway",
            env={"PATH": os.environ["PATH"], **self.env},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        self._readers = [asyncio.create_task(self._read_log()), asyncio.create_task(self._read_stderr())]

    async def _read_log(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        async for line in self._process.stdout:
            self.log.append(json.loads(line))

    async def _read_stderr(self) -> None:
        assert self._process is not None and self._process.stderr is not None
        self.stderr = (await self._process.stderr.read()).decode()

    async def logged(self, event: str) -> dict[str, Any]:
        async def found() -> dict[str, Any] | None:
            assert self._process is not None
            assert self._process.returncode is None, self.stderr
            return next((line for line in self.log if line.get("event") == event), None)

        line: dict[str, Any] = await eventually(found, 20)
        return line

    async def ended(self, within: float = 20.0) -> int:
        assert self._process is not None
        async with asyncio.timeout(within):
            code = await self._process.wait()
            await asyncio.gather(*self._readers)
        return code

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def aclose(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self.signal(signal.SIGKILL)
            await self.ended()


MakeProcess = Callable[..., Process]


@pytest_asyncio.fixture
async def make_process(
    nats_server: Server, redis_server: Server, free_port: Callable[[], int]
) -> AsyncIterator[MakeProcess]:
    """Makes gateway processes that are not started yet: `make_process(GATEWAY_HTTP_ADDR=...)`."""
    made: list[Process] = []

    def make(**env: str) -> Process:
        base = {
            "NATS_URL": nats_server.url,
            "REDIS_URL": redis_server.url,
            "SAFETY_KERNEL_ADDR": f"127.0.0.1:{free_port()}",
            "GATEWAY_HTTP_ADDR": f"127.0.0.1:{free_port()}",
            "GATEWAY_GRPC_ADDR": f"127.0.0.1:{free_port()}",
            "GATEWAY_METRICS_ADDR": f"127.0.0.1:{free_port()}",
            "CORDUM_API_KEYS": f"default:{ALICE}:admin",
            **ENOUGH,
            **env,
        }
        process = Process(base)
        made.append(process)
        return process

    yield make
    for process in made:
        await process.aclose()


def url(process: Process, variable: str = "GATEWAY_HTTP_ADDR", scheme: str = "http") -> str:
    return f"{scheme}://{process.env[variable]}"


async def get(address: str, **options: Any) -> httpx.Response:
    verify = options.pop("verify", True)
    async with httpx.AsyncClient(trust_env=False, verify=verify) as client:
        return await client.get(address, **options)


@pytest.mark.seed("S21", "S22", "S26")
async def test_production_names_everything_that_is_missing(make_process: MakeProcess) -> None:
    process = make_process(CORDUM_ENV="production", CORDUM_API_KEYS="")
    await process.launch()
    assert await process.ended() == 2
    for variable in ("GATEWAY_HTTP_TLS_CERT", "GRPC_TLS_CERT", "CORDUM_API_KEY", "SAFETY_KERNEL_TLS_CA"):
        assert variable in process.stderr
    assert "Traceback" not in process.stderr


@pytest.mark.seed("S255")
@pytest.mark.parametrize(
    ("env", "named"),
    [
        ({"GATEWAY_HTTP_TLS_CERT": "/nowhere.pem"}, "GATEWAY_HTTP_TLS_KEY"),
        ({"CORDUM_API_KEYS": "a:b:c:d:e"}, "CORDUM_API_KEYS"),
        ({"CORDUM_API_KEYS": "default:some-key-value:emperor"}, "emperor"),
        ({"CORDUM_API_KEYS_PATH": "/nowhere/keys"}, "CORDUM_API_KEYS_PATH"),
        ({"API_RATE_LIMIT_RPS": "lots"}, "API_RATE_LIMIT_RPS"),
        ({"GATEWAY_HTTP_ADDR": "here"}, "GATEWAY_HTTP_ADDR"),
    ],
)
async def test_a_bad_setting_stops_the_start(make_process: MakeProcess, env: dict[str, str], named: str) -> None:
    process = make_process(**env)
    await process.launch()
    assert await process.ended() == 2
    assert named in process.stderr and "Traceback" not in process.stderr
    assert "some-key-value" not in process.stderr


@pytest.mark.seed("S60", "S84", "S202", "S252", "S253", "S254")
async def test_one_process_serves_http_grpc_and_metrics_where_it_is_told_to(make_process: MakeProcess) -> None:
    process = await make_process().start()
    answer = await get(f"{url(process)}/api/v1/jobs", headers={"X-API-Key": ALICE})
    assert answer.status_code == 200
    async with grpc.aio.insecure_channel(process.env["GATEWAY_GRPC_ADDR"]) as channel:
        status = await api_pb2_grpc.CordumApiStub(channel).GetJobStatus(
            api_pb2.GetJobStatusRequest(job_id="x"), metadata=[("x-api-key", ALICE)], timeout=5
        )
    assert status.status == "UNKNOWN"
    scraped = await get(f"{url(process, 'GATEWAY_METRICS_ADDR')}/metrics")
    assert scraped.status_code == 200 and scraped.headers["content-type"].startswith("text/plain")
    assert 'cordum_http_requests_total{method="GET",route="/api/v1/jobs",status="200"} 1.0' in scraped.text
    for line in process.log:
        assert line["service"] == "cordum-api-gateway" and line["time"] and line["level"] and line["msg"]
    serving = await process.logged("serving")
    assert serving["rate_limit"] == "100000/100000"


@pytest.mark.seed("S241")
async def test_sigterm_finishes_what_is_open_and_ends_with_zero(make_process: MakeProcess) -> None:
    process = await make_process().start()
    base = url(process)
    async with httpx.AsyncClient(base_url=base, headers={"X-API-Key": ALICE}, trust_env=False, timeout=20) as api:
        job_id = (await api.post("/api/v1/jobs", json={"prompt": "x"})).json()["job_id"]
        held = [asyncio.create_task(api.get(f"/api/v1/jobs/{job_id}?wait=60s")) for _ in range(5)]
        await asyncio.sleep(0.5)
        started = time.monotonic()
        process.signal(signal.SIGTERM)
        statuses = [answer.status_code for answer in await asyncio.gather(*held)]
        assert await process.ended(15) == 0
    assert statuses == [200] * 5
    assert time.monotonic() - started < 10
    events = [line.get("event") for line in process.log]
    assert "shutdown_finished" in events
    assert not [line for line in process.log if line["level"] == "error"]


@pytest.mark.seed("S37")
async def test_keys_are_rotated_without_a_restart(make_process: MakeProcess, tmp_path: Path) -> None:
    old, new = "old-key-0123456789", "new-key-0123456789"
    file = tmp_path / "keys"
    file.write_text(f"default:{old}:admin")
    process = await make_process(CORDUM_API_KEYS="", CORDUM_API_KEYS_PATH=str(file)).start()

    async def accepts(*keys: str) -> list[int]:
        return [(await get(f"{url(process)}/api/v1/jobs", headers={"X-API-Key": key})).status_code for key in keys]

    async def becomes(expected: list[int]) -> None:
        async def reached() -> bool:
            return await accepts(old, new) == expected

        await eventually(reached, 10)

    assert await accepts(old, new) == [200, 401]
    file.write_text(f"default:{old}:admin,default:{new}:admin")
    await becomes([200, 200])
    file.write_text(f"default:{new}:nonsense")
    process.signal(signal.SIGHUP)
    await process.logged("api_keys_not_reloaded")
    assert await accepts(old, new) == [200, 200]
    file.write_text(f"default:{new}:admin")
    process.signal(signal.SIGHUP)
    await becomes([401, 200])


async def test_both_listeners_speak_tls_and_nothing_else(make_process: MakeProcess, tmp_path: Path) -> None:
    authority = await asyncio.to_thread(Authority, tmp_path / "ca")
    cert, key = await asyncio.to_thread(authority.issue, "gateway")
    process = await make_process(
        GATEWAY_HTTP_TLS_CERT=cert, GATEWAY_HTTP_TLS_KEY=key, GRPC_TLS_CERT=cert, GRPC_TLS_KEY=key
    ).start()
    context = ssl.create_default_context(cafile=authority.ca)
    answer = await get(f"{url(process, scheme='https')}/health", verify=context)
    assert answer.status_code == 200
    credentials = grpc.ssl_channel_credentials(await asyncio.to_thread(Path(authority.ca).read_bytes))
    port = process.env["GATEWAY_GRPC_ADDR"].rpartition(":")[2]
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
        status = await api_pb2_grpc.CordumApiStub(channel).GetJobStatus(
            api_pb2.GetJobStatusRequest(job_id="x"), metadata=[("x-api-key", ALICE)], timeout=10
        )
    assert status.status == "UNKNOWN"
    with pytest.raises(httpx.TransportError):
        await get(f"{url(process)}/health")
