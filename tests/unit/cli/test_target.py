"""Which gateway a command talks to, and with which key."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cordum.cli.errors import UsageError
from cordum.cli.target import DEFAULT_URL, resolve
from cordum.embedded.datadir import DataDir, Running


@pytest.fixture
def local_stack(tmp_path: Path) -> Iterator[DataDir]:
    data = DataDir(tmp_path)
    data.lock()
    data.prepare()
    data.announce(Running(os.getpid(), time.time(), True, "http://127.0.0.1:4711", "127.0.0.1:4712"), {})
    yield data
    data.unlock()


def test_with_nothing_given_and_nothing_running_the_default(tmp_path: Path) -> None:
    target = resolve(None, None, None, tmp_path)
    assert (target.url, target.api_key, target.tenant) == (DEFAULT_URL, "", "")


def test_a_running_local_stack_gives_address_and_key(local_stack: DataDir) -> None:
    target = resolve(None, None, None, local_stack.path)
    secrets = local_stack.secrets()
    assert secrets is not None
    assert (target.url, target.api_key, target.from_local_stack) == ("http://127.0.0.1:4711", secrets.admin_key, True)


def test_what_is_given_wins(local_stack: DataDir) -> None:
    target = resolve("https://cordum.example.com/", "mine", "acme", local_stack.path)
    assert (target.url, target.api_key, target.tenant) == ("https://cordum.example.com", "mine", "acme")


def test_the_local_key_is_never_sent_elsewhere(local_stack: DataDir) -> None:
    assert resolve("https://cordum.example.com", None, None, local_stack.path).api_key == ""


def test_what_a_killed_stack_left_behind_does_not_count(local_stack: DataDir) -> None:
    local_stack.announce(Running(os.getpid(), time.time(), True, "http://127.0.0.1:4711", ""), {})
    left = (local_stack.path / "stack.json").read_bytes()
    local_stack.unlock()
    (local_stack.path / "stack.json").write_bytes(left)
    assert resolve(None, None, None, local_stack.path).url == DEFAULT_URL


@pytest.mark.parametrize("url", ["localhost:8081", "ftp://x", "http://", "nonsense"])
def test_an_address_that_is_none(url: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--url"):
        resolve(url, None, None, tmp_path)
