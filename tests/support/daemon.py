"""A server of a cluster: started, killed, paused and started again with the same data."""

import asyncio
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from cordum.embedded.child import Child, Probe, Recipe
from cordum.embedded.guardian import Guardian
from cordum.embedded.ports import LOOPBACK, free_port

_given: set[int] = set()


def own_port() -> int:
    """A free port below the range the system gives to clients, which nobody here was given before.

    A cluster's nodes learn each other's ports before they all listen, so an outgoing connection must not take one.
    """
    while True:
        port = free_port()
        if port not in _given:
            _given.add(port)
            return port


async def listens(port: int) -> bool:
    """Whether somebody accepts connections there."""
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    writer.close()
    return True


class Daemon:
    """One process in its own directory.

    Args:
        name: for messages.
        directory: made if need be; `<name>.log` goes there.
        command: what to run.
        env: its environment.
        probe: whether it does its work.
    """

    def __init__(
        self,
        name: str,
        directory: Path,
        command: Sequence[str],
        *,
        env: dict[str, str],
        probe: Probe,
        ready_within: float = 30.0,
        on_start: Callable[[], None] = lambda: None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.log = directory / f"{name}.log"
        self._on_start = on_start
        self._guardian = Guardian()
        self._child = Child(
            Recipe(
                name=name,
                command=command,
                env=env,
                probe=probe,
                log_file=self.log,
                directory=directory,
                ready_within=ready_within,
            ),
            self._guardian,
        )

    @property
    def pid(self) -> int:
        """0 while it does not run."""
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        return self._child.returncode

    async def start(self) -> None:
        """Starts it and waits until it is ready. Raises StartError."""
        self._on_start()
        self._guardian.start()
        await self._child.start()

    async def kill(self) -> None:
        """SIGKILL, as if the machine had gone."""
        await self._child.kill()

    async def stop(self) -> None:
        """SIGTERM, and waits for the end."""
        await self._child.stop()

    def pause(self) -> None:
        """SIGSTOP: it keeps its connections and answers nobody."""
        self._child.send(signal.SIGSTOP)

    def resume(self) -> None:
        self._child.send(signal.SIGCONT)

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        self._child.send(signal.SIGTERM)

    async def ended(self, within: float = 30.0) -> int:
        """Waits until it has ended by itself; gives its exit code."""
        async with asyncio.timeout(within):
            return await self._child.wait()

    async def aclose(self) -> None:
        """Ends it for good."""
        await self._child.kill()
        self._guardian.release()
