"""nats-server with a configuration of the test's own: TLS, keys, clusters."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from cordum.embedded import binaries
from cordum.embedded.child import Child, Recipe
from cordum.embedded.guardian import Guardian
from cordum.embedded.ports import LOOPBACK, free_port


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    writer.close()
    return True


@asynccontextmanager
async def natsd(directory: Path, config: str, port: int = 0) -> AsyncIterator[int]:
    """Runs a server with JetStream and `config`; yields its port once it listens."""
    directory.mkdir(parents=True)  # noqa: ASYNC240  # a test may wait for a directory
    port = port or free_port()
    path = directory / "nats.conf"
    path.write_text(f'listen: "{LOOPBACK}:{port}"\njetstream {{ store_dir: "{directory}/data" }}\n{config}\n')
    guardian = Guardian()
    guardian.start()
    child = Child(
        Recipe(
            name="nats",
            command=[str(binaries.find(binaries.NATS, dict(os.environ))), "-c", str(path)],
            env={},
            probe=lambda: _listens(port),
            log_file=directory / "nats.log",
            directory=directory,
        ),
        guardian,
    )
    try:
        await child.start()
        yield port
    finally:
        await child.kill()
        guardian.release()
