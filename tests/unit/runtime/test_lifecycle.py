import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from cordum.core.errors import CordumError
from cordum.runtime import lifecycle
from cordum.runtime.lifecycle import Lifecycle
from cordum.runtime.settings import CommonSettings

SETTINGS = CommonSettings()
Main = Callable[[Lifecycle], Awaitable[None]]


async def live(main: Main, grace: float = 5.0) -> tuple[int, list[Any]]:
    with capture_logs() as logs:
        code = await asyncio.wait_for(lifecycle.live(SETTINGS, main, grace), 10)
    return code, logs


def stop_soon() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.seed("S241")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_the_process_in_reverse_order_with_exit_code_0(number: signal.Signals) -> None:
    seen: list[str] = []

    async def step(name: str) -> None:
        seen.append(name)

    async def work(life: Lifecycle) -> None:
        try:
            await life.stopping.wait()
            seen.append(f"told, ready: {(await life.health.readiness()).ok}")
            await asyncio.Event().wait()
        finally:
            seen.append("loop")

    async def main(life: Lifecycle) -> None:
        life.on_stop(lambda: step("store"))
        life.spawn(work(life), name="loop")
        life.on_stop(lambda: step("server"))
        life.ready()
        assert (await life.health.readiness()).ok
        os.kill(os.getpid(), number)

    code, logs = await live(main)
    assert code == 0
    assert seen == ["told, ready: False", "server", "loop", "store"] or seen == ["server", "loop", "store"]
    assert [line["event"] for line in logs] == ["starting", "ready", "shutdown_started", "shutdown_finished"]
    assert logs[2]["reason"] == number.name


@pytest.mark.seed("S25")
@pytest.mark.parametrize("settings", [CommonSettings(production_flag=True), SETTINGS])
async def test_the_log_tells_the_mode_at_the_start(settings: CommonSettings) -> None:
    async def main(life: Lifecycle) -> None:
        life.stop("done")

    with capture_logs() as logs:
        await lifecycle.live(settings, main)
    assert logs[0]["production"] is settings.production


async def test_a_main_that_runs_until_told_to_stop_is_waited_for() -> None:
    seen: list[str] = []

    async def main(life: Lifecycle) -> None:
        life.ready()
        stop_soon()
        await life.stopping.wait()
        await asyncio.sleep(0.01)
        seen.append("main ended")

    assert (await live(main))[0] == 0
    assert seen == ["main ended"]


async def test_a_start_that_fails_is_one_line_and_exit_code_1_and_unwinds() -> None:
    seen: list[str] = []

    class NoRedisError(CordumError):
        """Redis cannot be reached."""

        code = "no_redis"

    async def close() -> None:
        seen.append("closed")

    async def main(life: Lifecycle) -> None:
        life.on_stop(close)
        raise NoRedisError

    code, logs = await live(main)
    assert code == 1
    assert seen == ["closed"]
    errors = [line for line in logs if line["log_level"] == "error"]
    assert len(errors) == 1
    assert errors[0]["msg"] == "Redis cannot be reached"
    assert errors[0]["code"] == "no_redis"


async def test_a_background_task_that_fails_stops_the_process_with_exit_code_1() -> None:
    async def broken() -> None:
        raise ValueError("a bug")

    async def main(life: Lifecycle) -> None:
        life.spawn(broken(), name="reconciler")
        life.ready()

    code, logs = await live(main)
    assert code == 1
    (line,) = [line for line in logs if line["event"] == "crashed"]
    assert line["what"] == "background task reconciler"
    assert isinstance(line["exc_info"], ValueError)


async def test_a_background_task_may_end_by_itself() -> None:
    async def short() -> None:
        pass

    async def main(life: Lifecycle) -> None:
        for _ in range(100):
            await life.spawn(short(), name="short")
        await asyncio.sleep(0)
        assert len(life._stack) == 1, "what has ended is forgotten"
        life.stop("done")

    assert (await live(main))[0] == 0


async def test_an_error_while_stopping_keeps_nobody_from_its_turn() -> None:
    seen: list[str] = []

    async def close() -> None:
        seen.append("closed")

    async def fail() -> None:
        raise OSError("x")

    async def main(life: Lifecycle) -> None:
        life.on_stop(close)
        life.on_stop(fail)
        life.stop("done")

    code, logs = await live(main)
    assert code == 1
    assert seen == ["closed"]
    assert "shutdown_failed" in [line["event"] for line in logs]


async def test_stopping_is_bounded() -> None:
    seen: list[str] = []

    async def close() -> None:
        seen.append("closed")

    async def hang() -> None:
        await asyncio.Event().wait()

    async def main(life: Lifecycle) -> None:
        life.on_stop(close)
        life.on_stop(hang)
        life.stop("done")

    code, logs = await live(main, grace=0.05)
    assert code == 1
    assert seen == ["closed"]
    (late,) = [line for line in logs if line["event"] == "shutdown_late"]
    assert "hang" in late["step"]


async def test_a_start_under_way_is_cut_short() -> None:
    async def main(life: Lifecycle) -> None:
        stop_soon()
        await asyncio.Event().wait()

    assert (await live(main))[0] == 0


async def test_sighup_runs_the_reload_hooks_and_an_error_in_one_is_only_logged() -> None:
    async def fail() -> None:
        raise ValueError("bad file")

    async def main(life: Lifecycle) -> None:
        async def done() -> None:
            life.stop("reloaded")

        life.on_reload(fail)
        life.on_reload(done)
        life.ready()
        os.kill(os.getpid(), signal.SIGHUP)

    code, logs = await live(main)
    assert code == 0
    assert "reload_failed" in [line["event"] for line in logs]


PROCESS = """
import asyncio, sys
from cordum.runtime import lifecycle
from cordum.runtime.settings import CommonSettings, load_or_exit

async def main(life):
    async def close():
        {close}
    life.on_stop(close)
    {body}
    life.ready()

lifecycle.run("cordum-test", load_or_exit(CommonSettings), main)
"""


def start(body: str = "pass", close: str = "pass") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS.format(body=body, close=close)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"CORDUM_PRODUCTION": "true"},
    )


def read_until(process: subprocess.Popen[str], event: str) -> dict[str, Any]:
    assert process.stdout is not None
    for text in process.stdout:
        line: dict[str, Any] = json.loads(text)
        if line.get("event") == event:
            return line
    raise AssertionError(f"the process ended without {event}")


@pytest.mark.seed("S25", "S84", "S241")
def test_a_process_stops_on_sigterm_with_code_0_and_json_on_stdout_only() -> None:
    with start() as process:
        assert read_until(process, "starting")["production"] is True
        assert read_until(process, "ready")["service"] == "cordum-test"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert err == ""
    assert [json.loads(line)["event"] for line in out.splitlines()] == ["shutdown_started", "shutdown_finished"]


def test_a_second_signal_ends_the_process_at_once() -> None:
    with start(close="await asyncio.sleep(60)") as process:
        read_until(process, "ready")
        process.send_signal(signal.SIGINT)
        read_until(process, "shutdown_started")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGINT


def test_a_process_whose_start_fails_ends_with_code_1_and_no_traceback_on_stderr() -> None:
    with start(body="raise RuntimeError('no luck')") as process:
        out, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert err == ""
    crashed = [json.loads(line) for line in out.splitlines() if '"crashed"' in line]
    assert len(crashed) == 1
    assert crashed[0]["error"] == "RuntimeError: no luck"


def test_an_error_nobody_waited_for_is_logged_as_json() -> None:
    body = "asyncio.get_running_loop().call_soon(lambda: 1 / 0)"
    with start(body=body) as process:
        line = read_until(process, "unhandled")
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
    assert line["error"] == "ZeroDivisionError: division by zero"
    assert err == ""
