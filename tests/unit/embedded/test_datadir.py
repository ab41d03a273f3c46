"""The data directory: one supervisor, private secrets, what --fresh deletes."""

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cordum.embedded.datadir import DataDir, Running
from cordum.embedded.errors import DataDirError, DataDirHeldError

HOLD = """
import sys, time
from pathlib import Path
from cordum.embedded.datadir import DataDir, Running
import os
data = DataDir(Path(sys.argv[1]))
data.lock()
data.announce(Running(os.getpid(), time.time()), {})
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_supervisor_is_told_who_holds_the_directory(tmp_path: Path) -> None:
    first, second = DataDir(tmp_path / "d"), DataDir(tmp_path / "d")
    first.lock()
    first.announce(Running(4711, time.time()), {})

    with pytest.raises(DataDirHeldError, match=r"process id 4711.*--data-dir"):
        second.lock()
    first.unlock()
    second.lock()
    second.unlock()


def test_the_lock_dies_with_the_process_and_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        mine = DataDir(tmp_path)
        assert mine.running() is not None
        with pytest.raises(DataDirHeldError, match=str(holder.pid)):
            mine.lock()
        holder.kill()
    assert mine.running() is None
    mine.lock()
    mine.unlock()


def test_secrets_are_made_once_kept_and_private(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    data.lock()
    made = data.prepare()

    assert data.prepare() == made == data.secrets()
    assert len({made.admin_key, made.approver_key, made.nats_password, made.redis_password}) == 4
    assert all(len(bytes.fromhex(value)) == 32 for value in (made.admin_key, made.approver_key))
    assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600
    data.unlock()


def test_what_says_that_a_stack_runs_goes_with_the_lock(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    data.lock()
    data.announce(Running(os.getpid(), 1.0, True, "http://127.0.0.1:1", "127.0.0.1:2", {"nats": 3}), {"A": "b"})
    assert (tmp_path / "env").read_text() == "A=b\n"
    assert stat.S_IMODE((tmp_path / "env").stat().st_mode) == 0o600

    data.unlock()

    assert sorted(path.name for path in tmp_path.iterdir()) == ["ports.json"]
    assert data.remembered_ports() == {"nats": 3}


def test_starting_over_keeps_the_configuration_and_foreign_files(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    data.lock()
    first = data.prepare()
    (data.config / "safety.yaml").write_text("mine")
    (tmp_path / "nats" / "x").write_text("state")
    (tmp_path / "notes.txt").write_text("foreign")

    data.clear()

    assert data.prepare() != first
    assert (data.config / "safety.yaml").read_text() == "mine" and (tmp_path / "notes.txt").exists()
    assert not (tmp_path / "nats" / "x").exists()
    data.unlock()


def test_unreadable_secrets_are_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text("{")
    data = DataDir(tmp_path)
    data.lock()
    with pytest.raises(DataDirError, match=r"secrets\.json.*--fresh"):
        data.prepare()
    data.unlock()


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataDirError, match="cannot be used as data directory"):
        DataDir(tmp_path / "file" / "d").lock()
