"""The two real servers under the services: how each is configured, started and asked for readiness.

Both listen on the loopback interface only and want a password. Redis or Valkey syncs its append-only file every second,
JetStream its store.
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from cordum.embedded import binaries, probes
from cordum.embedded.child import Child, Recipe
from cordum.embedded.errors import PortTakenError, StartError
from cordum.embedded.guardian import Guardian
from cordum.embedded.ports import LOOPBACK, free_port, is_free

_BIND_TRIES = 5
_USER = "cordum"


@dataclass(frozen=True)
class ServerSpec:
    """What a server is started with.

    `directory` holds its data and its configuration file; `extra` lines go to the end of that file.
    """

    directory: Path
    log_file: Path
    port: int
    password: str
    extra: str = ""
    env: dict[str, str] = field(default_factory=lambda: dict(os.environ))

    @property
    def data(self) -> Path:
        return self.directory / "data"


def nats_url(port: int, password: str) -> str:
    return f"nats://{_USER}:{password}@{LOOPBACK}:{port}" if password else f"nats://{LOOPBACK}:{port}"


def redis_url(port: int, password: str) -> str:
    return f"redis://:{password}@{LOOPBACK}:{port}/0" if password else f"redis://{LOOPBACK}:{port}/0"


def nats_recipe(spec: ServerSpec) -> Recipe:
    """nats-server with JetStream. Raises MissingBinaryError."""
    program = binaries.find(binaries.NATS, spec.env)
    access = f"authorization {{ user: {_USER}, password: {json.dumps(spec.password)} }}\n" if spec.password else ""
    config = (
        f'listen: "{LOOPBACK}:{spec.port}"\n'
        "server_name: cordum-embedded\n"
        f"jetstream {{ store_dir: {json.dumps(str(spec.data))}, sync_interval: 1s }}\n"
        "max_payload: 4MB\n"
        f"{access}{spec.extra}\n"
    )
    return Recipe(
        name="nats",
        command=[str(program), "-c", str(_write(spec, "nats.conf", config))],
        env=_environment(spec),
        probe=lambda: probes.jetstream_answers(spec.port, _USER, spec.password),
        log_file=spec.log_file,
        directory=spec.directory,
    )


def redis_recipe(spec: ServerSpec) -> Recipe:
    """valkey-server or redis-server with an append-only file. Raises MissingBinaryError."""
    program = binaries.find(binaries.REDIS, spec.env)
    access = f"requirepass {spec.password}\n" if spec.password else ""
    config = (
        f"bind {LOOPBACK}\n"
        f"port {spec.port}\n"
        "daemonize no\n"
        "protected-mode yes\n"
        f"dir {json.dumps(str(spec.data))}\n"
        "appendonly yes\n"
        "appendfsync everysec\n"
        # The append-only file has it all; no second copy.
        'save ""\n'
        f"{access}{spec.extra}\n"
    )
    return Recipe(
        name="redis",
        command=[str(program), str(_write(spec, "redis.conf", config))],
        env=_environment(spec),
        probe=lambda: probes.redis_answers(spec.port, spec.password),
        log_file=spec.log_file,
        directory=spec.directory,
    )


RECIPES = {"nats": nats_recipe, "redis": redis_recipe}


class Server:
    """A server of its own with its own data directory, outside any stack: for tests and the benchmark."""

    def __init__(self, kind: str, directory: Path, *, password: str = "", port: int = 0, extra: str = "") -> None:
        self._kind = kind
        self._directory = directory
        self._password = password
        self._extra = extra
        self._wanted = port
        self._guardian = Guardian()
        self._child: Child | None = None
        self.port = port

    @property
    def url(self) -> str:
        make = nats_url if self._kind == "nats" else redis_url
        return make(self.port, self._password)

    @property
    def pid(self) -> int:
        return self._child.pid if self._child is not None else 0

    async def start(self) -> None:
        """Starts on the wanted port, else on some free one, trying another when a race for it is lost.

        Raises:
            PortTakenError: the wanted port is another program's.
            StartError: the server did not become ready.
            MissingBinaryError: there is no such program.
        """
        self._guardian.start()
        try:
            self._child = await self._start_somewhere()
        except BaseException:
            self._guardian.release()
            raise

    async def kill(self) -> None:
        """SIGKILL, as if the machine had lost the process."""
        await self._started().kill()

    async def stop(self) -> None:
        """SIGTERM and wait. The data stays; `restart` brings the server back."""
        await self._started().stop()

    async def restart(self) -> None:
        """Starts it again on the same port with the same data, stopping it first when it still runs."""
        child = self._started()
        await child.stop()
        await child.start()

    async def aclose(self) -> None:
        """Ends the server for good."""
        if self._child is not None:
            await self._child.kill()
        self._guardian.release()

    def log_tail(self, lines: int = 20) -> list[str]:
        return self._started().log_tail(lines)

    def _started(self) -> Child:
        if self._child is None:
            raise StartError(self._kind, "was never started", [])
        return self._child

    async def _start_somewhere(self) -> Child:
        if self._wanted and not is_free(self._wanted):
            raise PortTakenError(f"{self._kind}: port {self._wanted} is taken by another program")
        for attempt in range(1, _BIND_TRIES + 1):
            self.port = self._wanted or free_port()
            log_file = self._directory / f"{self._kind}.log"
            spec = ServerSpec(self._directory, log_file, self.port, self._password, self._extra)
            child = Child(RECIPES[self._kind](spec), self._guardian)
            try:
                await child.start()
            except StartError as error:
                if attempt == _BIND_TRIES or not lost_the_port(error.log_tail):
                    raise
                continue
            return child
        raise AssertionError("unreachable")


def lost_the_port(log_tail: list[str]) -> bool:
    """Whether a start failed because another program took the port in between."""
    text = "\n".join(log_tail).lower()
    return "address already in use" in text or "could not create server tcp listening socket" in text


def _write(spec: ServerSpec, name: str, config: str) -> Path:
    spec.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = spec.directory / name
    path.touch(mode=0o600)
    path.write_text(config)
    return path


def _environment(spec: ServerSpec) -> dict[str, str]:
    """Servers need no settings of ours, and no secrets."""
    return {name: value for name, value in spec.env.items() if name in ("PATH", "HOME", "TMPDIR", "LANG", "TZ")}
