"""The data directory of an embedded stack: what lies where, who may use it.

    config/        policy, pools and timeouts: yours to edit, kept by --fresh
    nats/ redis/   the state
    logs/          one file per child
    secrets.json   API keys and server passwords (mode 0600)
    ports.json     the ports of the last run, taken again when free
    stack.json     who runs here now, and where; only while it runs
    env            the same as variables for workers and programs (mode 0600); only while it runs

One supervisor per directory: it holds an advisory lock on the directory itself, which goes with the process, so that
nothing stale is ever left behind.
"""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from cordum.embedded.errors import DataDirError, DataDirHeldError

DEFAULT = Path(".cordum")
_STATE = ("nats", "redis", "logs", "secrets.json", "ports.json", "stack.json", "env")
_LOCK_TRIES = 5
_LOCK_PAUSE = 0.05


class Secrets(msgspec.Struct, frozen=True):
    """Made once per data directory: 64 hex digits each."""

    admin_key: str
    approver_key: str
    nats_password: str
    redis_password: str


class Running(msgspec.Struct, frozen=True):
    """What `stack.json` says about the stack that runs in a directory. Without secrets."""

    pid: int
    started_at: float
    """Unix seconds."""
    ready: bool = False
    api_url: str = ""
    grpc_address: str = ""
    ports: dict[str, int] = {}


class DataDir:
    """One data directory; `lock` it before anything is written."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().resolve()
        self._lock = -1

    @property
    def config(self) -> Path:
        return self.path / "config"

    def log_file(self, name: str) -> Path:
        return self.path / "logs" / f"{name}.log"

    def server(self, name: str) -> Path:
        return self.path / name

    def lock(self) -> None:
        """Makes the directory when it is not there and takes it for this process.

        Raises:
            DataDirHeldError: another supervisor has it.
            DataDirError: it cannot be made or written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
        except OSError as error:
            raise DataDirError(f"{self.path} cannot be used as data directory: {error.strerror}") from error
        if not os.access(self.path, os.W_OK):
            os.close(descriptor)
            raise DataDirError(f"{self.path} cannot be used as data directory: it is not writable")
        for attempt in range(1, _LOCK_TRIES + 1):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                # A program that only looks whether a stack runs holds the lock for an instant.
                if attempt < _LOCK_TRIES:
                    time.sleep(_LOCK_PAUSE)
                    continue
                os.close(descriptor)
                raise DataDirHeldError(self._who_holds_it()) from None
            break
        self._lock = descriptor

    def unlock(self) -> None:
        """Gives the directory back and takes down what said that a stack runs here."""
        if self._lock < 0:
            return
        for name in ("stack.json", "env"):
            (self.path / name).unlink(missing_ok=True)
        os.close(self._lock)
        self._lock = -1

    def discard(self) -> None:
        """Gives a temporary directory back and deletes it, with everything in it."""
        if self._lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            self.unlock()

    def clear(self) -> None:
        """Starts over: state, logs, keys. The configuration stays. Only while locked."""
        for name in _STATE:
            path = self.path / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def prepare(self) -> Secrets:
        """Makes the folders and, the first time, the secrets. Raises DataDirError when they cannot be read."""
        for folder in (self.config, self.path / "logs", self.server("nats"), self.server("redis")):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = self.path / "secrets.json"
        if file.exists():
            try:
                return msgspec.json.decode(file.read_bytes(), type=Secrets)
            except msgspec.MsgspecError as error:
                raise DataDirError(f"{file} cannot be read ({error}); start over with --fresh") from error
        made = Secrets(*(secrets.token_hex(32) for _ in range(4)))
        _write_private(file, msgspec.json.encode(made))
        return made

    def remembered_ports(self) -> dict[str, int]:
        """The ports of the last run; nothing when there was none."""
        try:
            return msgspec.json.decode((self.path / "ports.json").read_bytes(), type=dict[str, int])
        except (OSError, msgspec.MsgspecError):
            return {}

    def announce(self, running: Running, env: Mapping[str, str]) -> None:
        """Tells other programs that a stack runs here, and how to reach it."""
        if running.ports:
            (self.path / "ports.json").write_text(json.dumps(running.ports))
        _write_private(self.path / "stack.json", msgspec.json.encode(running))
        _write_private(self.path / "env", "".join(f"{name}={value}\n" for name, value in env.items()).encode())

    def running(self) -> Running | None:
        """The stack that runs here now, or None. Needs no lock and takes none for longer than an instant."""
        try:
            found = msgspec.json.decode((self.path / "stack.json").read_bytes(), type=Running)
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except (OSError, msgspec.MsgspecError):
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return found
        else:
            return None  # Nobody holds the directory: the file was left by a supervisor that was killed.
        finally:
            os.close(descriptor)

    def secrets(self) -> Secrets | None:
        """The secrets, when this user may read them."""
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            return msgspec.json.decode((self.path / "secrets.json").read_bytes(), type=Secrets)
        return None

    def _who_holds_it(self) -> str:
        try:
            running = msgspec.json.decode((self.path / "stack.json").read_bytes(), type=Running)
        except (OSError, msgspec.MsgspecError):
            who = "another supervisor"
        else:
            since = time.strftime("%H:%M:%S", time.localtime(running.started_at))
            who = f"the supervisor with process id {running.pid} (since {since})"
        return f"{self.path} is in use by {who}: end that one first, or choose another --data-dir"


def _write_private(path: Path, content: bytes) -> None:
    """Writes a file only its owner can read; readers see the old content or the new, never half of it."""
    draft = path.with_name(path.name + ".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    draft.replace(path)
