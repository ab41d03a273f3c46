"""The whole stack as an object: what tests and the benchmark do with it."""

import json
import signal
from functools import partial
from typing import Any

import httpx
import pytest
from tests.conftest import StartStack
from tests.support.processes import alive, eventually, nothing_left

from cordum.embedded import demo
from cordum.embedded.errors import EmbeddedError
from cordum.embedded.ports import is_free
from cordum.embedded.stack import Stack


async def get(stack: Stack, path: str, part: str = "gateway") -> Any:
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(f"{stack.api_url_of(part)}{path}", headers={"X-API-Key": stack.secrets.admin_key})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def workers_at(stack: Stack, part: str) -> bool:
    return bool((await get(stack, "/api/v1/workers", part))["items"])


async def test_addresses_keys_metrics_and_logs(stack: Stack) -> None:
    assert (await get(stack, "/api/v1/status"))["redis"]["status"] == "ok"
    async with httpx.AsyncClient(trust_env=False) as http:
        for part in ("gateway", "scheduler", "kernel"):
            assert "cordum_" in (await http.get(stack.metrics_url(part))).text
            assert json.loads(stack.log_tail(part, 1)[0])["service"].startswith("cordum-")
    assert stack.worker_env["CORDUM_API_URL"] == stack.api_url
    assert all(not is_free(port) for port in stack.ports.values())
    with pytest.raises(EmbeddedError, match="no part named nobody"):
        await stack.kill("nobody")


async def test_a_killed_service_comes_back_on_its_port(stack: Stack) -> None:
    before, ports = stack.pids, dict(stack.ports)
    for part in ("kernel", "scheduler", "gateway"):
        await stack.kill(part)
    for part in ("kernel", "scheduler", "gateway"):
        await stack.wait_ready(part)
        assert stack.pids[part] not in (0, before[part])
    assert stack.ports == ports
    await get(stack, "/api/v1/status")


async def test_a_part_taken_down_stays_down_until_it_is_brought_up(stack: Stack) -> None:
    await stack.take_down("gateway", signal.SIGKILL)
    assert stack.pids["gateway"] == 0 and is_free(stack.ports["gateway.http"])
    await stack.bring_up("gateway")
    pid = stack.pids["gateway"]
    await stack.restart("gateway")
    assert stack.pids["gateway"] != pid
    await get(stack, "/api/v1/status")


async def test_replicas_and_a_worker(start_stack: StartStack) -> None:
    stack = await start_stack(replicas={"scheduler": 2, "gateway": 2}, extra=(demo.worker,))
    assert {"scheduler-2", "gateway-2", "worker"} <= set(stack.parts)
    for part in ("gateway", "gateway-2"):
        await eventually(partial(workers_at, stack, part), f"the worker is known to {part}", within=20)


async def test_settings_by_service_and_by_part(start_stack: StartStack) -> None:
    stack = await start_stack(
        replicas={"gateway": 2},
        service_env={"gateway": {"CORDUM_LOG_FORMAT": "text"}, "gateway-2": {"CORDUM_LOG_FORMAT": "json"}},
    )
    assert not stack.log_tail("gateway", 1)[0].startswith("{")
    assert stack.log_tail("gateway-2", 1)[0].startswith("{")


async def test_stop_ends_every_process(start_stack: StartStack) -> None:
    stack = await start_stack()
    pids, ports = [*stack.pids.values(), stack.guardian_pid], list(stack.ports.values())
    assert all(map(alive, pids))
    await stack.stop()
    await stack.stop()
    await nothing_left(pids, ports, within=1)
