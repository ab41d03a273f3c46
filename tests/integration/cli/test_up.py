"""`cordumctl up`: stays, tells, restarts, ends cleanly."""

import json
import os
import re
import signal
import socket
from pathlib import Path

import httpx
import pytest
from tests.support.cordumctl import Running, cordumctl
from tests.support.processes import nothing_left, processes_below

from cordum.embedded.datadir import DataDir
from cordum.embedded.ports import free_port

WELCOME = "Ctrl-C ends everything"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
async def test_a_signal_ends_everything_with_exit_code_0(tmp_path: Path, number: signal.Signals) -> None:
    async with Running("up", "--http-port", str(free_port()), cwd=tmp_path) as up:
        await up.line_with(WELCOME)
        ports = list(DataDir(tmp_path / ".cordum").remembered_ports().values())
        pids = processes_below(tmp_path / ".cordum")
        assert len(pids) == 5
        os.kill(up.pid, number)
        assert await up.ended() == 0
    await nothing_left(pids, ports, within=1)
    assert DataDir(tmp_path / ".cordum").running() is None


async def test_it_tells_addresses_and_keys_and_others_find_them(tmp_path: Path) -> None:
    port = free_port()
    async with Running("up", "--http-port", str(port), cwd=tmp_path) as up:
        await up.line_with(WELCOME)
        shown = "".join(up.lines)
        for part in ("nats", "redis", "kernel", "scheduler", "gateway"):
            assert re.search(rf"● {part} +ready", shown)
        data = DataDir(tmp_path / ".cordum")
        secrets = data.secrets()
        assert secrets is not None
        assert f"http://127.0.0.1:{port}" in shown and secrets.admin_key in shown and secrets.approver_key in shown

        found = await cordumctl("status", "-o", "json", cwd=tmp_path)
        assert found.code == 0, found.err
        second = await cordumctl("up", cwd=tmp_path)
        assert second.code == 1 and str(up.pid) in second.err and "--data-dir" in second.err


async def test_a_killed_service_is_named_and_started_again(tmp_path: Path) -> None:
    async with Running("up", "--http-port", str(free_port()), cwd=tmp_path) as up:
        await up.line_with(WELCOME)
        data = DataDir(tmp_path / ".cordum")
        (scheduler,) = processes_below(data.path, "cordum.services.scheduler")
        os.kill(scheduler, signal.SIGKILL)
        await up.line_with("scheduler", "ended", "SIGKILL", "starting it again")
        await up.line_with("scheduler", "ready")
        os.kill(up.pid, signal.SIGTERM)
        assert await up.ended() == 0


async def test_state_is_kept_and_fresh_starts_over(tmp_path: Path) -> None:
    port = str(free_port())
    keys: list[str] = []
    jobs: list[int] = []
    for more in ([], [], ["--fresh"]):
        async with Running("up", "--http-port", port, *more, cwd=tmp_path) as up:
            await up.line_with(WELCOME)
            if not keys:
                assert (await cordumctl("job", "submit", "x", cwd=tmp_path)).code == 0
            listed = await cordumctl("job", "list", "-o", "json", cwd=tmp_path)
            assert listed.code == 0, listed.err
            jobs.append(len(listed.json["items"]))
            secrets = DataDir(tmp_path / ".cordum").secrets()
            assert secrets is not None
            keys.append(secrets.admin_key)
            os.kill(up.pid, signal.SIGTERM)
            assert await up.ended() == 0
    assert jobs == [1, 1, 0]
    assert keys[0] == keys[1] != keys[2]


async def test_killed_with_9_it_leaves_no_process_and_no_port(tmp_path: Path) -> None:
    async with Running("up", "--http-port", str(free_port()), cwd=tmp_path) as up:
        await up.line_with(WELCOME)
        ports = list(DataDir(tmp_path / ".cordum").remembered_ports().values())
        pids = processes_below(tmp_path / ".cordum")
        os.kill(up.pid, signal.SIGKILL)
        assert await up.ended() == -signal.SIGKILL
    await nothing_left(pids, ports)
    assert DataDir(tmp_path / ".cordum").running() is None


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = await cordumctl("up", "--http-port", str(port), cwd=tmp_path)
    assert result.code == 1 and f"port {port} is taken" in result.err and "Traceback" not in result.err
    assert not processes_below(tmp_path)


async def test_a_service_that_refuses_its_settings_shows_why(tmp_path: Path) -> None:
    result = await cordumctl("up", "--http-port", str(free_port()), env={"API_RATE_LIMIT_RPS": "many"}, cwd=tmp_path)
    assert result.code == 1
    assert "gateway: ended with exit code 2" in result.err and "API_RATE_LIMIT_RPS" in result.err


async def test_the_env_file_is_what_workers_and_programs_need(tmp_path: Path) -> None:
    async with Running("up", "--http-port", str(free_port()), cwd=tmp_path) as up:
        await up.line_with(WELCOME)
        lines = (tmp_path / ".cordum" / "env").read_text().splitlines()
        env = dict(line.split("=", 1) for line in lines)
        assert set(env) == {"NATS_URL", "REDIS_URL", "CORDUM_API_URL", "CORDUM_API_KEY"}
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(
                f"{env['CORDUM_API_URL']}/api/v1/jobs", headers={"X-API-Key": env["CORDUM_API_KEY"]}
            )
        assert answer.status_code == 200, answer.text
        assert json.loads(answer.text)["items"] == []
