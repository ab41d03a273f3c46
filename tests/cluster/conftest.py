"""Real topologies on loopback: `make test-cluster` runs this folder, `make test` does not.

The Redis of these tests must speak TLS. `CORDUM_TLS_REDIS` names it; `make test-cluster` finds or unpacks one.
"""

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from tests.cluster.installation import Installation, installed
from tests.support import nats_site, redisd
from tests.support.redisd import Security

Say = Callable[[str], None]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Prints the line a test ends with, past pytest's capture."""

    def tell(line: str) -> None:
        with capsys.disabled():
            print(f"\n  {line}", end=" ", flush=True)  # noqa: T201 - the line is what the test is asked for

    return tell


@pytest.fixture(scope="session")
def redis_program() -> str:
    """A Redis or Valkey that was built with TLS."""
    named = os.environ.get("CORDUM_TLS_REDIS", "")
    for name in (named, "valkey-server", "redis-server"):
        found = shutil.which(name) if name else None
        if found is not None:
            command = [found, "--port", "0", "--tls-port", "1"]
            asked = subprocess.run(command, capture_output=True, text=True, timeout=10)
            if "No tls-cert-file" in asked.stdout + asked.stderr:
                return found
    raise AssertionError("no redis-server with TLS: run `make test-cluster`, or set CORDUM_TLS_REDIS to one")


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def clusters(tmp_path_factory: pytest.TempPathFactory, redis_program: str) -> AsyncIterator[Installation]:
    """Six Redis nodes, three NATS servers, certificates on both sides; two schedulers and two workers."""
    directory: Path = tmp_path_factory.mktemp("clusters")
    security = Security.make(directory / "tls", mutual=True)
    async with (
        redisd.cluster(directory / "redis", redis_program, security) as redis,
        nats_site.cluster(directory / "nats", security) as nats,
        installed(directory / "cordum", redis, nats) as made,
    ):
        yield made
