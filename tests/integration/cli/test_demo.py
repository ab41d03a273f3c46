"""`cordumctl demo` from a newcomer's side: it works, it is loud when it does not, it leaves nothing."""

import os
import signal
from pathlib import Path

import pytest
from tests.support.cordumctl import Running, cordumctl
from tests.support.processes import eventually, nothing_left, processes_below


async def test_three_verdicts_and_nothing_left(tmp_path: Path) -> None:
    result = await cordumctl("demo", env={"TMPDIR": str(tmp_path)}, cwd=tmp_path)

    assert result.code == 0, result.out + result.err
    for expected in (
        "ALLOW",
        "DENY",
        "REQUIRE_APPROVAL",
        "SUCCEEDED",
        "DENIED",
        "Hello, Ada!",
        "no-destructive-actions",
    ):
        assert expected in result.out
    assert os.listdir(tmp_path) == []
    assert not processes_below(tmp_path)


async def test_a_step_that_does_not_happen_is_exit_code_1_with_what_was_seen(tmp_path: Path) -> None:
    broken = tmp_path / "nats"
    broken.write_text("#!/bin/sh\necho it is broken >&2\nexit 9\n")
    broken.chmod(0o755)
    result = await cordumctl("demo", env={"CORDUM_NATS_SERVER": str(broken)}, cwd=tmp_path)
    assert result.code == 1
    assert "nats: ended with exit code 9" in result.err and "it is broken" in result.err
    assert "Traceback" not in result.err


async def test_another_verdict_than_promised_fails_and_shows_the_last_lines_of_every_service(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "config").mkdir(parents=True)
    (data / "config" / "safety.yaml").write_text('version: "1"\ndefault_decision: deny\n')

    result = await cordumctl("demo", "--data-dir", str(data), cwd=tmp_path)

    assert result.code == 1
    assert "the demo failed: greet a customer: POST /api/v1/jobs: expected HTTP 200" in result.err
    for part in ("nats", "redis", "kernel", "scheduler", "gateway", "worker"):
        assert f"last lines of {part}" in result.err
    assert not processes_below(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
async def test_ended_in_the_middle_it_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    async with Running("demo", env={"TMPDIR": str(tmp_path)}, cwd=tmp_path) as demo:
        await demo.line_with("redis", "ready")
        pids = processes_below(tmp_path)
        assert len(pids) >= 2
        os.kill(demo.pid, number)
        code = await demo.ended()
    assert code == {signal.SIGINT: 130, signal.SIGTERM: 130, signal.SIGKILL: -9}[number]
    await nothing_left(pids, [])
    await eventually(lambda: os.listdir(tmp_path) == [], "the temporary directory is gone")
